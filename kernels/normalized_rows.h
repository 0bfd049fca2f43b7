// The row loops of LayerNorm that layer_norm and embedding share. Host only. A row is walked in blocks of
// kColumnsPerBlock columns that live in a small buffer of arithmetic type, so that each step (bias, dropout, residual)
// is one loop without branches. Tested through both ops.
#pragma once

#include <algorithm>
#include <cmath>

#include "kernels/core/lanes.h"

namespace cloze {

/// Calls body(first, width) for the blocks of a row.
template <typename Body>
void for_blocks(std::int64_t cols, const Body& body) {
    for (std::int64_t first = 0; first < cols; first += kColumnsPerBlock) {
        body(first, std::min(kColumnsPerBlock, cols - first));
    }
}

template <typename A, typename T>
void load_block(A* block, const T* from, std::int64_t width) {
#pragma omp simd
    for (std::int64_t c = 0; c < width; ++c) block[c] = static_cast<A>(from[c]);
}

template <typename A, typename T>
void add_block(A* block, const T* from, std::int64_t width) {
#pragma omp simd
    for (std::int64_t c = 0; c < width; ++c) block[c] += static_cast<A>(from[c]);
}

template <typename A, typename T>
void store_block(T* to, const A* block, std::int64_t width) {
#pragma omp simd
    for (std::int64_t c = 0; c < width; ++c) store(to[c], block[c]);
}

template <typename A>
struct RowMoments {
    A mean;
    A rstd;
};

/// Two passes: the mean first, so that the variance of a row far from 0 keeps its digits.
template <typename T, typename A = Arithmetic<T>>
RowMoments<A> row_moments(const T* x, std::int64_t cols, A epsilon) {
    const A mean = lane_sum<A>(cols, [=](std::int64_t c) { return static_cast<A>(x[c]); }) / static_cast<A>(cols);
    const A variance = lane_sum<A>(cols,
                                   [=](std::int64_t c) {
                                       const A centred = static_cast<A>(x[c]) - mean;
                                       return centred * centred;
                                   }) /
                       static_cast<A>(cols);
    return {mean, A(1) / std::sqrt(variance + epsilon)};
}

/// block = gamma * (x - mean) * rstd + beta
template <typename T, typename A = Arithmetic<T>>
void normalize_block(A* block, const T* x, RowMoments<A> moments, const T* gamma, const T* beta, std::int64_t width) {
#pragma omp simd
    for (std::int64_t c = 0; c < width; ++c) {
        const A normalized = (static_cast<A>(x[c]) - moments.mean) * moments.rstd;
        block[c] = static_cast<A>(gamma[c]) * normalized + static_cast<A>(beta[c]);
    }
}

/// average(g) and average(g * xhat) of a row, g = dy * gamma, xhat = (x - mean) * rstd.
template <typename A>
struct RowAverages {
    A gradient;
    A projection;
};

/// load(block, first, width) fills a block with dy. A row is summed block by block.
template <typename T, typename Load, typename A = Arithmetic<T>>
RowAverages<A> row_averages(const Load& load, const T* x, RowMoments<A> moments, const T* gamma, std::int64_t cols) {
    A block[kColumnsPerBlock];
    RowAverages<A> sums{0, 0};
    for_blocks(cols, [&](std::int64_t first, std::int64_t width) {
        load(block, first, width);
        const T* x_block = x + first;
        const T* gamma_block = gamma + first;
        const A* dy = block;
        sums.gradient += lane_sum<A>(width, [=](std::int64_t c) { return dy[c] * static_cast<A>(gamma_block[c]); });
        sums.projection += lane_sum<A>(width, [=](std::int64_t c) {
            return dy[c] * static_cast<A>(gamma_block[c]) *
                   ((static_cast<A>(x_block[c]) - moments.mean) * moments.rstd);
        });
    });
    return {sums.gradient / static_cast<A>(cols), sums.projection / static_cast<A>(cols)};
}

/// block: dy in, rstd * (g - average(g) - xhat * average(g * xhat)) out; dgamma += dy * xhat, dbeta += dy.
template <typename T, typename A = Arithmetic<T>>
void normalize_backward_block(A* block, A* dgamma, A* dbeta, const T* x, RowMoments<A> moments, RowAverages<A> averages,
                              const T* gamma, std::int64_t width) {
#pragma omp simd
    for (std::int64_t c = 0; c < width; ++c) {
        const A upstream = block[c];
        const A normalized = (static_cast<A>(x[c]) - moments.mean) * moments.rstd;
        dgamma[c] += upstream * normalized;
        dbeta[c] += upstream;
        block[c] =
            moments.rstd * (upstream * static_cast<A>(gamma[c]) - averages.gradient - normalized * averages.projection);
    }
}

}  // namespace cloze
