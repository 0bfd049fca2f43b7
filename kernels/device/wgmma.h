// wgmma: products of 64 x 16 and 16 x n tiles of bf16, added to 64 x n of f32 that the four warps of a warpgroup hold.
// b lies in shared memory, a there or in registers. The instruction returns at once; it reads its operands and writes d
// some time before wgmma_wait() says that it has. Compute capability 9.0.
//
//   wgmma_fence();                                   // d, and a in registers, as this thread has left them
//   for (int k = 0; k < 4; ++k) wgmma_m64<128, false>(d, advance(a, 32 * k), advance(b, 32 * k), k > 0);
//   wgmma_commit();                                  // ends a group
//   wgmma_wait<0>();                                 // all groups of this warpgroup have ended
//   wgmma_hold(d);                                   // only now may d be read
//
// All 128 threads of warps 4 i to 4 i + 3 call, from the same place, with the same descriptors. Until the wait nobody
// may touch d or write the tiles; a is taken from registers at the call. A tile that threads have written themselves
// needs fence_async_shared() in each of them before the barrier (kernels/device/proxy.h).
//
// d, with warp w of the warpgroup and as in kernels/device/mma.h, for each 8 columns j:
//
//   d[4 j], d[4 j + 1]   row 16 w + lane / 4, columns 8 j + 2 (lane % 4) and the next      d[4 j + 2], d[4 j + 3]   row
//   + 8
//
// a in registers: mma_m16n8k16's fragment of rows 16 w to 16 w + 15. Two neighbours of 8 columns of d, packed to bf16,
// are such a fragment: a[0] of d[8 j], d[8 j + 1]; a[1] of d[8 j + 2 ...]; a[2] of d[8 j + 4 ...]; a[3] of d[8 j + 6
// ...].
//
// How a tile lies in shared memory, swizzled as tensor_copy() leaves a box (kernels/device/tensor_copy.h). "Row" is one
// of 128 bytes (64 elements, descriptor_128) or 64 bytes (32 elements, descriptor_64) and 8 rows are an atom of 1,024
// or 512 bytes, to which the tile is aligned:
//
//   K-major   a row holds neighbours in k: row i is row i of a, or column i of b. `stride_bytes` lead from 8 rows to
//   the
//             next 8, 1,024 or 512 where a box lies in one piece; leading_bytes are not used. The next 16 of k:
//             advance(descriptor, 32) inside of a row.
//   MN-major  a row holds neighbours in m (of a) or n (of b): row i is element i of k. `stride_bytes` lead from 8 of k
//             to the next 8, 1,024 or 512; leading_bytes from 64 or 32 neighbours in m or n to the next, which is the
//             size of a box. The next 16 of k: advance(descriptor, 2 * stride_bytes).
//
// Tested by tests/kernels/device/wgmma_test.cu.
#pragma once

#include <cstdint>

#include "kernels/device/site.h"

#ifdef CLOZE_EMULATED
#include "kernels/device/emulated.h"
#endif
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
#include "kernels/device/wgmma_forms.h"
#endif

namespace cloze {

/// Where a tile of a product lies: bits 0 to 13 the address, 16 to 29 leading_bytes, 32 to 45 stride_bytes, each
/// divided by 16; bits 62 and 63 the swizzle, 1 of 128 bytes, 2 of 64.
struct MatrixDescriptor {
    std::uint64_t bits;
};

namespace detail {

__device__ inline MatrixDescriptor matrix_descriptor(std::uint32_t shared_address, int leading_bytes, int stride_bytes,
                                                     std::uint64_t swizzle) {
    const auto field = [](std::uint32_t bytes) { return static_cast<std::uint64_t>((bytes & 0x3ffffu) >> 4); };
    return {field(shared_address) | field(static_cast<std::uint32_t>(leading_bytes)) << 16 |
            field(static_cast<std::uint32_t>(stride_bytes)) << 32 | swizzle << 62};
}

}  // namespace detail

/// A tile of rows of 128 bytes.
__device__ inline MatrixDescriptor descriptor_128(std::uint32_t shared_address, int leading_bytes, int stride_bytes) {
    return detail::matrix_descriptor(shared_address, leading_bytes, stride_bytes, 1);
}

/// A tile of rows of 64 bytes.
__device__ inline MatrixDescriptor descriptor_64(std::uint32_t shared_address, int leading_bytes, int stride_bytes) {
    return detail::matrix_descriptor(shared_address, leading_bytes, stride_bytes, 2);
}

/// The same tile `bytes` further on, a multiple of 16.
__device__ inline MatrixDescriptor advance(MatrixDescriptor descriptor, int bytes) {
    return {descriptor.bits + static_cast<std::uint64_t>(bytes >> 4)};
}

/// Before the first wgmma, and before one whose d or a in registers this thread has touched since; not between
/// those that only add to the same d.
__device__ inline void wgmma_fence([[maybe_unused]] Site site = Site::here()) {
#if defined(CLOZE_EMULATED)
    emulated::wgmma_fence(site);
#elif defined(__CUDA_ARCH_FEAT_SM90_ALL)
    asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
#else
    asm volatile("trap;");
#endif
}

__device__ inline void wgmma_commit([[maybe_unused]] Site site = Site::here()) {
#if defined(CLOZE_EMULATED)
    emulated::wgmma_commit(site);
#elif defined(__CUDA_ARCH_FEAT_SM90_ALL)
    asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
#else
    asm volatile("trap;");
#endif
}

/// Waits until at most `pending` groups have not ended.
template <int pending>
__device__ inline void wgmma_wait([[maybe_unused]] Site site = Site::here()) {
#if defined(CLOZE_EMULATED)
    emulated::wgmma_wait(pending, site);
#elif defined(__CUDA_ARCH_FEAT_SM90_ALL)
    asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(pending) : "memory");
#else
    asm volatile("trap;");
#endif
}

