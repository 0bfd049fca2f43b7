// Parts of attention's definition: which keys a query sees, dropout of a block of probabilities, panels, softmax and
// its gradient row by row. Included by attention.cpp only. Tested by tests/kernels/attention_test.cpp.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/attention.h"
#include "kernels/core/host_math.h"
#include "kernels/core/host_matrix.h"
#include "kernels/core/integer.h"
#include "kernels/core/lanes.h"
#include "kernels/core/philox_lanes.h"

namespace cloze::attention {

inline constexpr std::int64_t kQueries = 16;     // rows of a dropout block
inline constexpr std::int64_t kKeyBlock = 64;    // columns of a dropout block
inline constexpr std::int64_t kStrideSkew = 16;  // keeps rows of panels from meeting in one cache set

struct Range {
    std::int64_t first, last;
    std::int64_t count() const { return last - first; }
};

inline Range visible_keys(Visible visible, std::int64_t query, std::int64_t length) {
    switch (visible) {
        case Visible::all: return {0, length};
        case Visible::past: return {0, query + 1};
        case Visible::future: return {query, length};
        case Visible::strict_past: return {0, query};
        case Visible::strict_future: return {query + 1, length};
    }
    return {0, 0};
}

/// Keys that any query of [first, last) sees, widened to whole register blocks.
template <typename T>
Range block_keys(Visible visible, std::int64_t first_query, std::int64_t last_query, std::int64_t length) {
    const Range a = visible_keys(visible, first_query, length);
    const Range b = visible_keys(visible, last_query - 1, length);
    const std::int64_t first = std::min(a.first, b.first) / host::kBlockCols<T> * host::kBlockCols<T>;
    return {first, std::max(first, round_up(std::max(a.last, b.last), host::kBlockCols<T>))};
}

/// What a call's dropout comes down to; threshold 0 = none.
struct Dropping {
    DropoutRate rate{0, 256};
    DropoutKey key{};
    const std::uint64_t* sample = nullptr;

    explicit operator bool() const { return rate.threshold != 0; }
};

inline Dropping dropping(const AttentionDropout& dropout) {
    const DropoutRate rate = attention_dropout_rate(dropout.probability);
    if (rate.threshold == 0) return {};
    return {
        rate,
        {dropout.state->dropout_key, static_cast<std::uint32_t>(dropout.layer), DropoutSite::attention_probabilities},
        dropout.sequence_sample.data<std::uint64_t>()};
}

/// One head of one sequence, and how its panels lie.
struct Item {
    std::int64_t row;  // first token
    std::int64_t length, sequence, head, head_dim;
    std::int64_t key_stride;  // of rows of scores and of transposed panels: key runs along them
    std::int64_t dim_stride;  // of rows of panels along which the head's dimension runs
    Visible visible;

