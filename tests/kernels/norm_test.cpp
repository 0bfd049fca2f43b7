// The gradient's norm, clipping factor and finite check.
#include "kernels/norm.h"

#include "tests/kernels/op_testing.h"

using namespace cloze;
using namespace cloze::test;

namespace {

// Gaps of garbage lie between the segments; sizes around the chunk.
const std::vector<Segment> kSegments = {{3, 1, 0}, {10, 16384, 1}, {16500, 16385, 1}, {33000, 0, 1}, {33000, 40001, 0}};
constexpr std::int64_t kElements = 73100;

Array gradient_of(DType dtype) {
    const Array values = random_array(dtype, 1, kElements, 1);
    Array gradient(dtype, kElements);  // NaN where no segment lies
    for (const Segment& segment : kSegments) {
        for (std::int64_t i = segment.offset; i < segment.offset + segment.count; ++i) gradient.set(i, values[i]);
    }
    return gradient;
}

struct Result {
    StepState state;
    Array square;
};

Result run(const Array& gradient, double max_norm, const std::vector<Segment>& segments = kSegments) {
    const auto count = static_cast<std::int64_t>(segments.size());
    Result out{{}, Array(DType::f64, count)};
    const Array scratch(DType::f64, gradient_norm_scratch(gradient.count(), count));
    gradient_norm({.state = &out.state,
                   .segment_square = out.square.tensor(),
                   .scratch = scratch.tensor(),
                   .gradient = gradient.tensor(),
                   .segments = segments.data(),
                   .segment_count = count,
                   .max_norm = max_norm},
                  {});
    REQUIRE(out.square.guards_hold());
    REQUIRE(scratch.guards_hold());
    return out;
}

}  // namespace

TEST_CASE("gradient_norm equals the plain sum of squares, segment by segment") {
    for (const DType dtype : {DType::f64, DType::f32, DType::bf16}) {
        const Array gradient = gradient_of(dtype);
        const Result result = run(gradient, 0);
        double total = 0;
        for (std::size_t s = 0; s < kSegments.size(); ++s) {
            double sum = 0;
            for (std::int64_t i = 0; i < kSegments[s].count; ++i)
                sum += gradient[kSegments[s].offset + i] * gradient[kSegments[s].offset + i];
            CHECK(std::abs(result.square[static_cast<std::int64_t>(s)] - sum) <= 1e-12 * sum);
            total += sum;
        }
        CHECK(std::abs(result.state.gradient_norm - std::sqrt(total)) <= 1e-12 * std::sqrt(total));
        CHECK(result.state.gradient_scale == 1);
        CHECK(result.state.skip == 0);
    }
}

TEST_CASE("a gradient above the limit is scaled to it, one below is left alone") {
    const Array gradient = gradient_of(DType::f32);
    const double norm = run(gradient, 0).state.gradient_norm;
    CHECK(run(gradient, 2 * norm).state.gradient_scale == 1);
    CHECK(run(gradient, norm).state.gradient_scale == 1);
    CHECK(run(gradient, norm / 4).state.gradient_scale == Approx(0.25));
}

TEST_CASE("squares beyond the range of f32 are still finite") {
    Array gradient(DType::f32, 4);
    gradient.fill(1e30);
    const Result result = run(gradient, 1, {{0, 4, 1}});
    CHECK(result.state.skip == 0);
    CHECK(result.state.gradient_norm == Approx(2e30));
}

TEST_CASE("a gradient that is not finite skips the step and shows in its segment") {
    for (const double bad : {static_cast<double>(INFINITY), std::nan("")}) {
        Array gradient = gradient_of(DType::f32);
        gradient.set(16500 + 16384, bad);
        const Result result = run(gradient, 1);
        CHECK(result.state.skip == 1);
        CHECK(result.state.gradient_scale == 1);
        CHECK_FALSE(std::isfinite(result.state.gradient_norm));
        CHECK(std::isfinite(result.square[1]));
        CHECK_FALSE(std::isfinite(result.square[2]));
        CHECK(std::isfinite(result.square[4]));
    }
}

TEST_CASE("gradient_norm of no segments is zero") {
    const Array gradient(DType::f32, 5);
    const Result result = run(gradient, 1, {});
    CHECK(result.state.gradient_norm == 0);
    CHECK(result.state.gradient_scale == 1);
}

