// What the threads of a block do together: barriers, and reductions in a fixed order.
// Tested by tests/kernels/device/vocabulary_test.cu.
#pragma once

#include "kernels/device/warp.h"

namespace cloze {

/// Waits for every thread of the block; what each wrote to memory before, all see after.
__device__ inline void block_barrier(Site site = Site::here()) {
#ifdef CLOZE_EMULATED
    emulated::block_barrier(site);
#else
    __syncthreads();
#endif
}

/// The same among `threads` threads (whole warps) that name the same barrier, 1 to 15.
__device__ inline void named_barrier_wait(int barrier, int threads, Site site = Site::here()) {
#ifdef CLOZE_EMULATED
    emulated::named_barrier_wait(barrier, threads, site);
#else
    asm volatile("bar.sync %0, %1;" ::"r"(barrier), "r"(threads) : "memory");
#endif
}

/// Counts as arrived without waiting; `threads` includes those that wait.
__device__ inline void named_barrier_arrive(int barrier, int threads, Site site = Site::here()) {
#ifdef CLOZE_EMULATED
    emulated::named_barrier_arrive(barrier, threads, site);
#else
    asm volatile("bar.arrive %0, %1;" ::"r"(barrier), "r"(threads) : "memory");
#endif
}

/// Floats of shared memory that a block reduction needs.
inline constexpr int kBlockReductionFloats = kWarpThreads;

/// Sum over the block, in every thread: the butterfly inside each warp, then the warps' sums by the same butterfly.
/// `scratch` is shared; it may be used again after the next barrier.
__device__ inline float block_sum(float value, float* scratch, Site site = Site::here()) {
    const float of_warp = warp_sum(value, site);
    if (lane_index() == 0) scratch[warp_index()] = of_warp;
    block_barrier(site);  // the sums of all warps are written
    const int warps = threads_per_block() / kWarpThreads;
    return warp_sum(lane_index() < warps ? scratch[lane_index()] : 0.0f, site);
}

/// Largest over the block, in every thread; as block_sum.
__device__ inline float block_max(float value, float* scratch, Site site = Site::here()) {
    const float of_warp = warp_max(value, site);
    if (lane_index() == 0) scratch[warp_index()] = of_warp;
    block_barrier(site);  // the maxima of all warps are written
    const int warps = threads_per_block() / kWarpThreads;
    return warp_max(scratch[lane_index() < warps ? lane_index() : 0], site);
}

}  // namespace cloze
