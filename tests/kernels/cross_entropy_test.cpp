// Cross entropy: loss, accuracy and gradient against plain formulas and finite differences; unused rows and padding.
#include "kernels/cross_entropy.h"

#include "tests/kernels/op_testing.h"

using namespace cloze;
using namespace cloze::test;

namespace {

struct Case {
    std::int64_t capacity, classes, width;
    std::int32_t used;
    double scale = 1;
    bool gradient = true;
};

struct Result {
    Array loss, correct, logits;
};

Result run(const Case& c, const Array& logits, const Array& label) {
    Result out{Array(statistics_dtype(logits.dtype()), c.capacity), Array(DType::i32, c.capacity), logits};
    cross_entropy({.loss = out.loss.tensor(),
                   .correct = out.correct.tensor(),
                   .logits = out.logits.tensor(),
                   .label = label.tensor(),
                   .used = &c.used,
                   .scale = c.gradient ? &c.scale : nullptr,
                   .classes = c.classes,
                   .gradient = c.gradient},
                  {});
    REQUIRE(out.loss.guards_hold());
    REQUIRE(out.correct.guards_hold());
    REQUIRE(out.logits.guards_hold());
    return out;
}

/// Unused rows and padding columns hold NaN, which must not matter.
Array random_logits(const Case& c, DType dtype, double size = 4) {
    Array logits = random_array(dtype, c.capacity, c.width, 1, -size, size);
    for (std::int64_t r = 0; r < c.capacity; ++r) {
        for (std::int64_t col = 0; col < c.width; ++col)
            if (r >= c.used || col >= c.classes) logits.set(r, col, std::nan(""));
    }
    return logits;
}

Array random_labels(const Case& c) {
    return random_ids(c.capacity, static_cast<std::int32_t>(c.classes), 2);
}

/// The formulas of the header in double.
Result plain(const Case& c, const Array& logits, const Array& label) {
    Result out{Array(DType::f64, c.capacity), Array(DType::i32, c.capacity), logits.as(DType::f64)};
    for (std::int64_t r = 0; r < c.capacity; ++r) {
        out.loss.set(r, 0);
        out.correct.set(r, 0);
        if (c.gradient)
            for (std::int64_t col = 0; col < c.width; ++col) out.logits.set(r, col, 0);
        if (r >= c.used) continue;
        const auto chosen = static_cast<std::int64_t>(label[r]);
        double maximum = -INFINITY, sum = 0;
        std::int64_t best = 0;
        for (std::int64_t col = 0; col < c.classes; ++col) {
            if (logits.get(r, col) > maximum) best = col;
            maximum = std::max(maximum, logits.get(r, col));
        }
        for (std::int64_t col = 0; col < c.classes; ++col) sum += std::exp(logits.get(r, col) - maximum);
        out.loss.set(r, maximum + std::log(sum) - logits.get(r, chosen));
        out.correct.set(r, best == chosen ? 1 : 0);
        for (std::int64_t col = 0; c.gradient && col < c.classes; ++col) {
            const double p = std::exp(logits.get(r, col) - maximum) / sum;
            out.logits.set(r, col, (p - (col == chosen ? 1 : 0)) * c.scale);
        }
    }
    return out;
}

const Case kCases[] = {
    {1, 1, 1, 1},   {3, 2, 2, 3, 0.25}, {5, 2, 2, 0},         {0, 3, 3, 0},
    {7, 31, 31, 4}, {7, 32, 33, 7},     {9, 97, 128, 6, 0.1}, {4, 30522, 30528, 3, 0.01},
};

}  // namespace

TEST_CASE("cross_entropy equals the plain formulas in every type") {
    for (const Case& c : kCases) {
        for (const DType dtype : {DType::f64, DType::f32, DType::bf16}) {
            const Array logits = random_logits(c, dtype), label = random_labels(c);
            const Result expected = plain(c, logits, label), result = run(c, logits, label);
            INFO("classes " << c.classes << " " << name_of(dtype));
            CHECK(distance(result.loss, expected.loss) <= (dtype == DType::f64 ? 1e-13 : 2e-6));
            CHECK(distance(result.logits, expected.logits) <= (dtype == DType::f64 ? 1e-14 : 4 * rounding_of(dtype)));
            CHECK(distance(result.correct, expected.correct) == 0);
        }
    }
}

TEST_CASE("cross_entropy gradient equals finite differences") {
    const Case c{4, 5, 6, 3, 0.5}, forward{4, 5, 6, 3, 0.5, false};
    Array logits = random_array(DType::f64, c.capacity, c.width, 1, -2, 2);
    const Array label = random_labels(c), gradient = run(c, logits, label).logits;
    const auto loss = [&] {
        const Result result = run(forward, logits, label);
        double sum = 0;
        for (std::int64_t r = 0; r < c.capacity; ++r) sum += result.loss[r];
        return 0.5 * sum;
    };
    // On one thread: many runs too small to share.
    with_threads(1, [&] { check_gradient("logits", logits, gradient, loss); });
}

