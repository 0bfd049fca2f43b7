// The definition of a matrix product on one tile, for any working type: panels of k are copied into the arithmetic
// type, then a 4-row micro-kernel walks them with its sums in registers. Also what f32 runs on without oneDNN (about 30
// GFLOP/s a core in f32, half in f64). Included by gemm.cpp only. Tested by tests/device/gemm_test.cpp.
#pragma once

#include <algorithm>
#include <cstdint>

#include "kernels/core/dtype.h"
#include "kernels/core/host_matrix.h"
#include "kernels/core/integer.h"

namespace cloze::plain_gemm {

/// One operand as it lies: element (i, p) of op(x) is at data[i * row_step + p * k_step].
template <typename Storage>
struct Operand {
    const Storage* data;
    std::int64_t row_step;
    std::int64_t k_step;
};

inline constexpr std::int64_t kPanelDepth = 256;  // of k: a panel of 64 columns in f64 is 128 KiB, half of an L2 cache

/// Scratch of one thread: the current panels of a and b and the sums of a tile.
template <typename T>
struct Panels {
    host::Buffer<T> a, b, sum;
};

template <typename T>
Panels<T>& thread_panels() {
    thread_local Panels<T> panels;
    return panels;
}

/// panel[p][c] = x(c, first + p) for p < depth and c < count; columns up to the stride become 0.
template <typename Storage, typename T = Arithmetic<Storage>>
void copy_panel(T* panel, std::int64_t stride, const Operand<Storage>& x, std::int64_t count, std::int64_t first,
                std::int64_t depth) {
    // In tiles, so that either orientation reads whole cache lines.
    constexpr std::int64_t edge = 16;
    for (std::int64_t p0 = 0; p0 < depth; p0 += edge) {
        const std::int64_t p1 = std::min(p0 + edge, depth);
        for (std::int64_t c = 0; c < count; ++c) {
            const Storage* source = x.data + c * x.row_step + first * x.k_step;
            for (std::int64_t p = p0; p < p1; ++p) panel[p * stride + c] = static_cast<T>(source[p * x.k_step]);
        }
        for (std::int64_t p = p0; p < p1; ++p) std::fill(panel + p * stride + count, panel + (p + 1) * stride, T(0));
    }
}

/// The product of a tile, [rows rounded up][stride].
template <typename T>
struct Product {
    const T* sum;
    std::int64_t stride;
};

/// `rows` rows of a times `cols` columns of b over [k_first, k_last), left in the thread's panels.
template <typename Storage, typename T = Arithmetic<Storage>>
Product<T> multiply(const Operand<Storage>& a, const Operand<Storage>& b, std::int64_t rows, std::int64_t cols,
                    std::int64_t k_first, std::int64_t k_last) {
    const std::int64_t padded_rows = round_up(rows, host::kBlockRows);
    const std::int64_t padded_cols = round_up(cols, host::kBlockCols<T>);
    Panels<T>& panels = thread_panels<T>();
    T* a_panel = panels.a.at_least(padded_rows * kPanelDepth);
    T* b_panel = panels.b.at_least(padded_cols * kPanelDepth);
    T* sum = panels.sum.at_least(padded_rows * padded_cols);
    std::fill_n(sum, padded_rows * padded_cols, T(0));
    for (std::int64_t first = k_first; first < k_last; first += kPanelDepth) {
        const std::int64_t depth = std::min(kPanelDepth, k_last - first);
        copy_panel(a_panel, padded_rows, a, rows, first, depth);
        copy_panel(b_panel, padded_cols, b, cols, first, depth);
        host::multiply(sum, padded_cols, host::Left<T>{a_panel, 1, padded_rows}, b_panel, padded_cols, padded_rows,
                       padded_cols, depth, true);
    }
    return {sum, padded_cols};
}

}  // namespace cloze::plain_gemm
