// What the kernels of tests/instructions share.
#pragma once

#include "kernels/device/bf16.h"
#include "kernels/device/thread.h"

namespace cloze::instructions {

/// Cases lie along x and, so that y counts too, in four rows.
inline constexpr int kGridRows = 4;
__device__ inline std::int64_t case_index() {
    return block_y() * blocks_x() + block_x();
}

/// A float's bits with one NaN and one zero: which of several an operation returns is not fixed.
__device__ inline std::uint32_t canonical_bits(float value) {
    if (value != value) return 0x7fffffffu;
    return value == 0 ? 0u : bits_of_float(value);
}

/// A place in 32 that is another one for each lane.
__device__ inline int permuted(int lane, std::uint32_t random) {
    return static_cast<int>((static_cast<std::uint32_t>(lane) * (2 * (random % 16) + 1) + random / 16) % 32);
}

}  // namespace cloze::instructions
