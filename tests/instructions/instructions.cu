#include "kernels/core/device_memory.h"
#include "kernels/core/launch.h"
#include "tests/instructions/case_words.h"
#include "tests/instructions/instructions.h"
#include "tests/instructions/recording.h"

namespace cloze::instructions {

std::vector<Instruction> every_instruction() {
    std::vector<Instruction> all = data_movement();
    for (const auto& part : {between_lanes(), arithmetic(), of_hopper()})
        all.insert(all.end(), part.begin(), part.end());
    return all;
}

std::vector<std::uint32_t> inputs_of(const Instruction& instruction) {
    const PhiloxKey key = {hash_of_text(instruction.name), 0};
    std::vector<std::uint32_t> words;
    words.reserve(static_cast<std::size_t>(instruction.cases) * static_cast<std::size_t>(instruction.input_words));
    for (int c = 0; c < instruction.cases; ++c) {
        for (int i = 0; i < instruction.input_words; ++i) {
            const PhiloxBits random = philox(static_cast<std::uint32_t>(c), static_cast<std::uint32_t>(i), 0, 0, key);
            words.push_back(instruction.inputs(random, c, i));
        }
    }
    return words;
}

std::vector<std::uint32_t> run(const Instruction& instruction, const std::vector<std::uint32_t>& inputs) {
    const std::int64_t output_count = static_cast<std::int64_t>(instruction.cases) * instruction.output_words;
    const DeviceBuffer in(static_cast<std::int64_t>(4 * inputs.size())), out(4 * output_count);
    fill_bytes(out.address(), 0xff, out.bytes(), {});
    copy_to_device(in.address(), inputs.data(), in.bytes(), {});
    const LaunchShape shape{.grid = {.x = instruction.cases / kGridRows, .y = kGridRows},
                            .threads = instruction.threads,
                            .shared_bytes = instruction.shared_bytes,
                            .cluster = instruction.cluster};
    auto* to = static_cast<std::uint32_t*>(out.address());
    const auto* from = static_cast<const std::uint32_t*>(in.address());
    if (instruction.mapped_kernel != nullptr) {
        const Boxes& boxes = instruction.boxes;
        const Tensor matrix{in.address(), static_cast<std::int64_t>(instruction.cases) * boxes.case_rows,
                            boxes.cols,   boxes.cols,
                            DType::bf16,  Place::device};
        launch("instructions", instruction.mapped_kernel, shape, {}, to, from,
               tensor_map(matrix, boxes.box_rows, boxes.box_cols));
    } else {
        launch("instructions", instruction.kernel, shape, {}, to, from);
    }
    std::vector<std::uint32_t> outputs(static_cast<std::size_t>(output_count));
    copy_to_host(outputs.data(), out.address(), out.bytes(), {});
    wait(Stream{});
    return outputs;
}

}  // namespace cloze::instructions
