// Attention: the blocked definition against plain loops over the header's formulas, against finite differences, its
// dropout against the mapping, and everything around it (ragged lengths, visibility, unused rows, threads, messages).
#include "kernels/attention.h"

#include "kernels/core/contract.h"
#include "tests/kernels/op_testing.h"

using namespace cloze;
using namespace cloze::test;

namespace {

constexpr Visible kEveryVisible[] = {Visible::all, Visible::past, Visible::future, Visible::strict_past,
                                     Visible::strict_future};

struct Case {
    std::vector<std::int32_t> lengths;
    std::int64_t heads, head_dim;
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

const StepState kState{.step = 5, .dropout_key = {0x1234567u, 0x89abcdefu}};
constexpr std::int32_t kLayer = 3;

AttentionDropout dropout_of(const Case& c, const Array& samples) {
    if (c.dropout == 0) return {};
    return {.probability = c.dropout, .layer = kLayer, .state = &kState, .sequence_sample = samples.tensor()};
}

struct Forward {
    Array y, log_sum_exp;
};

Forward run_forward(const Case& c, const Array& qkv) {
    Forward out{Array(qkv.dtype(), c.tokens(), c.hidden()), Array(statistics_dtype(qkv.dtype()), c.heads, c.tokens())};
    const Array offset = c.offset(), samples = c.samples();
    attention_forward({.y = out.y.tensor(),
                       .log_sum_exp = out.log_sum_exp.tensor(),
                       .qkv = qkv.tensor(),
                       .offset = offset.tensor(),
                       .heads = c.heads,
                       .visible = c.visible,
                       .dropout = dropout_of(c, samples)},
                      {});
    REQUIRE(out.y.guards_hold());
    REQUIRE(out.log_sum_exp.guards_hold());
    return out;
}

Array run_backward(const Case& c, const Array& qkv, const Array& dy, const Forward& forward) {
    const DType statistics = statistics_dtype(qkv.dtype());
    Array dqkv(qkv.dtype(), c.tokens(), 3 * c.hidden());
    Array scratch(statistics, attention_backward_scratch(c.tokens(), c.heads, c.head_dim));
    const Array offset = c.offset(), samples = c.samples();
    attention_backward({.dqkv = dqkv.tensor(),
                        .scratch = scratch.tensor(),
                        .dy = dy.tensor(),
                        .y = forward.y.tensor(),
                        .log_sum_exp = forward.log_sum_exp.tensor(),
                        .qkv = qkv.tensor(),
                        .offset = offset.tensor(),
                        .heads = c.heads,
                        .visible = c.visible,
                        .dropout = dropout_of(c, samples)},
                       {});
    REQUIRE(dqkv.guards_hold());
    REQUIRE(scratch.guards_hold());
    return dqkv;
}

bool sees(Visible visible, std::int64_t i, std::int64_t j) {
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
double keep_factor(const Case& c, std::int64_t sequence, std::int64_t head, std::int64_t query, std::int64_t key) {
    if (c.dropout == 0) return 1;
    const DropoutRate rate = attention_dropout_rate(c.dropout);
    const DropoutKey dropout_key{kState.dropout_key, kLayer, DropoutSite::attention_probabilities};
    const auto sample = static_cast<std::uint64_t>((std::int64_t{1} << 33) + 7 * sequence);
    const auto q = static_cast<std::uint32_t>(query), k = static_cast<std::uint32_t>(key);
    const PhiloxBits bits =
        attention_dropout_bits(dropout_key, sample, static_cast<std::uint32_t>(head), q / 16, k / 64, q % 8, k % 8);
    return attention_dropout_value(bits, q % 16 / 8, k % 64 / 8) < rate.threshold ? 0 : rate.keep_scale();
}

struct Plain {
    Forward forward;
    Array dqkv;
};

/// One head of one sequence by the formulas of the header, nothing shared with the op. `store`: the type in which
/// scores, probabilities and their gradients are kept between the loops.
void plain_head(Plain& out, const Case& c, const Array& qkv, const Array& dy, DType store, std::int64_t sequence,
                std::int64_t first_row, std::int64_t head) {
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
            s = stored_as(store, s);
            if (sees(c.visible, i, j)) maximum = std::max(maximum, s);
        }
        for (std::int64_t j = 0; j < n; ++j)
            if (sees(c.visible, i, j)) sum += std::exp(score[static_cast<std::size_t>(j)] - maximum);
        out.forward.log_sum_exp.set(head, first_row + i, maximum + std::log(sum));
        for (std::int64_t j = 0; j < n; ++j) {
            if (!sees(c.visible, i, j)) continue;
            const auto index = static_cast<std::size_t>(j);
            const double keep = keep_factor(c, sequence, head, i, j);
            p[index] = stored_as(store, std::exp(score[index] - maximum) / sum);
            const double dropped = stored_as(store, p[index] * keep);
            for (std::int64_t d = 0; d < dim; ++d) {
                const std::int64_t column = head * dim + d;
                const double dyd = dy.get(first_row + i, column);
                out.forward.y.set(first_row + i, column,
                                  out.forward.y.get(first_row + i, column) + dropped * at(qkv, j, 2, d));
                dp[index] += dyd * at(qkv, j, 2, d) * keep;
                add(j, 2, d, dropped * dyd);
            }
            dp[index] = stored_as(store, dp[index]);
            delta += p[index] * dp[index];
        }
        for (std::int64_t j = 0; j < n; ++j) {
            const auto index = static_cast<std::size_t>(j);
            const double ds = stored_as(store, p[index] * (dp[index] - delta));
            for (std::int64_t d = 0; d < dim; ++d) {
                add(i, 0, d, ds * at(qkv, j, 1, d) * scale);
                add(j, 1, d, ds * at(qkv, i, 0, d) * scale);
            }
        }
    }
}

/// Sums in double; what is stored is rounded to `store`.
Plain plain_attention(const Case& c, const Array& qkv, const Array& dy, DType store = DType::f64) {
    Plain out{{Array(DType::f64, c.tokens(), c.hidden()), Array(DType::f64, c.heads, c.tokens())},
              Array(DType::f64, c.tokens(), 3 * c.hidden())};
    out.forward.y.fill(0);
    out.forward.log_sum_exp.fill(-std::numeric_limits<double>::infinity());
    out.dqkv.fill(0);
    std::int64_t row = c.before;
    for (std::int64_t s = 0; s < c.sequences(); ++s) {
        for (std::int64_t head = 0; head < c.heads; ++head) plain_head(out, c, qkv, dy, store, s, row, head);
        row += c.lengths[static_cast<std::size_t>(s)];
    }
    out.forward.y = out.forward.y.as(store);
    out.dqkv = out.dqkv.as(store);
    return out;
}

/// Contents on used rows; unused ones hold garbage that must not matter.
Array random_rows(const Case& c, DType dtype, std::int64_t cols, std::uint64_t seed, double size) {
    return random_array(dtype, c.tokens(), cols, seed, -size, size);
}

void compare_with_plain(const Case& c, DType dtype, double tolerance) {
    const Array qkv = random_rows(c, dtype, 3 * c.hidden(), 1, 2), dy = random_rows(c, dtype, c.hidden(), 2, 1);
    const Plain plain = plain_attention(c, qkv, dy);
    const Forward forward = run_forward(c, qkv);
    INFO("visible " << static_cast<int>(c.visible) << " dropout " << c.dropout << " head_dim " << c.head_dim);
    CHECK(worst_difference(forward.y, plain.forward.y) <= tolerance);
    CHECK(worst_difference(forward.log_sum_exp, plain.forward.log_sum_exp) <= 4 * tolerance);
    CHECK(worst_difference(run_backward(c, qkv, dy, forward), plain.dqkv) <= 8 * tolerance);
}

void compare_bf16_with_plain(const Case& c) {
    const Array qkv = random_rows(c, DType::bf16, 3 * c.hidden(), 1, 2),
                dy = random_rows(c, DType::bf16, c.hidden(), 2, 1);
    const Plain exact = plain_attention(c, qkv, dy), rounded = plain_attention(c, qkv, dy, DType::bf16);
    const Forward forward = run_forward(c, qkv);
    const Array dqkv = run_backward(c, qkv, dy, forward);
    INFO("visible " << static_cast<int>(c.visible) << " dropout " << c.dropout);
    check_bf16("y", {forward.y, exact.forward.y, rounded.forward.y});
    CHECK(worst_difference(forward.log_sum_exp, exact.forward.log_sum_exp) <= 1.6e-5);  // f32, from the same inputs
    check_bf16("dqkv", {dqkv, exact.dqkv, rounded.dqkv});
}

const std::vector<std::int32_t> kRagged = {1, 2, 15, 0, 16, 17, 63, 64, 65, 130, 0, 0};

}  // namespace

