// Attention by plain loops over the formulas of kernels/attention.h: nothing shared with the op. What the tests of the
// host's definition and of device code judge by.
#pragma once

#include "kernels/attention.h"
#include "tests/kernels/op_testing.h"

namespace cloze::test {

inline constexpr Visible kEveryVisible[] = {Visible::all, Visible::past, Visible::future, Visible::strict_past,
                                            Visible::strict_future};

struct AttentionCase {
    std::vector<std::int32_t> lengths;
    std::int64_t heads = 1;
    std::int64_t head_dim = 64;
    Visible visible = Visible::all;
    double dropout = 0;
    std::int64_t before = 0;  // rows ahead of the first sequence
    std::int64_t after = 3;   // unused rows behind the last

    std::int64_t hidden() const { return heads * head_dim; }
    std::int64_t sequences() const { return static_cast<std::int64_t>(lengths.size()); }
    std::int64_t tokens() const {
        std::int64_t sum = before + after;
        for (const std::int32_t length : lengths) sum += length;
        return sum;
    }
    bool used(std::int64_t row) const { return row >= before && row < tokens() - after; }
    Array offset() const {
        Array offset(DType::i32, sequences() + 1);
        double row = static_cast<double>(before);
        for (std::int64_t s = 0; s <= sequences(); ++s) {
            offset.set(s, row);
            if (s < sequences()) row += lengths[static_cast<std::size_t>(s)];
        }
        return offset;
    }
    Array samples() const {
        Array samples(DType::u64, sequences());
        for (std::int64_t s = 0; s < sequences(); ++s)
            samples.set(s, static_cast<double>((std::int64_t{1} << 33) + 7 * s));
        return samples;
    }
};

inline const StepState kAttentionState{.step = 5, .dropout_key = {0x1234567u, 0x89abcdefu}};
inline constexpr std::int32_t kAttentionLayer = 3;

inline bool sees(Visible visible, std::int64_t i, std::int64_t j) {
    switch (visible) {
        case Visible::all: return true;
        case Visible::past: return j <= i;
        case Visible::future: return j >= i;
        case Visible::strict_past: return j < i;
        case Visible::strict_future: return j > i;
    }
    return false;
}

/// The mapping of kernels/core/dropout.h, one probability at a time: 0 or one over the keep rate.
inline double keep_factor(const AttentionCase& c, std::int64_t sequence, std::int64_t head, std::int64_t query,
                          std::int64_t key) {
    if (c.dropout == 0) return 1;
    const DropoutRate rate = attention_dropout_rate(c.dropout);
    const DropoutKey dropout_key{kAttentionState.dropout_key, kAttentionLayer, DropoutSite::attention_probabilities};
    const auto sample = static_cast<std::uint64_t>((std::int64_t{1} << 33) + 7 * sequence);
    const auto q = static_cast<std::uint32_t>(query), k = static_cast<std::uint32_t>(key);
    const PhiloxBits bits =
        attention_dropout_bits(dropout_key, sample, static_cast<std::uint32_t>(head), q / 16, k / 64, q % 8, k % 8);
    return attention_dropout_value(bits, q % 16 / 8, k % 64 / 8) < rate.threshold ? 0 : rate.keep_scale();
}

struct PlainAttention {
    Array y, log_sum_exp;
    Array dqkv;
};

/// The types in which numbers are kept between the loops; sums are in double.
struct PlainRounding {
    DType stored = DType::f64;   // scores, probabilities and gradients of these, and the results
    DType factors = DType::f64;  // probabilities after dropout and gradients of scores, where they enter products
};

/// One head of one sequence.
inline void plain_head(PlainAttention& out, const AttentionCase& c, const Array& qkv, const Array& dy,
                       PlainRounding rounding, std::int64_t sequence, std::int64_t first_row, std::int64_t head) {
    const std::int64_t n = c.lengths[static_cast<std::size_t>(sequence)], dim = c.head_dim, hidden = c.hidden();
    const double scale = 1 / std::sqrt(static_cast<double>(dim));
    const auto at = [&](const Array& x, std::int64_t row, std::int64_t part, std::int64_t d) {
        return x.get(first_row + row, part * hidden + head * dim + d);
    };
    const auto add = [&](std::int64_t row, std::int64_t part, std::int64_t d, double value) {
        const std::int64_t column = part * hidden + head * dim + d;
        out.dqkv.set(first_row + row, column, out.dqkv.get(first_row + row, column) + value);
    };
    for (std::int64_t i = 0; i < n; ++i) {
        std::vector<double> p(static_cast<std::size_t>(n), 0), dp = p;
        double maximum = -std::numeric_limits<double>::infinity(), sum = 0, delta = 0;
        std::vector<double> score = p;
        for (std::int64_t j = 0; j < n; ++j) {
            double& s = score[static_cast<std::size_t>(j)];
            for (std::int64_t d = 0; d < dim; ++d) s += at(qkv, i, 0, d) * at(qkv, j, 1, d) * scale;
            s = stored_as(rounding.stored, s);
            if (sees(c.visible, i, j)) maximum = std::max(maximum, s);
        }
        for (std::int64_t j = 0; j < n; ++j)
            if (sees(c.visible, i, j)) sum += std::exp(score[static_cast<std::size_t>(j)] - maximum);
        out.log_sum_exp.set(head, first_row + i, maximum + std::log(sum));
        for (std::int64_t j = 0; j < n; ++j) {
            if (!sees(c.visible, i, j)) continue;
            const auto index = static_cast<std::size_t>(j);
            const double keep = keep_factor(c, sequence, head, i, j);
            p[index] = stored_as(rounding.stored, std::exp(score[index] - maximum) / sum);
            const double dropped = stored_as(rounding.factors, p[index] * keep);
            for (std::int64_t d = 0; d < dim; ++d) {
                const std::int64_t column = head * dim + d;
                const double dyd = dy.get(first_row + i, column);
                out.y.set(first_row + i, column, out.y.get(first_row + i, column) + dropped * at(qkv, j, 2, d));
                dp[index] += dyd * at(qkv, j, 2, d) * keep;
                add(j, 2, d, dropped * dyd);
            }
            dp[index] = stored_as(rounding.stored, dp[index]);
            delta += p[index] * dp[index];
        }
        for (std::int64_t j = 0; j < n; ++j) {
            const auto index = static_cast<std::size_t>(j);
            const double ds = stored_as(rounding.factors, p[index] * (dp[index] - delta));
            for (std::int64_t d = 0; d < dim; ++d) {
                add(i, 0, d, ds * at(qkv, j, 1, d) * scale);
                add(j, 1, d, ds * at(qkv, i, 0, d) * scale);
            }
        }
    }
}

inline PlainAttention plain_attention(const AttentionCase& c, const Array& qkv, const Array& dy,
                                      PlainRounding rounding = {}) {
    PlainAttention out{Array(DType::f64, c.tokens(), c.hidden()), Array(DType::f64, c.heads, c.tokens()),
                       Array(DType::f64, c.tokens(), 3 * c.hidden())};
    out.y.fill(0);
    out.log_sum_exp.fill(-std::numeric_limits<double>::infinity());
    out.dqkv.fill(0);
    std::int64_t row = c.before;
    for (std::int64_t s = 0; s < c.sequences(); ++s) {
        for (std::int64_t head = 0; head < c.heads; ++head) plain_head(out, c, qkv, dy, rounding, s, row, head);
        row += c.lengths[static_cast<std::size_t>(s)];
    }
    out.y = out.y.as(rounding.stored);
    out.dqkv = out.dqkv.as(rounding.stored);
    return out;
}

}  // namespace cloze::test
