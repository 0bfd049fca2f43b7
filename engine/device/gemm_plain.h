// The definition of a matrix product on one tile, for any working type: panels of k are copied into the arithmetic
// type, then a 4-row micro-kernel walks them with its sums in registers. Also what f32 runs on without oneDNN (about 25
// GFLOP/s a core in f32, half of it in f64). Included by gemm.cpp only. Tested by tests/device/gemm_test.cpp.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

#include "kernels/core/dtype.h"

namespace cloze::plain_gemm {

/// One operand as it lies: element (i, p) of op(x) is at data[i * row_step + p * k_step].
template <typename Storage>
struct Operand {
    const Storage* data;
    std::int64_t row_step;
    std::int64_t k_step;
};

inline constexpr std::int64_t kPanelDepth = 256;  // of k: a panel of 64 columns in f64 is 128 KiB, half of an L2 cache
inline constexpr int kKernelRows = 4;
inline constexpr int kVectorBytes = 32;

// A vector of 32 bytes that the compiler maps to whatever the machine has. memcpy is an unaligned load or store.
template <typename T>
using Vector __attribute__((vector_size(kVectorBytes))) = T;

/// Scratch of one thread: the current panels of a and b and the sums of a tile.
template <typename T>
struct Panels {
    std::vector<T> a, b, sum;
};

template <typename T>
Panels<T>& thread_panels() {
    thread_local Panels<T> panels;
    return panels;
}

/// sum[r][c] += sum_p a[p][r] b[p][c] for 4 rows and two vectors of columns.
template <typename T>
void micro_kernel(T* sum, std::int64_t sum_stride, const T* a, const T* b, std::int64_t b_stride, std::int64_t depth) {
    constexpr int kLanes = kVectorBytes / static_cast<int>(sizeof(T));
    Vector<T> acc[kKernelRows][2];
    for (int r = 0; r < kKernelRows; ++r) std::memcpy(acc[r], sum + r * sum_stride, 2 * kVectorBytes);
    for (std::int64_t p = 0; p < depth; ++p) {
        Vector<T> low, high;
        std::memcpy(&low, b + p * b_stride, kVectorBytes);
        std::memcpy(&high, b + p * b_stride + kLanes, kVectorBytes);
        for (int r = 0; r < kKernelRows; ++r) {
            const T scale = a[p * kKernelRows + r];
            acc[r][0] += scale * low;
            acc[r][1] += scale * high;
        }
    }
    for (int r = 0; r < kKernelRows; ++r) std::memcpy(sum + r * sum_stride, acc[r], 2 * kVectorBytes);
}

/// The product of a's `rows` rows and b's `cols` rows over [k_first, k_last), left in the thread's `sum`,
/// [rows rounded up][returned stride].
template <typename Storage, typename T = Arithmetic<Storage>>
std::int64_t multiply(const Operand<Storage>& a, const Operand<Storage>& b, std::int64_t rows, std::int64_t cols,
                      std::int64_t k_first, std::int64_t k_last) {
    constexpr std::int64_t kKernelCols = 2 * kVectorBytes / static_cast<std::int64_t>(sizeof(T));
    const std::int64_t row_groups = (rows + kKernelRows - 1) / kKernelRows;
    const std::int64_t stride = (cols + kKernelCols - 1) / kKernelCols * kKernelCols;
    Panels<T>& panels = thread_panels<T>();
    panels.a.assign(static_cast<std::size_t>(row_groups * kKernelRows * kPanelDepth), T(0));
    panels.b.assign(static_cast<std::size_t>(stride * kPanelDepth), T(0));
    panels.sum.assign(static_cast<std::size_t>(row_groups * kKernelRows * stride), T(0));
    for (std::int64_t first = k_first; first < k_last; first += kPanelDepth) {
        const std::int64_t depth = std::min(kPanelDepth, k_last - first);
        for (std::int64_t r = 0; r < rows; ++r) {
            T* group = panels.a.data() + r / kKernelRows * kKernelRows * kPanelDepth + r % kKernelRows;
            const Storage* source = a.data + r * a.row_step + first * a.k_step;
            for (std::int64_t p = 0; p < depth; ++p) group[p * kKernelRows] = static_cast<T>(source[p * a.k_step]);
        }
        for (std::int64_t p = 0; p < depth; ++p) {
            const Storage* source = b.data + (first + p) * b.k_step;
            for (std::int64_t c = 0; c < cols; ++c)
                panels.b[static_cast<std::size_t>(p * stride + c)] = static_cast<T>(source[c * b.row_step]);
        }
        for (std::int64_t c = 0; c < stride; c += kKernelCols) {
            for (std::int64_t group = 0; group < row_groups; ++group) {
                micro_kernel(panels.sum.data() + group * kKernelRows * stride + c, stride,
                             panels.a.data() + group * kKernelRows * kPanelDepth, panels.b.data() + c, stride, depth);
            }
        }
    }
    return stride;
}

}  // namespace cloze::plain_gemm
