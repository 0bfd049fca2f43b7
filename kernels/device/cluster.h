// Blocks of one cluster (LaunchShape::cluster, along x): they run at the same time and reach each other's shared memory
// by remote addresses. Compute capability 9.0.
//
//   cluster_arrive();
//   cluster_wait();                                // the other blocks run, and have written
//   Floats4 x = load_remote(remote_address(shared_address(tile), rank));
//   cluster_arrive();
//   cluster_wait();                                // nobody reads this block's memory any more: it may return
//
// Tested by tests/kernels/device/cluster_test.cu.
#pragma once

#include <cstdint>

#include "kernels/device/mbarrier.h"
#include "kernels/device/vector4.h"

namespace cloze {

/// 0 to LaunchShape::cluster - 1.
__device__ inline int cluster_rank() {
#if defined(CLOZE_EMULATED)
    return emulated::cluster_rank();
#elif defined(__CUDA_ARCH_FEAT_SM90_ALL)
    std::uint32_t rank;
    asm("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
    return static_cast<int>(rank);
#else
    asm volatile("trap;");
    return 0;
#endif
}

/// Every thread of every block of the cluster arrives and, perhaps later, waits for all the others. What each wrote
/// before it arrived, all see after the wait.
__device__ inline void cluster_arrive([[maybe_unused]] Site site = Site::here()) {
#if defined(CLOZE_EMULATED)
    emulated::cluster_arrive(site);
#elif defined(__CUDA_ARCH_FEAT_SM90_ALL)
    asm volatile("barrier.cluster.arrive.release;" ::: "memory");
#else
    asm volatile("trap;");
#endif
}

__device__ inline void cluster_wait([[maybe_unused]] Site site = Site::here()) {
#if defined(CLOZE_EMULATED)
    emulated::cluster_wait(site);
#elif defined(__CUDA_ARCH_FEAT_SM90_ALL)
    asm volatile("barrier.cluster.wait.acquire;" ::: "memory");
#else
    asm volatile("trap;");
#endif
}

/// Where block `rank` has what this block has at `shared_address`.
__device__ inline std::uint32_t remote_address([[maybe_unused]] std::uint32_t shared_address,
                                               [[maybe_unused]] int rank) {
#if defined(CLOZE_EMULATED)
    return emulated::remote_address(shared_address, rank);
#elif defined(__CUDA_ARCH_FEAT_SM90_ALL)
    std::uint32_t remote;
    asm("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(remote) : "r"(shared_address), "r"(rank));
    return remote;
#else
    asm volatile("trap;");
    return 0;
#endif
}

/// 16 bytes of a block of the cluster, aligned to 16.
__device__ inline Floats4 load_remote([[maybe_unused]] std::uint32_t remote,
                                      [[maybe_unused]] Site site = Site::here()) {
    Floats4 x = {};
#if defined(CLOZE_EMULATED)
    emulated::load_remote(x.value, remote, site);
#elif defined(__CUDA_ARCH_FEAT_SM90_ALL)
    asm volatile("ld.shared::cluster.v4.f32 {%0, %1, %2, %3}, [%4];"
                 : "=f"(x.value[0]), "=f"(x.value[1]), "=f"(x.value[2]), "=f"(x.value[3])
                 : "r"(remote)
                 : "memory");
#else
    asm volatile("trap;");
#endif
    return x;
}

__device__ inline void store_remote([[maybe_unused]] std::uint32_t remote, [[maybe_unused]] const Floats4& x,
                                    [[maybe_unused]] Site site = Site::here()) {
#if defined(CLOZE_EMULATED)
    emulated::store_remote(remote, x.value, site);
#elif defined(__CUDA_ARCH_FEAT_SM90_ALL)
    asm volatile("st.shared::cluster.v4.f32 [%0], {%1, %2, %3, %4};" ::"r"(remote), "f"(x.value[0]), "f"(x.value[1]),
                 "f"(x.value[2]), "f"(x.value[3])
                 : "memory");
#else
    asm volatile("trap;");
#endif
}

/// One arrival at an mbarrier of a block of the cluster, whose threads wait by mbarrier_wait_cluster().
__device__ inline void mbarrier_arrive_remote([[maybe_unused]] std::uint32_t remote_barrier,
                                              [[maybe_unused]] Site site = Site::here()) {
#if defined(CLOZE_EMULATED)
    emulated::mbarrier_arrive_remote(remote_barrier, site);
#elif defined(__CUDA_ARCH_FEAT_SM90_ALL)
    asm volatile("mbarrier.arrive.release.cluster.shared::cluster.b64 _, [%0];" ::"r"(remote_barrier) : "memory");
#else
    asm volatile("trap;");
#endif
}

namespace detail {

__device__ inline bool mbarrier_try_wait_cluster([[maybe_unused]] std::uint32_t barrier, [[maybe_unused]] int parity) {
    std::uint32_t ended = 1;
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
    asm volatile(
        "{\n"
        ".reg .pred ended;\n"
        "mbarrier.try_wait.parity.acquire.cluster.shared::cta.b64 ended, [%1], %2;\n"
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

/// mbarrier_wait() that also sees what threads of other blocks wrote before they arrived.
__device__ inline void mbarrier_wait_cluster(std::uint32_t barrier, int parity,
                                             [[maybe_unused]] Site site = Site::here()) {
#if defined(CLOZE_EMULATED)
    emulated::mbarrier_wait(barrier, parity, true, site);
#else
    while (!detail::mbarrier_try_wait_cluster(barrier, parity)) {
    }
#endif
}

}  // namespace cloze