    std::int64_t queries_from(std::int64_t first) const { return std::min(kQueries, length - first); }
};

template <typename T>
Item make_item(const std::int32_t* offset, std::int64_t index, std::int64_t heads, std::int64_t head_dim,
               Visible visible) {
    const std::int64_t sequence = index / heads;
    const std::int64_t length = offset[sequence + 1] - offset[sequence];
    return {.row = offset[sequence],
            .length = length,
            .sequence = sequence,
            .head = index % heads,
            .head_dim = head_dim,
            .key_stride = round_up(length, kKeyBlock) + kStrideSkew,
            .dim_stride = round_up(head_dim, host::kBlockCols<T>),
            .visible = visible};
}

/// keep[query][key] = what dropout multiplies a probability by: 0 or one over the keep rate.
template <typename T>
void draw_keep(T* keep, const Item& item, const Dropping& drop, std::int64_t first_query, const Range& keys) {
    const std::uint64_t sample = drop.sample[item.sequence];
    const T scale = static_cast<T>(drop.rate.keep_scale());
    const auto query_block = static_cast<std::uint32_t>(first_query / kQueries);
    for (std::int64_t block = keys.first / kKeyBlock; block * kKeyBlock < keys.last; ++block) {
        for (std::uint32_t query_mod8 = 0; query_mod8 < 8; ++query_mod8) {
            // Lanes are the calls of the eight key_mod8, which follow each other.
            std::uint32_t words[4][kPhiloxLanes];
            philox_lanes::by_word(
                words,
                attention_dropout_counter(drop.key, sample, static_cast<std::uint32_t>(item.head), query_block,
                                          static_cast<std::uint32_t>(block), query_mod8, 0),
                drop.key.step_key);
            for (int index = 0; index < 16; ++index) {
                const int half = index / 8, octet = index % 8;
                T* row = keep + (query_mod8 + 8 * half) * item.key_stride + block * kKeyBlock + octet * 8;
                for (std::uint32_t lane = 0; lane < kPhiloxLanes; ++lane) {
                    const std::uint32_t value = (words[index / 4][lane] >> (8 * (index % 4))) & 0xffu;
                    row[lane] = value < drop.rate.threshold ? T(0) : scale;
                }
            }
        }
    }
}

/// panel[i][d] = factor * x[i][d] for `count` rows; rows up to `padded` and columns up to the stride become 0.
template <typename T, typename Storage>
void copy_rows(T* panel, std::int64_t stride, const Storage* x, std::int64_t x_stride, std::int64_t count,
               std::int64_t padded, std::int64_t head_dim, T factor) {
    for (std::int64_t i = 0; i < padded; ++i) {
        T* row = panel + i * stride;
        if (i >= count) {
            std::fill_n(row, stride, T(0));
            continue;
        }
        for (std::int64_t d = 0; d < head_dim; ++d) row[d] = factor * static_cast<T>(x[i * x_stride + d]);
        std::fill(row + head_dim, row + stride, T(0));
    }
}

/// panel[d][i] = x[i][d]; columns from `count` on become 0.
template <typename T, typename Storage>
void copy_transposed(T* panel, std::int64_t stride, const Storage* x, std::int64_t x_stride, std::int64_t count,
                     std::int64_t head_dim) {
    for (std::int64_t first = 0; first < head_dim; first += 16) {
        const std::int64_t last = std::min(first + 16, head_dim);
        for (std::int64_t i = 0; i < count; ++i) {
            for (std::int64_t d = first; d < last; ++d) panel[d * stride + i] = static_cast<T>(x[i * x_stride + d]);
        }
    }
    for (std::int64_t d = 0; d < head_dim; ++d) std::fill(panel + d * stride + count, panel + (d + 1) * stride, T(0));
}

template <typename T>
T score_scale(const Item& item) {
    return T(1) / std::sqrt(static_cast<T>(item.head_dim));
}

/// Softmax of one row of scores over `keys`, of which the query sees `visible`. Returns log sum exp.
template <typename T>
T softmax_row(T* row, const Range& keys, const Range& visible) {
    constexpr T nothing = -std::numeric_limits<T>::infinity();
    if (visible.count() <= 0) {
        std::fill(row + keys.first, row + keys.last, T(0));
        return nothing;
    }
    std::fill(row + keys.first, row + visible.first, nothing);
    std::fill(row + visible.last, row + keys.last, nothing);
    const T maximum = host::row_maximum(row + keys.first, keys.count(), nothing);
    for (std::int64_t j = keys.first; j < keys.last; ++j) row[j] = math::exp(row[j] - maximum);
    const T sum = lane_sum<T>(keys.count(), [&](std::int64_t j) { return row[keys.first + j]; });
    const T inverse = T(1) / sum;
    for (std::int64_t j = keys.first; j < keys.last; ++j) row[j] *= inverse;
    return maximum + std::log(sum);
}

/// Turns scores into dropout(p), and dprobabilities from dy v^T into ds.
template <typename T>
void backward_row(T* scores, T* dprobabilities, const T* keep, T log_sum_exp, T delta, const Range& keys,
                  const Range& visible) {
    const Range seen = visible.count() > 0 ? visible : Range{keys.first, keys.first};
    for (T* row : {scores, dprobabilities}) {
        std::fill(row + keys.first, row + seen.first, T(0));
        std::fill(row + seen.last, row + keys.last, T(0));
    }
    // Short loops without branches: each becomes vector code.
    for (std::int64_t j = seen.first; j < seen.last; ++j) scores[j] = math::exp(scores[j] - log_sum_exp);
    if (keep != nullptr) {
        for (std::int64_t j = seen.first; j < seen.last; ++j) dprobabilities[j] *= keep[j];
    }
    for (std::int64_t j = seen.first; j < seen.last; ++j) dprobabilities[j] = scores[j] * (dprobabilities[j] - delta);
    if (keep != nullptr) {
        for (std::int64_t j = seen.first; j < seen.last; ++j) scores[j] *= keep[j];
    }
}

}  // namespace cloze::attention