TEST_CASE("cross_entropy without gradient leaves the logits and gives the same loss") {
    for (const DType dtype : {DType::f64, DType::f32, DType::bf16}) {
        const Case with{9, 97, 128, 6, 0.1}, without{9, 97, 128, 6, 0.1, false};
        const Array logits = random_logits(with, dtype), label = random_labels(with);
        const Result result = run(without, logits, label);
        CHECK(result.logits.same_bits(logits));
        const Result trained = run(with, logits, label);
        CHECK(result.loss.same_bits(trained.loss));
        CHECK(result.correct.same_bits(trained.correct));
    }
}

TEST_CASE("a row is correct when its label is the first of the largest logits") {
    const Case c{4, 40, 40, 4};
    Array logits(DType::f32, 4, 40), label(DType::i32, 4);
    logits.fill(-1);
    for (std::int64_t r = 0; r < 4; ++r) {
        logits.set(r, 7, 3);
        logits.set(r, 35, 3);
    }
    const double labels[] = {7, 35, 8, 0};
    for (std::int64_t r = 0; r < 4; ++r) label.set(r, labels[r]);
    const Result result = run(c, logits, label);
    CHECK(result.correct[0] == 1);
    CHECK(result.correct[1] == 0);
    CHECK(result.correct[2] == 0);
    CHECK(result.correct[3] == 0);
}

TEST_CASE("cross_entropy survives logits far outside the range of exp and shows NaN") {
    const Case c{2, 50, 50, 2};
    Array logits = random_array(DType::f32, 2, 50, 1, -1e4, 1e4), label = random_labels(c);
    const Result result = run(c, logits, label);
    CHECK(std::isfinite(result.loss[0]));
    for (std::int64_t i = 0; i < 100; ++i) REQUIRE(std::abs(result.logits[i]) <= 1);
    logits.set(0, 3, std::nan(""));
    const Result broken = run(c, logits, label);
    CHECK(std::isnan(broken.loss[0]));
    CHECK(std::isnan(broken.logits[4]));
    CHECK(std::isfinite(broken.loss[1]));
}

TEST_CASE("a row's gradient sums to zero") {
    const Case c{3, 30522, 30528, 3};
    const Result result = run(c, random_logits(c, DType::f32), random_labels(c));
    for (std::int64_t r = 0; r < 3; ++r) {
        double sum = 0;
        for (std::int64_t col = 0; col < c.width; ++col) sum += result.logits.get(r, col);
        CHECK(std::abs(sum) < 2e-6);
    }
}

TEST_CASE("cross_entropy gives the same bits at any number of threads and twice") {
    for (const DType dtype : {DType::f64, DType::f32, DType::bf16}) {
        const Case c{37, 1000, 1024, 30, 0.03};
        const Array logits = random_logits(c, dtype), label = random_labels(c);
        check_repeatable([&] {
            Result result = run(c, logits, label);
            return std::vector<Array>{result.loss, result.correct, result.logits};
        });
    }
}

TEST_CASE("cross_entropy names what is wrong with its arguments") {
    const Array logits = random_array(DType::f32, 3, 8, 1), label = random_ids(3, 8, 2), loss(DType::f32, 3),
                correct(DType::i32, 3);
    const std::int32_t used = 3, too_many = 4;
    const double scale = 1;
    const CrossEntropy good{.loss = loss.tensor(),
                            .correct = correct.tensor(),
                            .logits = logits.tensor(),
                            .label = label.tensor(),
                            .used = &used,
                            .scale = &scale,
                            .classes = 8,
                            .gradient = true};
    const auto message = [&](const std::function<void(CrossEntropy&)>& spoil) {
        CrossEntropy a = good;
        spoil(a);
        return error_of([&] { cross_entropy(a, {}); });
    };
    CHECK(message([](auto&) {}).empty());
    CHECK(message([](auto& a) { a.classes = 9; }) == "usage: cross_entropy: 9 classes in logits of 8 columns");
    CHECK(message([](auto& a) { a.used = nullptr; }) ==
          "usage: cross_entropy: needs the address of the number of rows that count");
    CHECK(message([&](auto& a) { a.used = &too_many; }) == "usage: cross_entropy: 4 rows count, but there are 3");
    CHECK(message([](auto& a) { a.scale = nullptr; }) ==
          "usage: cross_entropy: the gradient needs the address of its scale");
    CHECK(message([](auto& a) { a.loss = {}; }) ==
          "usage: cross_entropy: loss must be f32 [1, 3] without gaps between rows, but it is absent");
    CHECK(message([](auto& a) { a.loss = a.logits.row_range(0, 1).column_range(0, 3); }) ==
          "usage: cross_entropy: logits shares memory with loss; give it a buffer of its own");
}

TEST_CASE("cross_entropy reads its logits once and writes them once") {
    CHECK(cross_entropy_cost(2, 10, DType::bf16, true).bytes == 2 * 10 * 4 + 2 * 12);
    CHECK(cross_entropy_cost(2, 10, DType::f32, false).bytes == 2 * 10 * 4 + 2 * 12);
}