TEST_CASE("attention in double equals the plain formulas at ragged lengths, for every visibility") {
    for (const Visible visible : kEveryVisible) {
        for (const double dropout : {0.0, 0.1}) {
            compare_with_plain({kRagged, 2, 8, visible, dropout, 2}, DType::f64, 1e-13);
        }
    }
}

TEST_CASE("attention takes any head size") {
    for (const std::int64_t head_dim : {1, 3, 7, 9, 16, 17, 32, 64, 65}) {
        compare_with_plain({{5, 33}, 3, head_dim, Visible::all, 0.2}, DType::f64, 1e-13);
        compare_with_plain({{5, 33}, 3, head_dim, Visible::past, 0}, DType::f32, 2e-6);
    }
}

TEST_CASE("attention in f32 equals the plain formulas up to rounding, in bf16 up to what rounded stores cost them") {
    for (const Visible visible : kEveryVisible) {
        for (const double dropout : {0.0, 0.1}) {
            compare_with_plain({kRagged, 2, 32, visible, dropout}, DType::f32, 4e-6);
            compare_bf16_with_plain({{17, 64, 40}, 2, 16, visible, dropout});
        }
    }
}

TEST_CASE("attention backward equals finite differences") {
    for (const Visible visible : kEveryVisible) {
        for (const double dropout : {0.0, 0.3}) {
            const Case c{{1, 2, 0, 18}, 2, 3, visible, dropout, 1, 1};
            Array qkv = random_rows(c, DType::f64, 3 * c.hidden(), 1, 1.5);
            const Array dy = random_rows(c, DType::f64, c.hidden(), 2, 1);
            const Array dqkv = run_backward(c, qkv, dy, run_forward(c, qkv));
            // On one thread: thousands of runs too small to share.
            with_threads(1, [&] { check_gradient("qkv", qkv, dqkv, [&] { return dot(run_forward(c, qkv).y, dy); }); });
        }
    }
}

