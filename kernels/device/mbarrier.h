// An mbarrier: 8 bytes of shared memory that count arrivals of threads and bytes of asynchronous copies, phase after
// phase. A phase ends when as many arrivals have come as mbarrier_init() said and as many bytes have landed as
// arrivals announced; the next begins at once. Compute capability 9.0.
//
//   if (thread_index() == 0) {
//       mbarrier_init(full, 1);
//       fence_mbarrier_init();            // copies and other blocks of the cluster see the new barrier
//   }
//   block_barrier();
//   if (thread_index() == 0) {
//       mbarrier_arrive_expect(full, bytes);
//       tensor_copy(tile, map, col, row, full);
//   }
//   mbarrier_wait(full, phase % 2);       // phase 0, 1, ...: what was written before its arrivals, and its copies, are
//                                         // seen after
//
// A wait with parity 1 on a new barrier returns at once: the phase before the first counts as ended. Tested by
// tests/kernels/device/hopper_copy_test.cu.
#pragma once

#include <cstdint>

#include "kernels/device/site.h"

#ifdef CLOZE_EMULATED
#include "kernels/device/emulated.h"
#endif

namespace cloze {

/// By one thread, for 8 bytes aligned to 8: each phase takes `arrivals`.
__device__ inline void mbarrier_init([[maybe_unused]] std::uint32_t barrier, [[maybe_unused]] int arrivals) {
#if defined(CLOZE_EMULATED)
    emulated::mbarrier_init(barrier, arrivals);
#elif defined(__CUDA_ARCH_FEAT_SM90_ALL)
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(barrier), "r"(arrivals) : "memory");
#else
    asm volatile("trap;");
#endif
}

/// After mbarrier_init(), by the same thread, before the barrier that tells the other threads of it.
__device__ inline void fence_mbarrier_init() {
#if defined(CLOZE_EMULATED)
    emulated::fence_mbarrier_init();
#elif defined(__CUDA_ARCH_FEAT_SM90_ALL)
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
#else
    asm volatile("trap;");
#endif
}

__device__ inline void mbarrier_arrive([[maybe_unused]] std::uint32_t barrier,
                                       [[maybe_unused]] Site site = Site::here()) {
#if defined(CLOZE_EMULATED)
    emulated::mbarrier_arrive(barrier, site);
#elif defined(__CUDA_ARCH_FEAT_SM90_ALL)
    asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(barrier) : "memory");
#else
    asm volatile("trap;");
#endif
}

/// One arrival that also announces `bytes` of copies in this phase.
__device__ inline void mbarrier_arrive_expect([[maybe_unused]] std::uint32_t barrier, [[maybe_unused]] int bytes,
                                              [[maybe_unused]] Site site = Site::here()) {
#if defined(CLOZE_EMULATED)
    emulated::mbarrier_arrive_expect(barrier, bytes, site);
#elif defined(__CUDA_ARCH_FEAT_SM90_ALL)
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(barrier), "r"(bytes) : "memory");
#else
    asm volatile("trap;");
#endif
}

namespace detail {

/// Whether the phase has ended; sleeps for a while, which the hardware chooses, where it has not.
__device__ inline bool mbarrier_try_wait([[maybe_unused]] std::uint32_t barrier, [[maybe_unused]] int parity) {
    std::uint32_t ended = 1;
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
    asm volatile(
        "{\n"
        ".reg .pred ended;\n"
        "mbarrier.try_wait.parity.shared::cta.b64 ended, [%1], %2;\n"
        "selp.u32 %0, 1, 0, ended;\n"
        "}"
        : "=r"(ended)
        : "r"(barrier), "r"(parity)
        : "memory");
#elif !defined(CLOZE_EMULATED)
    asm volatile("trap;");
#endif
    return ended != 0;
}

}  // namespace detail

/// Waits for the end of the phase of this parity: the running one, or the one before it.
__device__ inline void mbarrier_wait(std::uint32_t barrier, int parity, [[maybe_unused]] Site site = Site::here()) {
#if defined(CLOZE_EMULATED)
    emulated::mbarrier_wait(barrier, parity, false, site);
#else
    while (!detail::mbarrier_try_wait(barrier, parity)) {
    }
#endif
}

}  // namespace cloze
