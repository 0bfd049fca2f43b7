// What the 32 lanes of a warp do together. All lanes must call, from the same place: the emulator refuses anything
// else. A shuffle moves registers and orders no memory; warp_barrier() does. Tested by
// tests/kernels/device/vocabulary_test.cu.
#pragma once

#include "kernels/device/bf16.h"
#include "kernels/device/site.h"
#include "kernels/device/thread.h"

namespace cloze {

namespace detail {

__device__ inline std::uint32_t shuffle_xor_bits(std::uint32_t value, int lane_mask, Site site) {
#ifdef CLOZE_EMULATED
    return emulated::shuffle_xor(value, lane_mask, site);
#else
    return __shfl_xor_sync(kWholeWarp, value, lane_mask);
#endif
}

__device__ inline std::uint32_t shuffle_from_bits(std::uint32_t value, int source_lane, Site site) {
#ifdef CLOZE_EMULATED
    return emulated::shuffle_from(value, source_lane, site);
#else
    return __shfl_sync(kWholeWarp, value, source_lane);
#endif
}

}  // namespace detail

/// The value of lane (own lane xor lane_mask).
__device__ inline float shuffle_xor(float value, int lane_mask, Site site = Site::here()) {
    return float_of_bits(detail::shuffle_xor_bits(bits_of_float(value), lane_mask, site));
}
__device__ inline std::uint32_t shuffle_xor(std::uint32_t value, int lane_mask, Site site = Site::here()) {
    return detail::shuffle_xor_bits(value, lane_mask, site);
}
__device__ inline std::int32_t shuffle_xor(std::int32_t value, int lane_mask, Site site = Site::here()) {
    return static_cast<std::int32_t>(detail::shuffle_xor_bits(static_cast<std::uint32_t>(value), lane_mask, site));
}

/// The value of lane `source_lane` (0 to 31).
__device__ inline float shuffle_from(float value, int source_lane, Site site = Site::here()) {
    return float_of_bits(detail::shuffle_from_bits(bits_of_float(value), source_lane, site));
}
__device__ inline std::uint32_t shuffle_from(std::uint32_t value, int source_lane, Site site = Site::here()) {
    return detail::shuffle_from_bits(value, source_lane, site);
}
__device__ inline std::int32_t shuffle_from(std::int32_t value, int source_lane, Site site = Site::here()) {
    return static_cast<std::int32_t>(detail::shuffle_from_bits(static_cast<std::uint32_t>(value), source_lane, site));
}

/// `value`, which all lanes have alike. The compiler, which cannot know that of what memory or the thread's index gave,
/// then keeps it and what follows from it in registers of the warp.
template <typename T>
__device__ inline T warp_alike(T value, Site site = Site::here()) {
    return shuffle_from(value, 0, site);
}

/// Bit l: the predicate of lane l.
__device__ inline std::uint32_t warp_ballot(bool predicate, Site site = Site::here()) {
#ifdef CLOZE_EMULATED
    return emulated::ballot(predicate, site);
#else
    return __ballot_sync(kWholeWarp, predicate);
#endif
}

/// How many lanes a ballot counts.
__device__ inline int count_votes(std::uint32_t votes) {
#ifdef CLOZE_EMULATED
    return __builtin_popcount(votes);
#else
    return __popc(votes);
#endif
}

/// Waits for all lanes; what each wrote to memory before, all see after.
__device__ inline void warp_barrier(Site site = Site::here()) {
#ifdef CLOZE_EMULATED
    emulated::warp_barrier(site);
#else
    __syncwarp();
#endif
}

/// Sum over the lanes, in every lane, added as a butterfly: the same bits in all lanes and in every run.
__device__ inline float warp_sum(float value, Site site = Site::here()) {
#pragma unroll
    for (int lane_mask = kWarpThreads / 2; lane_mask > 0; lane_mask /= 2) value += shuffle_xor(value, lane_mask, site);
    return value;
}

/// Largest over the lanes, in every lane. A NaN is ignored, as fmaxf does.
__device__ inline float warp_max(float value, Site site = Site::here()) {
#pragma unroll
    for (int lane_mask = kWarpThreads / 2; lane_mask > 0; lane_mask /= 2) {
        value = fmaxf(value, shuffle_xor(value, lane_mask, site));
    }
    return value;
}

/// Largest over the lanes, in every lane: one instruction, whose result takes no register of each lane.
__device__ inline std::int32_t warp_max(std::int32_t value, [[maybe_unused]] Site site = Site::here()) {
#ifdef CLOZE_EMULATED
    for (int lane_mask = kWarpThreads / 2; lane_mask > 0; lane_mask /= 2) {
        const std::int32_t other = shuffle_xor(value, lane_mask, site);
        value = other > value ? other : value;
    }
    return value;
#else
    return __reduce_max_sync(kWholeWarp, value);
#endif
}

}  // namespace cloze