TEST_CASE("attention ignores what unused rows hold and writes zero there") {
    const Case c{{4, 7}, 2, 8, Visible::all, 0.1, 2, 5};
    const Array clean = random_rows(c, DType::f32, 3 * c.hidden(), 1, 1),
                dy = random_rows(c, DType::f32, c.hidden(), 2, 1);
    Array dirty = clean, dirty_dy = dy;
    for (const std::int64_t row : {std::int64_t{0}, std::int64_t{1}, c.tokens() - 5, c.tokens() - 1}) {
        for (std::int64_t i = 0; i < 3 * c.hidden(); ++i) dirty.set(row, i, std::nan(""));
        for (std::int64_t i = 0; i < c.hidden(); ++i) dirty_dy.set(row, i, std::nan(""));
    }
    const Forward expected = run_forward(c, clean), forward = run_forward(c, dirty);
    CHECK(forward.y.same_bits(expected.y));
    CHECK(forward.log_sum_exp.same_bits(expected.log_sum_exp));
    const Array dqkv = run_backward(c, dirty, dirty_dy, forward);
    CHECK(dqkv.same_bits(run_backward(c, clean, dy, expected)));
    for (const std::int64_t row : {std::int64_t{0}, std::int64_t{1}, c.tokens() - 5, c.tokens() - 1}) {
        CHECK(forward.y.get(row, 3) == 0);
        CHECK(std::isinf(forward.log_sum_exp.get(1, row)));
        CHECK(dqkv.get(row, 2 * c.hidden() + 5) == 0);
    }
}

