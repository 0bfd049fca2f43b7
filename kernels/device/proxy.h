// Two ways lead to shared memory: the threads' own loads and stores (stmatrix and cp.async too), and the asynchronous
// ones of the copy engine and of wgmma. Neither sees what the other has written without more. What threads write for an
// asynchronous reader, each of them fences before the barrier that orders the two:
//
//   store_matrix<...>(tile, words);
//   fence_async_shared();
//   named_barrier_wait(...);
//   wgmma_m64<...>(d, a, tile, ...);
//
// The other way round, the end of an mbarrier's phase is enough. Compute capability 9.0. Tested by
// tests/kernels/device/wgmma_test.cu.
#pragma once

#ifdef CLOZE_EMULATED
#include "kernels/device/emulated.h"
#endif

namespace cloze {

__device__ inline void fence_async_shared() {
#if defined(CLOZE_EMULATED)
    emulated::fence_async_shared();
#elif defined(__CUDA_ARCH_FEAT_SM90_ALL)
    asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
#else
    asm volatile("trap;");
#endif
}

}  // namespace cloze
