// Tensor cores: products of 16 x 16 and 16 x 8 tiles of bf16 held by one warp, added to a 16 x 8 tile of f32.
//
// Fragments, with group = lane / 4 and pair = 2 * (lane % 4); a word holds two neighbours, the lower index in the low
// half:
//
//   a[0] row group, columns pair, pair + 1      a[1] row group + 8     a[2] columns + 8     a[3] both
//   b[0] rows pair, pair + 1, column group      b[1] rows + 8
//   d[0], d[1] row group, columns pair, pair + 1      d[2], d[3] row group + 8
//
// Tensor cores align and truncate products; they differ from a float loop by about 1e-6, relative to the largest
// product. Tested by tests/kernels/device/matrix_test.cu.
#pragma once

#include <cstdint>

#include "kernels/device/site.h"

#ifdef CLOZE_EMULATED
#include "kernels/device/emulated.h"
#endif

namespace cloze {

/// d += a b.
__device__ inline void mma_m16n8k16(float (&d)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2],
                                    [[maybe_unused]] Site site = Site::here()) {
#ifdef CLOZE_EMULATED
    emulated::mma_m16n8k16_bf16(d, a, b, site);
#else
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
        "{%0, %1, %2, %3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#endif
}

}  // namespace cloze