TEST_CASE("a query that sees nothing has y = 0, log_sum_exp = -infinity and no gradient") {
    const Case c{{5}, 1, 4, Visible::strict_past, 0, 0, 0};
    const Array qkv = random_rows(c, DType::f32, 12, 1, 1), dy = random_rows(c, DType::f32, 4, 2, 1);
    const Forward forward = run_forward(c, qkv);
    const Array dqkv = run_backward(c, qkv, dy, forward);
    CHECK(forward.log_sum_exp[0] == -std::numeric_limits<double>::infinity());
    for (int d = 0; d < 4; ++d) {
        CHECK(forward.y.get(0, d) == 0);
        CHECK(dqkv.get(0, d) == 0);
        // The last key is seen by nobody.
        CHECK(dqkv.get(4, 4 + d) == 0);
        CHECK(dqkv.get(4, 8 + d) == 0);
    }
}

TEST_CASE("attention of no tokens or no sequences does nothing") {
    const Case none{{}, 2, 4, Visible::all, 0.1, 0, 0}, empty{{0, 0}, 2, 4, Visible::all, 0.1, 0, 2};
    for (const Case& c : {none, empty}) {
        const Array qkv = random_rows(c, DType::f32, 3 * c.hidden(), 1, 1),
                    dy = random_rows(c, DType::f32, c.hidden(), 2, 1);
        const Forward forward = run_forward(c, qkv);
        run_backward(c, qkv, dy, forward);
        for (std::int64_t i = 0; i < forward.y.count(); ++i) CHECK(forward.y[i] == 0);
    }
}

TEST_CASE("attention survives scores far outside the range of exp") {
    const Case c{{33}, 1, 8, Visible::all, 0, 0, 0};
    const Array qkv = random_rows(c, DType::f32, 24, 1, 300), dy = random_rows(c, DType::f32, 8, 2, 1);
    const Forward forward = run_forward(c, qkv);
    const Array dqkv = run_backward(c, qkv, dy, forward);
    for (std::int64_t i = 0; i < forward.y.count(); ++i) REQUIRE(std::abs(forward.y[i]) <= 300);
    for (std::int64_t i = 0; i < dqkv.count(); ++i) REQUIRE(std::isfinite(dqkv[i]));
}

TEST_CASE("attention dropout drops exactly the probabilities that the mapping names, at its keep rate") {
    // With q = 0 all keys are equally likely; with v = identity, y[i, j] shows probability (i, j).
    const Case c{{130}, 2, 130, Visible::all, 0.1, 0, 0};
    Array qkv = random_rows(c, DType::f32, 3 * c.hidden(), 1, 0);
    for (std::int64_t head = 0; head < 2; ++head) {
        for (std::int64_t j = 0; j < 130; ++j) qkv.set(j, 2 * c.hidden() + head * 130 + j, 1);
    }
    const Forward forward = run_forward(c, qkv);
    std::int64_t kept = 0;
    bool all_equal = true;
    for (std::int64_t head = 0; head < 2; ++head) {
        for (std::int64_t i = 0; i < 130; ++i) {
            for (std::int64_t j = 0; j < 130; ++j) {
                const double value = forward.y.get(i, head * 130 + j), factor = keep_factor(c, 0, head, i, j);
                all_equal = all_equal && std::abs(value * 130 - factor) < 1e-5;
                kept += value != 0;
            }
        }
    }
    CHECK(all_equal);
    const double total = 2 * 130 * 130, rate = 1 - 26.0 / 256;
    CHECK(std::abs(static_cast<double>(kept) - rate * total) < 4 * std::sqrt(total * rate * (1 - rate)));
}

