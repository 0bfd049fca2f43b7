// The copy engine (TMA): boxes of a matrix from global to shared memory, asked for by one thread. Compute capability
// 9.0.
//
// A box lies in shared memory row after row, box_cols * 2 = 128 or 64 bytes each, and swizzled so that neither
// wgmma nor ldmatrix meets a bank twice: the 16-byte chunk c of row r lies at chunk
//
//   128-byte rows   c ^ (r % 8)          the tile is aligned to 1,024 bytes
//    64-byte rows   c ^ (r / 2 % 4)      the tile is aligned to 512 bytes
//
// which is bits 4 to 6 of the address xor bits 7 to 9 (64-byte rows: bits 4 to 5 xor bits 7 to 8). Elements outside of
// the matrix are read as zeros and count as bytes of the box. Columns start at multiples of 8, 16 bytes:
// an H200 takes any other for an illegal instruction. Tested by tests/kernels/device/hopper_copy_test.cu.
#pragma once

#include <cstdint>

#include "kernels/core/tensor_map.h"
#include "kernels/device/site.h"

#ifdef CLOZE_EMULATED
#include "kernels/device/emulated.h"
#endif

namespace cloze {

/// The box whose first element is (row, col) of the matrix, and that has some element of it; both may be negative. The
/// bytes of the whole box arrive at `barrier` when they have landed.
__device__ inline void tensor_copy([[maybe_unused]] std::uint32_t shared_destination,
                                   [[maybe_unused]] const TensorMap& map, [[maybe_unused]] int col,
                                   [[maybe_unused]] int row, [[maybe_unused]] std::uint32_t barrier,
                                   [[maybe_unused]] Site site = Site::here()) {
#if defined(CLOZE_EMULATED)
    emulated::tensor_copy(shared_destination, map, col, row, barrier, site);
#elif defined(__CUDA_ARCH_FEAT_SM90_ALL)
    asm volatile(
        "cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4}], [%2];" ::"r"(
            shared_destination),
        "l"(&map), "r"(barrier), "r"(col), "r"(row)
        : "memory");
#else
    asm volatile("trap;");
#endif
}

/// The map itself, a parameter of the kernel, on its way to the engine: once, early.
__device__ inline void prefetch_tensor_map([[maybe_unused]] const TensorMap& map) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
    asm volatile("prefetch.tensormap [%0];" ::"l"(&map) : "memory");
#elif !defined(CLOZE_EMULATED)
    asm volatile("trap;");
#endif
}

/// `bytes` as they lie; addresses and bytes are multiples of 16. They arrive at `barrier`.
__device__ inline void copy_bulk([[maybe_unused]] std::uint32_t shared_destination, [[maybe_unused]] const void* source,
                                 [[maybe_unused]] int bytes, [[maybe_unused]] std::uint32_t barrier,
                                 [[maybe_unused]] Site site = Site::here()) {
#if defined(CLOZE_EMULATED)
    emulated::copy_bulk(shared_destination, source, bytes, barrier, site);
#elif defined(__CUDA_ARCH_FEAT_SM90_ALL)
    asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(
                     shared_destination),
                 "l"(source), "r"(bytes), "r"(barrier)
                 : "memory");
#else
    asm volatile("trap;");
#endif
}

}  // namespace cloze
