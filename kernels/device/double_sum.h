// Sums of doubles over a warp and a block, in the order of warp_sum() and block_sum(): for joining what threads have
// summed, where f32 would lose digits or range. Tested by tests/kernels/device/norm_test.cpp and
// tests/kernels/device/optimizer_update_test.cpp.
#pragma once

#include "kernels/device/block.h"

namespace cloze {

/// The value of lane (own lane xor lane_mask).
__device__ inline double shuffle_xor(double value, int lane_mask, Site site = Site::here()) {
#ifdef CLOZE_EMULATED
    struct Words {
        std::uint32_t low, high;
    };
    const Words own = __builtin_bit_cast(Words, value);
    const std::uint32_t low = emulated::shuffle_xor(own.low, lane_mask, site);
    return __builtin_bit_cast(double, Words{low, emulated::shuffle_xor(own.high, lane_mask, site)});
#else
    return __shfl_xor_sync(kWholeWarp, value, lane_mask);
#endif
}

/// Sum over the lanes, in every lane, added as a butterfly: the same bits in all lanes and in every run.
__device__ inline double warp_sum(double value, Site site = Site::here()) {
#pragma unroll
    for (int lane_mask = kWarpThreads / 2; lane_mask > 0; lane_mask /= 2) value += shuffle_xor(value, lane_mask, site);
    return value;
}

/// Doubles of shared memory that block_sum() needs.
inline constexpr int kBlockSumDoubles = kWarpThreads;

/// Sum over the block, in every thread. `scratch` is shared; it may be used again after the next barrier.
__device__ inline double block_sum(double value, double* scratch, Site site = Site::here()) {
    const double of_warp = warp_sum(value, site);
    if (lane_index() == 0) scratch[warp_index()] = of_warp;
    block_barrier(site);  // the sums of all warps are written
    const int warps = threads_per_block() / kWarpThreads;
    return warp_sum(lane_index() < warps ? scratch[lane_index()] : 0.0, site);
}

}  // namespace cloze
