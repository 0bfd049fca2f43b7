// Fill-mask: what a checkpoint expects at the [MASK] of a text. Tested by tests/train/run_test.cpp.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace cloze {

struct MaskCandidate {
    std::string token;
    double probability;
};

struct MaskFill {
    std::vector<std::vector<MaskCandidate>> masks;  // per [MASK] of the text, the most probable first
};

/// Each text holds at least one [MASK]. Throws Fault::usage when one does not, or is longer than the model's positions.
std::vector<MaskFill> fill_mask(const std::filesystem::path& checkpoint, const std::vector<std::string>& texts,
                                int candidates);

}  // namespace cloze