TEST_CASE("attention gives the same bits at any number of threads and twice") {
    for (const DType dtype : {DType::f64, DType::f32, DType::bf16}) {
        const Case c{{40, 3, 130, 65, 0}, 3, 20, Visible::future, 0.1};
        const Array qkv = random_rows(c, dtype, 3 * c.hidden(), 1, 1), dy = random_rows(c, dtype, c.hidden(), 2, 1);
        check_repeatable([&] {
            Forward forward = run_forward(c, qkv);
            Array dqkv = run_backward(c, qkv, dy, forward);
            return std::vector<Array>{std::move(forward.y), std::move(forward.log_sum_exp), std::move(dqkv)};
        });
    }
}

TEST_CASE("a sequence's attention does not depend on where it is packed") {
    const Case alone{{37}, 2, 16, Visible::all, 0, 0, 0}, packed{{20, 37}, 2, 16, Visible::all, 0, 0, 0};
    const Array qkv = random_rows(alone, DType::f32, 96, 1, 1);
    Array both = random_rows(packed, DType::f32, 96, 9, 1);
    for (std::int64_t i = 0; i < qkv.count(); ++i) both.set(20 * 96 + i, qkv[i]);
    const Forward expected = run_forward(alone, qkv), forward = run_forward(packed, both);
    for (std::int64_t i = 0; i < expected.y.count(); ++i) REQUIRE(forward.y[20 * 32 + i] == expected.y[i]);
}

TEST_CASE("attention names what is wrong with its arguments") {
    const Case c{{4, 3}, 2, 8, Visible::all, 0.1, 0, 0};
    const Array qkv = random_rows(c, DType::f32, 48, 1, 1), y(DType::f32, 7, 16), log_sum_exp(DType::f32, 2, 7);
    const Array offset = c.offset(), samples = c.samples();
    const AttentionForward good{.y = y.tensor(),
                                .log_sum_exp = log_sum_exp.tensor(),
                                .qkv = qkv.tensor(),
                                .offset = offset.tensor(),
                                .heads = 2,
                                .visible = Visible::all,
                                .dropout = dropout_of(c, samples)};
    const auto message = [](AttentionForward a, const std::function<void(AttentionForward&)>& spoil) {
        spoil(a);
        return error_of([&] { attention_forward(a, {}); });
    };
    CHECK(message(good, [](auto&) {}).empty());
    CHECK(message(good, [](auto& a) { a.heads = 3; }) ==
          "usage: attention_forward: 3 heads do not divide the 16 columns of y");
    CHECK(message(good, [](auto& a) { a.heads = 0; }) ==
          "usage: attention_forward: 0 heads, but 1 to 1024 are possible");
    CHECK(message(good, [](auto& a) { a.qkv = a.qkv.column_range(0, 32); }) ==
          "usage: attention_forward: qkv must be f32 [7, 48] without gaps between rows, but it is f32 [7, 32] with row "
          "stride 48");
    CHECK(message(good, [](auto& a) { a.log_sum_exp = {}; }) ==
          "usage: attention_forward: log_sum_exp must be f32 [2, 7] without gaps between rows, but it is absent");
    CHECK(message(good, [](auto& a) { a.offset = {}; }) ==
          "usage: attention_forward: offset must be i32 [1, sequences + 1], but it is absent");
    CHECK(message(good, [](auto& a) { a.dropout.probability = 1; }) ==
          "usage: attention_forward: dropout probability 1 is outside [0, 1)");
    CHECK(message(good, [](auto& a) { a.dropout.probability = 0.9981; }) ==
          "usage: attention_forward: dropout probability 0.9981 rounds to 1 in steps of 1/256");
    CHECK(message(good, [](auto& a) { a.dropout.state = nullptr; }) ==
          "usage: attention_forward: dropout needs the address of a StepState");
    CHECK(message(good, [](auto& a) { a.dropout.layer = 4096; }) ==
          "usage: attention_forward: dropout layer 4096 is outside [0, 4096)");
    CHECK(message(good, [](auto& a) { a.dropout.sequence_sample.cols = 1; }) ==
          "usage: attention_forward: dropout.sequence_sample must be u64 [1, 2] without gaps between rows, but it is "
          "u64 [1, 1]");
    CHECK(message(good, [&](auto& a) { a.y = a.qkv.reshaped(21, 16).row_range(0, 7); }) ==
          "usage: attention_forward: y shares memory with qkv; give it a buffer of its own");
    CHECK(message(good, [](auto& a) { a.y = on_device(a.y); }).rfind("usage: attention_forward: y is f32", 0) == 0);
    CHECK(message(good, [](auto& a) {
              a.dropout.sequence_sample = on_device(a.dropout.sequence_sample);
          }).find("dropout.sequence_sample is u64 [1, 2] on the device") != std::string::npos);
    CHECK(message(good, [](auto& a) { a.log_sum_exp = a.qkv.reshaped(24, 14).row_range(0, 1).reshaped(2, 7); }) ==
          "usage: attention_forward: log_sum_exp shares memory with qkv; give it a buffer of its own");
}

