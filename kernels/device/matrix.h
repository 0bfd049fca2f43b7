// 8 x 8 tiles of bf16 between shared memory and the fragments of kernels/device/mma.h, by a whole warp. Lanes 0 to 7
// give the addresses of the rows of tile 0, lanes 8 to 15 of tile 1, and so on; a row is 16 bytes, aligned to 16.
//
//   plain        lane l holds of tile i, in word i: row l / 4, columns 2 * (l % 4) and the next
//   transposed   rows 2 * (l % 4) and the next, column l / 4
//
// Loads and stores do not wait for other warps: a barrier stands between. Tested by
// tests/kernels/device/matrix_test.cu.
#pragma once

#include <cstdint>

#include "kernels/device/site.h"

#ifdef CLOZE_EMULATED
#include "kernels/device/emulated.h"
#endif

namespace cloze {

enum class Transposed : bool { no, yes };

#ifdef CLOZE_EMULATED

template <Transposed transposed, int tiles>
inline void load_matrix(std::uint32_t (&word)[tiles], std::uint32_t row, Site site = Site::here()) {
    static_assert(tiles == 1 || tiles == 2 || tiles == 4, "ldmatrix moves 1, 2 or 4 tiles");
    emulated::load_matrix(word, row, tiles, transposed == Transposed::yes, site);
}

template <Transposed transposed, int tiles>
inline void store_matrix(std::uint32_t row, const std::uint32_t (&word)[tiles], Site site = Site::here()) {
    static_assert(tiles == 1 || tiles == 2 || tiles == 4, "stmatrix moves 1, 2 or 4 tiles");
    emulated::store_matrix(row, word, tiles, transposed == Transposed::yes, site);
}

#else

template <Transposed transposed, int tiles>
__device__ inline void load_matrix(std::uint32_t (&word)[tiles], std::uint32_t row) {
    static_assert(tiles == 1 || tiles == 2 || tiles == 4, "ldmatrix moves 1, 2 or 4 tiles");
    if constexpr (tiles == 1 && transposed == Transposed::no) {
        asm volatile("ldmatrix.sync.aligned.m8n8.x1.shared.b16 {%0}, [%1];" : "=r"(word[0]) : "r"(row) : "memory");
    } else if constexpr (tiles == 1) {
        asm volatile("ldmatrix.sync.aligned.m8n8.x1.trans.shared.b16 {%0}, [%1];"
                     : "=r"(word[0])
                     : "r"(row)
                     : "memory");
    } else if constexpr (tiles == 2 && transposed == Transposed::no) {
        asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0, %1}, [%2];"
                     : "=r"(word[0]), "=r"(word[1])
                     : "r"(row)
                     : "memory");
    } else if constexpr (tiles == 2) {
        asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0, %1}, [%2];"
                     : "=r"(word[0]), "=r"(word[1])
                     : "r"(row)
                     : "memory");
    } else if constexpr (transposed == Transposed::no) {
        asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                     : "=r"(word[0]), "=r"(word[1]), "=r"(word[2]), "=r"(word[3])
                     : "r"(row)
                     : "memory");
    } else {
        asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                     : "=r"(word[0]), "=r"(word[1]), "=r"(word[2]), "=r"(word[3])
                     : "r"(row)
                     : "memory");
    }
}

/// From compute capability 9.0 on; a kernel for older cards must not call it.
template <Transposed transposed, int tiles>
__device__ inline void store_matrix(std::uint32_t row, const std::uint32_t (&word)[tiles]) {
    static_assert(tiles == 1 || tiles == 2 || tiles == 4, "stmatrix moves 1, 2 or 4 tiles");
#if __CUDA_ARCH__ < 900
    asm volatile("trap;");
#else
    if constexpr (tiles == 1 && transposed == Transposed::no) {
        asm volatile("stmatrix.sync.aligned.m8n8.x1.shared.b16 [%0], {%1};" ::"r"(row), "r"(word[0]) : "memory");
    } else if constexpr (tiles == 1) {
        asm volatile("stmatrix.sync.aligned.m8n8.x1.trans.shared.b16 [%0], {%1};" ::"r"(row), "r"(word[0]) : "memory");
    } else if constexpr (tiles == 2 && transposed == Transposed::no) {
        asm volatile("stmatrix.sync.aligned.m8n8.x2.shared.b16 [%0], {%1, %2};" ::"r"(row), "r"(word[0]), "r"(word[1])
                     : "memory");
    } else if constexpr (tiles == 2) {
        asm volatile("stmatrix.sync.aligned.m8n8.x2.trans.shared.b16 [%0], {%1, %2};" ::"r"(row), "r"(word[0]),
                     "r"(word[1])
                     : "memory");
    } else if constexpr (transposed == Transposed::no) {
        asm volatile("stmatrix.sync.aligned.m8n8.x4.shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(row), "r"(word[0]),
                     "r"(word[1]), "r"(word[2]), "r"(word[3])
                     : "memory");
    } else {
        asm volatile("stmatrix.sync.aligned.m8n8.x4.trans.shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(row), "r"(word[0]),
                     "r"(word[1]), "r"(word[2]), "r"(word[3])
                     : "memory");
    }
#endif
}

#endif

}  // namespace cloze