/// No instruction: the compiler, for which d was complete at wgmma_m64(), moves no use of it from below to above.
template <int count>
__device__ inline void wgmma_hold([[maybe_unused]] float (&d)[count]) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
#pragma unroll
    for (int i = 0; i < count; ++i) asm volatile("" : "+f"(d[i])::"memory");
#endif
}

/// d = a b, added to d where `accumulate`. n is 32, 64, 128, 192 or 256.
template <int n, bool b_mn_major, bool a_mn_major = false>
__device__ inline void wgmma_m64(float (&d)[n / 2], MatrixDescriptor a, MatrixDescriptor b, bool accumulate,
                                 [[maybe_unused]] Site site = Site::here()) {
    static_assert(n == 32 || n == 64 || n == 128 || n == 192 || n == 256, "kernels/device/wgmma_forms.h has no others");
#if defined(CLOZE_EMULATED)
    emulated::wgmma({.d = d,
                     .n = n,
                     .a_words = nullptr,
                     .a = a.bits,
                     .b = b.bits,
                     .a_mn_major = a_mn_major,
                     .b_mn_major = b_mn_major,
                     .accumulate = accumulate},
                    site);
#elif defined(__CUDA_ARCH_FEAT_SM90_ALL)
    detail::wgmma_shared<a_mn_major, b_mn_major>(d, a.bits, b.bits, accumulate);
#else
    asm volatile("trap;");
#endif
}

template <int n, bool b_mn_major>
__device__ inline void wgmma_m64(float (&d)[n / 2], const std::uint32_t (&a)[4], MatrixDescriptor b, bool accumulate,
                                 [[maybe_unused]] Site site = Site::here()) {
    static_assert(n == 32 || n == 64 || n == 128 || n == 192 || n == 256, "kernels/device/wgmma_forms.h has no others");
#if defined(CLOZE_EMULATED)
    emulated::wgmma({.d = d,
                     .n = n,
                     .a_words = a,
                     .a = 0,
                     .b = b.bits,
                     .a_mn_major = false,
                     .b_mn_major = b_mn_major,
                     .accumulate = accumulate},
                    site);
#elif defined(__CUDA_ARCH_FEAT_SM90_ALL)
    detail::wgmma_registers<b_mn_major>(d, a, b.bits, accumulate);
#else
    asm volatile("trap;");
#endif
}

/// Registers of each thread of a warpgroup from here on: 24 to 256, a multiple of 8. By all of its warps; the kernel
/// has __launch_bounds__(threads, 1), and those that lower come before those that raise, which wait for them.
template <int count>
__device__ inline void raise_registers([[maybe_unused]] Site site = Site::here()) {
    static_assert(count >= 24 && count <= 256 && count % 8 == 0, "registers of a thread");
#if defined(CLOZE_EMULATED)
    emulated::set_registers(count, site);
#elif defined(__CUDA_ARCH_FEAT_SM90_ALL)
    asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(count));
#else
    asm volatile("trap;");
#endif
}

template <int count>
__device__ inline void lower_registers([[maybe_unused]] Site site = Site::here()) {
    static_assert(count >= 24 && count <= 256 && count % 8 == 0, "registers of a thread");
#if defined(CLOZE_EMULATED)
    emulated::set_registers(count, site);
#elif defined(__CUDA_ARCH_FEAT_SM90_ALL)
    asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(count));
#else
    asm volatile("trap;");
#endif
}

}  // namespace cloze
