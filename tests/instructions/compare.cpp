#include "tests/instructions/compare.h"

#include <bit>

#include "kernels/core/error.h"
#include "tests/instructions/bounds.h"

namespace cloze::instructions {

namespace {

const Recording* find(const Recordings& recordings, const std::string& name) {
    for (const Recording& recording : recordings.recordings) {
        if (recording.name == name) return &recording;
    }
    return nullptr;
}

std::string outputs_beyond(const Instruction& instruction, const Recording& recording, double rounding) {
    const std::vector<std::uint32_t> inputs = inputs_of(instruction);
    const std::vector<Bound> bounds = bounds_of(instruction, inputs, rounding);
    if (recording.words.size() != bounds.size()) return "has another number of outputs";
    std::size_t broken = 0, first = 0;
    for (std::size_t i = bounds.size(); i-- > 0;) {
        if (bounds[i].holds(std::bit_cast<float>(recording.words[i]))) continue;
        ++broken;
        first = i;
    }
    if (broken == 0) return "";
    const auto input = instruction.outputs == Outputs::function
                           ? text(" for the argument ", static_cast<double>(std::bit_cast<float>(inputs[first])))
                           : std::string();
    return text(broken, " of ", bounds.size(), " outputs leave their bound: output ", first, input, " is ",
                static_cast<double>(std::bit_cast<float>(recording.words[first])), ", exactly ", bounds[first].exact,
                " +- ", bounds[first].allowed);
}

std::string differing_cases(const Recording& recorded, const Recording& here) {
    if (recorded.words.size() != here.words.size()) return "has another number of cases";
    std::size_t differing = 0, first = 0;
    for (std::size_t i = here.words.size(); i-- > 0;) {
        if (recorded.words[i] == here.words[i]) continue;
        ++differing;
        first = i;
    }
    return differing == 0 ? "" : text(differing, " of ", here.words.size(), " cases differ, the first is ", first);
}

}  // namespace

std::vector<std::string> broken_bounds(const Recordings& recordings, double rounding) {
    std::vector<std::string> broken;
    for (const Instruction& instruction : every_instruction()) {
        const Recording* recording = find(recordings, instruction.name);
        if (recording == nullptr || instruction.outputs == Outputs::exact) continue;
        const std::string what = outputs_beyond(instruction, *recording, rounding);
        if (!what.empty()) broken.push_back(instruction.name + ": " + what);
    }
    return broken;
}

std::vector<std::string> not_recorded(const Recordings& recorded, const Recordings& here) {
    std::vector<std::string> missing;
    for (const Instruction& instruction : every_instruction()) {
        if (find(recorded, instruction.name) == nullptr && find(here, instruction.name) != nullptr &&
            instruction.is_on(recorded.compute_capability)) {
            missing.push_back(instruction.name);
        }
    }
    return missing;
}

std::vector<std::string> differing_bits(const Recordings& recorded, const Recordings& here) {
    std::vector<std::string> differing;
    for (const Instruction& instruction : every_instruction()) {
        const Recording* then = find(recorded, instruction.name);
        const Recording* now = find(here, instruction.name);
        if (now == nullptr || then == nullptr) continue;
        std::string what;
        if (then->inputs_hash != now->inputs_hash) {
            what = "was recorded from other inputs";
        } else if (instruction.outputs == Outputs::exact) {
            what = differing_cases(*then, *now);
        }
        if (!what.empty()) differing.push_back(instruction.name + ": " + what);
    }
    return differing;
}

}  // namespace cloze::instructions