TEST_CASE("attention backward names what is wrong with its arguments") {
    const Case c{{4, 3}, 2, 8, Visible::all, 0.1, 0, 0};
    const Array qkv = random_rows(c, DType::f32, 48, 1, 1), dy = random_rows(c, DType::f32, 16, 2, 1);
    const Forward forward = run_forward(c, qkv);
    const Array offset = c.offset(), samples = c.samples(), dqkv(DType::f32, 7, 48), scratch(DType::f32, 126);
    const AttentionBackward good{.dqkv = dqkv.tensor(),
                                 .scratch = scratch.tensor(),
                                 .dy = dy.tensor(),
                                 .y = forward.y.tensor(),
                                 .log_sum_exp = forward.log_sum_exp.tensor(),
                                 .qkv = qkv.tensor(),
                                 .offset = offset.tensor(),
                                 .heads = 2,
                                 .visible = Visible::all,
                                 .dropout = dropout_of(c, samples)};
    const auto message = [&](const std::function<void(AttentionBackward&)>& spoil) {
        AttentionBackward a = good;
        spoil(a);
        return error_of([&] { attention_backward(a, {}); });
    };
    CHECK(message([](auto&) {}).empty());
    CHECK(message([](auto& a) { a.scratch = a.scratch.column_range(0, 125); }) ==
          "usage: attention_backward: scratch must be f32 [1, 126] without gaps between rows, but it is f32 [1, 125]");
    const auto part_of = [](const Tensor& x) { return Tensor{x.address, 1, 126, 126, DType::f32, Place::host}; };
    for (const Named& input : std::initializer_list<Named>{
             {"dy", good.dy}, {"y", good.y}, {"log_sum_exp", good.log_sum_exp}, {"qkv", good.qkv}}) {
        CHECK(message([&](auto& a) { a.scratch = part_of(input.tensor); }) ==
              text("usage: attention_backward: scratch shares memory with ", input.name,
                   "; give it a buffer of its own"));
    }
    CHECK(message([&](auto& a) { a.scratch = part_of(a.dqkv); }) ==
          "usage: attention_backward: dqkv shares memory with scratch; give it a buffer of its own");
    CHECK(message([&](auto& a) { a.log_sum_exp = part_of(a.dqkv).column_range(0, 14).reshaped(2, 7); }) ==
          "usage: attention_backward: dqkv shares memory with log_sum_exp; give it a buffer of its own");
    CHECK(message([](auto& a) { a.scratch = on_device(a.scratch); }).find("scratch is f32 [1, 126] on the device") !=
          std::string::npos);
    CHECK(message([](auto& a) {
              a.log_sum_exp = on_device(a.log_sum_exp);
          }).find("log_sum_exp is f32 [2, 7] on the device") != std::string::npos);
}

TEST_CASE("attention costs follow the visible pairs") {
    CHECK(attention_forward_cost(10, 100, 2, 8, DType::f32).flops == 4 * 100 * 16);
    CHECK(attention_backward_cost(10, 100, 2, 8, DType::bf16).flops == 10 * 100 * 16);
    CHECK(attention_forward_cost(10, 100, 2, 8, DType::bf16).bytes == 2 * 10 * 64 + 4 * 20);
}
