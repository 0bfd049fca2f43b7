// Sums in one fixed order that vectorises without fast-math: along a row in lanes, over rows in chunks.
// Tested by tests/kernels/lanes_test.cpp and by every op that sums.
#pragma once

#include <algorithm>
#include <cstdint>

#include "kernels/core/parallel.h"

namespace cloze {

/// to = value, rounded to T. A function of its own, because g++ 12 does not vectorise an assignment of a class like
/// bf16 that stands in the loop itself.
template <typename T, typename A>
inline void store(T& to, A value) {
    to = static_cast<T>(value);
}

/// Accumulators of a sum along a row: two vector registers of eight floats. 32 are no faster at 768 columns, where
/// loads bound the sum, and slower at 128, where the lanes' meeting counts.
inline constexpr int kSumLanes = 16;

/// Sum of term(i) over [0, count): element i goes to lane i mod kSumLanes, then the lanes meet pairwise.
template <typename Sum, typename Term>
Sum lane_sum(std::int64_t count, const Term& term) {
    Sum lanes[kSumLanes] = {};
    const std::int64_t whole = count - count % kSumLanes;
    for (std::int64_t i = 0; i < whole; i += kSumLanes) {
#pragma omp simd
        for (int lane = 0; lane < kSumLanes; ++lane) lanes[lane] += term(i + lane);
    }
    for (std::int64_t i = whole; i < count; ++i) lanes[i - whole] += term(i);
    for (int width = kSumLanes / 2; width > 0; width /= 2) {
        for (int lane = 0; lane < width; ++lane) lanes[lane] += lanes[lane + width];
    }
    return lanes[0];
}

/// Columns that a loop over rows sums at a time: few enough to stay in the first-level cache.
inline constexpr std::int64_t kColumnsPerBlock = 256;

/// Second half of a column sum: sum[c] = (or +=) partial[0][c] + partial[1][c] + ..., chunks in ascending order.
/// `partial` holds `chunks` rows of `cols` sums, `stride` elements apart.
template <typename Sum>
void sum_of_chunks(Sum* sum, const Sum* partial, std::int64_t chunks, std::int64_t stride, std::int64_t cols,
                   bool accumulate) {
    parallel_chunks(cols, kColumnsPerBlock, [&](std::int64_t first, std::int64_t last, std::int64_t) {
        Sum total[kColumnsPerBlock] = {};
        for (std::int64_t chunk = 0; chunk < chunks; ++chunk) {
            const Sum* row = partial + chunk * stride + first;
#pragma omp simd
            for (std::int64_t c = 0; c < last - first; ++c) total[c] += row[c];
        }
        for (std::int64_t c = 0; c < last - first; ++c)
            sum[first + c] = (accumulate ? sum[first + c] : Sum(0)) + total[c];
    });
}

/// Elements of scratch that the sums of `cols` columns over `rows` rows need: one row of sums for each chunk, and one
/// even without rows, so that the address is always good.
constexpr std::int64_t chunk_partials(std::int64_t rows, std::int64_t cols) {
    return std::max<std::int64_t>(divide_up(rows, kRowsPerChunk), 1) * cols;
}

/// The same where a device may take shorter chunks.
constexpr std::int64_t short_chunk_partials(std::int64_t rows, std::int64_t cols) {
    return std::max(chunk_partials(rows, cols),
                    std::min(divide_up(rows, kFewestRowsPerChunk), kMostShortChunks) * cols);
}

/// sum[c] = (or +=) term(0, c) + term(1, c) + ... over `rows`, in chunks of kRowsPerChunk rows. term(row, c) is called
/// once for each element and may also store; calls of one row must not depend on each other.
template <typename Sum, typename Term>
void column_sums(Sum* sum, Sum* scratch, std::int64_t rows, std::int64_t cols, bool accumulate, const Term& term) {
    parallel_chunks(rows, kRowsPerChunk, [&](std::int64_t first, std::int64_t last, std::int64_t chunk) {
        for (std::int64_t col = 0; col < cols; col += kColumnsPerBlock) {
            const std::int64_t width = std::min(kColumnsPerBlock, cols - col);
            Sum total[kColumnsPerBlock] = {};
            for (std::int64_t row = first; row < last; ++row) {
#pragma omp simd
                for (std::int64_t c = 0; c < width; ++c) total[c] += term(row, col + c);
            }
            std::copy_n(total, width, scratch + chunk * cols + col);
        }
    });
    sum_of_chunks(sum, scratch, divide_up(rows, kRowsPerChunk), cols, cols, accumulate);
}

}  // namespace cloze