TEST_CASE("gradient_norm gives the same bits at any number of threads and twice") {
    const Array gradient = gradient_of(DType::f32);
    check_repeatable([&] {
        const Result result = run(gradient, 1);
        Array state(DType::f64, 2);
        state.set(0, result.state.gradient_norm);
        state.set(1, result.state.gradient_scale);
        return std::vector<Array>{result.square, state};
    });
}

TEST_CASE("a segment of many chunks is summed whole") {
    // Longer than 1024 chunks of 16384 elements.
    constexpr std::int64_t kCount = 16384 * 1024 + 5;
    std::vector<bf16> gradient(static_cast<std::size_t>(kCount), bf16(0.5f));
    const Segment segment{0, kCount, 1};
    StepState state;
    const Array square(DType::f64, 1), scratch(DType::f64, gradient_norm_scratch(kCount, 1));
    gradient_norm({.state = &state,
                   .segment_square = square.tensor(),
                   .scratch = scratch.tensor(),
                   .gradient = Tensor::host(gradient.data(), kCount),
                   .segments = &segment,
                   .segment_count = 1,
                   .max_norm = 0},
                  {});
    CHECK(square[0] == 0.25 * static_cast<double>(kCount));
}

TEST_CASE("gradient_norm names what is wrong with its arguments") {
    const Array gradient = gradient_of(DType::f32), square(DType::f64, 1),
                scratch(DType::f64, gradient_norm_scratch(kElements, 1));
    StepState state;
    const Segment outside{kElements - 1, 2, 1};
    GradientNorm a{.state = &state,
                   .segment_square = square.tensor(),
                   .scratch = scratch.tensor(),
                   .gradient = gradient.tensor(),
                   .segments = &outside,
                   .segment_count = 1,
                   .max_norm = 1};
    CHECK(error_of([&] { gradient_norm(a, {}); }) ==
          "usage: gradient_norm: segment 0 is 2 elements from 73099 on, of 73100");
    const Segment endless{kElements, std::numeric_limits<std::int64_t>::max(), 1};
    a.segments = &endless;
    CHECK(error_of([&] { gradient_norm(a, {}); }) ==
          "usage: gradient_norm: segment 0 is 9223372036854775807 elements from 73100 on, of 73100");
    a.scratch.cols = 9;
    CHECK(error_of([&] { gradient_norm(a, {}); }) ==
          "usage: gradient_norm: scratch must be f64 [1, 11] without gaps between rows, but it is f64 [1, 9]");
    a.max_norm = -1;
    CHECK(error_of([&] { gradient_norm(a, {}); }) == "usage: gradient_norm: max_norm is -1; use 0 for no clipping");
    a.state = nullptr;
    CHECK(error_of([&] { gradient_norm(a, {}); }) == "usage: gradient_norm: needs the address of a StepState");
}

TEST_CASE("a table of segments must ascend, and they must lie apart") {
    const auto message = [](const std::vector<Segment>& segments) {
        return error_of(
            [&] { require_segments("op", segments.data(), static_cast<std::int64_t>(segments.size()), 10); });
    };
    CHECK(message({}) == "");
    CHECK(message({{0, 0, 1}, {0, 4, 1}, {4, 0, 0}, {4, 5, 0}, {10, 0, 1}}) == "");
    CHECK(message({{0, 4, 1}, {3, 2, 0}}) ==
          "usage: op: segment 1 starts at 3, before the end 4 of the one before; segments ascend and lie apart");
    CHECK(message({{5, 2, 1}, {0, 2, 0}}).rfind("usage: op: segment 1 starts at 0", 0) == 0);
    CHECK(message({{-1, 2, 1}}) == "usage: op: segment 0 is 2 elements from -1 on, of 10");
    CHECK(message({{9, 2, 1}}) == "usage: op: segment 0 is 2 elements from 9 on, of 10");
}

TEST_CASE("every meeting of a chunk and a segment has a place of its own") {
    CHECK(segment_slots(0, 0) == 0);
    CHECK(segment_slots(kSegmentChunk, 3) == 1 + 3);
    CHECK(segment_slots(kSegmentChunk + 1, 0) == 2);
    CHECK(gradient_norm_scratch(kSegmentChunk + 1, 3) == (2 + 3) + 2);
}
