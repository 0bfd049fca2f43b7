// Vectors, buffers and small dense products of the host path: what attention and the plain GEMM are built of. A product
// keeps 4 rows x 2 vectors of sums in registers (half of AVX2's file) and adds over its depth in ascending order, so a
// sum's bits do not depend on how callers cut rows and columns. About 40 GFLOP/s a core in f32 with AVX2, a third in
// f64. Tested by tests/kernels/host_matrix_test.cpp.
#pragma once

#include <cstdint>
#include <cstring>
#include <memory>
#include <new>

namespace cloze::host {

inline constexpr int kVectorBytes = 32;

/// A vector that the compiler maps to whatever the machine has; arithmetic operators work lane by lane.
template <typename T>
using Vector __attribute__((vector_size(kVectorBytes))) = T;

template <typename T>
inline constexpr std::int64_t kLanes = kVectorBytes / static_cast<std::int64_t>(sizeof(T));

/// What a product's rows and columns come in multiples of; operands are padded to these.
inline constexpr std::int64_t kBlockRows = 4;
template <typename T>
inline constexpr std::int64_t kBlockCols = 2 * kLanes<T>;

/// Memory that grows and never shrinks; for scratch that a thread keeps. Contents do not survive growth.
template <typename T>
class Buffer {
public:
    T* at_least(std::int64_t count) {
        if (count > count_) {
            data_.reset();
            data_.reset(static_cast<T*>(::operator new(static_cast<std::size_t>(count) * sizeof(T), kAlignment)));
            count_ = count;
        }
        return data_.get();
    }

private:
    static constexpr std::align_val_t kAlignment{64};
    struct Free {
        void operator()(T* data) const { ::operator delete(data, kAlignment); }
    };
    std::unique_ptr<T, Free> data_;
    std::int64_t count_ = 0;
};

/// The left operand of a product as it lies: element (row, p) is data[row * row_step + p * depth_step].
template <typename T>
struct Left {
    const T* data;
    std::int64_t row_step;
    std::int64_t depth_step;
};

/// sums[r][c] (= or +=) sum over p < depth of left(r, p) * right[p][c] for one block of kBlockRows x kBlockCols.
template <typename T>
inline void multiply_block(T* sums, std::int64_t sum_stride, const Left<T>& left, const T* right,
                           std::int64_t right_stride, std::int64_t depth, bool accumulate) {
    Vector<T> acc[kBlockRows][2] = {};
    if (accumulate) {
        for (int r = 0; r < kBlockRows; ++r) std::memcpy(acc[r], sums + r * sum_stride, sizeof acc[r]);
    }
    for (std::int64_t p = 0; p < depth; ++p) {
        Vector<T> low, high;
        std::memcpy(&low, right + p * right_stride, sizeof low);
        std::memcpy(&high, right + p * right_stride + kLanes<T>, sizeof high);
        for (int r = 0; r < kBlockRows; ++r) {
            const T factor = left.data[r * left.row_step + p * left.depth_step];
            acc[r][0] += factor * low;
            acc[r][1] += factor * high;
        }
    }
    for (int r = 0; r < kBlockRows; ++r) std::memcpy(sums + r * sum_stride, acc[r], sizeof acc[r]);
}

/// The same for `rows` x `cols`, multiples of kBlockRows and kBlockCols.
template <typename T>
void multiply(T* sums, std::int64_t sum_stride, const Left<T>& left, const T* right, std::int64_t right_stride,
              std::int64_t rows, std::int64_t cols, std::int64_t depth, bool accumulate) {
    for (std::int64_t c = 0; c < cols; c += kBlockCols<T>) {
        for (std::int64_t r = 0; r < rows; r += kBlockRows) {
            multiply_block(sums + r * sum_stride + c, sum_stride,
                           {left.data + r * left.row_step, left.row_step, left.depth_step}, right + c, right_stride,
                           depth, accumulate);
        }
    }
}

/// Largest of `count` values, a multiple of kBlockCols; `start` where there are none.
template <typename T>
T row_maximum(const T* x, std::int64_t count, T start) {
    Vector<T> best[2] = {start - Vector<T>{}, start - Vector<T>{}};
    for (std::int64_t i = 0; i < count; i += kBlockCols<T>) {
        for (int half = 0; half < 2; ++half) {
            Vector<T> value;
            std::memcpy(&value, x + i + half * kLanes<T>, sizeof value);
            best[half] = value > best[half] ? value : best[half];
        }
    }
    T result = start;
    for (std::int64_t lane = 0; lane < kLanes<T>; ++lane) {
        for (const Vector<T>& half : best) result = half[lane] > result ? half[lane] : result;
    }
    return result;
}

}  // namespace cloze::host
