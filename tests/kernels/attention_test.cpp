// Attention: the blocked definition against plain loops over the header's formulas, against finite differences, its
// dropout against the mapping, and everything around it (ragged lengths, visibility, unused rows, threads, messages).
#include "kernels/attention.h"

#include "kernels/core/contract.h"
#include "tests/kernels/plain_attention.h"

using namespace cloze;
using namespace cloze::test;

namespace {

using Case = AttentionCase;

AttentionDropout dropout_of(const Case& c, const Array& samples) {
    if (c.dropout == 0) return {};
    return {.probability = c.dropout,
            .layer = kAttentionLayer,
            .state = &kAttentionState,
            .sequence_sample = samples.tensor()};
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

/// Contents on used rows; unused ones hold garbage that must not matter.
Array random_rows(const Case& c, DType dtype, std::int64_t cols, std::uint64_t seed, double size) {
    return random_array(dtype, c.tokens(), cols, seed, -size, size);
}

void compare_with_plain(const Case& c, DType dtype, double tolerance) {
    const Array qkv = random_rows(c, dtype, 3 * c.hidden(), 1, 2), dy = random_rows(c, dtype, c.hidden(), 2, 1);
    const PlainAttention plain = plain_attention(c, qkv, dy);
    const Forward forward = run_forward(c, qkv);
    INFO("visible " << static_cast<int>(c.visible) << " dropout " << c.dropout << " head_dim " << c.head_dim);
    CHECK(worst_difference(forward.y, plain.y) <= tolerance);
    CHECK(worst_difference(forward.log_sum_exp, plain.log_sum_exp) <= 4 * tolerance);
    CHECK(worst_difference(run_backward(c, qkv, dy, forward), plain.dqkv) <= 8 * tolerance);
}

void compare_bf16_with_plain(const Case& c) {
    const Array qkv = random_rows(c, DType::bf16, 3 * c.hidden(), 1, 2),
                dy = random_rows(c, DType::bf16, c.hidden(), 2, 1);
    const PlainAttention exact = plain_attention(c, qkv, dy),
                         rounded = plain_attention(c, qkv, dy, {DType::bf16, DType::bf16});
    const Forward forward = run_forward(c, qkv);
    const Array dqkv = run_backward(c, qkv, dy, forward);
    INFO("visible " << static_cast<int>(c.visible) << " dropout " << c.dropout);
    check_bf16("y", {forward.y, exact.y, rounded.y});
    CHECK(worst_difference(forward.log_sum_exp, exact.log_sum_exp) <= 1.6e-5);  // f32, from the same inputs
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
