// Which thread of which block this is. Blocks are one-dimensional, grids have x and y (kernels/core/launch.h).
// Tested by tests/kernels/device/vocabulary_test.cu.
#pragma once

#include <cstdint>

#ifdef CLOZE_EMULATED
#include "kernels/device/emulated.h"
#endif

namespace cloze {

inline constexpr int kWarpThreads = 32;
inline constexpr std::uint32_t kWholeWarp = 0xffffffffu;

/// Multiprocessors that launches are cut for where all of a device should have work: about those of a large one (A100
/// 108, H100 and H200 132). The emulator has few, so that small tests go every way.
#ifdef CLOZE_EMULATED
inline constexpr int kMultiprocessors = 2;
#else
inline constexpr int kMultiprocessors = 128;
#endif

#ifdef CLOZE_EMULATED

inline int thread_index() {
    return emulated::thread_index();
}
inline int threads_per_block() {
    return emulated::threads_per_block();
}
inline std::int64_t block_x() {
    return emulated::block_x();
}
inline std::int64_t block_y() {
    return emulated::block_y();
}
inline std::int64_t blocks_x() {
    return emulated::blocks_x();
}
inline std::int64_t blocks_y() {
    return emulated::blocks_y();
}

#else

__device__ inline int thread_index() {
    return static_cast<int>(threadIdx.x);
}
__device__ inline int threads_per_block() {
    return static_cast<int>(blockDim.x);
}
__device__ inline std::int64_t block_x() {
    return blockIdx.x;
}
__device__ inline std::int64_t block_y() {
    return blockIdx.y;
}
__device__ inline std::int64_t blocks_x() {
    return gridDim.x;
}
__device__ inline std::int64_t blocks_y() {
    return gridDim.y;
}

#endif

/// thread_index(), read where the call stands. What follows from it is then computed there, not ahead of a long loop
/// throughout which it would fill registers.
__device__ inline int thread_index_here() {
#ifdef CLOZE_EMULATED
    return thread_index();
#else
    unsigned index;
    asm volatile("mov.u32 %0, %%tid.x;" : "=r"(index));
    return static_cast<int>(index & 1023u);  // so that the compiler knows the sign
#endif
}

__device__ inline int lane_index() {
    return thread_index() % kWarpThreads;
}
__device__ inline int warp_index() {
    return thread_index() / kWarpThreads;
}

}  // namespace cloze
