#include "kernels/norm.h"

#include "tests/kernels/device/segment_testing.h"

using namespace cloze;
using namespace cloze::test;

namespace {

/// Random in the segments, NaN between them.
Array gradient_of(DType dtype, const SegmentLayout& layout) {
    Array gradient(dtype, layout.elements);
    const Array values = random_array(dtype, 1, layout.elements, 1);
    for (const Segment& segment : layout.segments) {
        for (std::int64_t i = segment.offset; i < segment.offset + segment.count; ++i) gradient.set(i, values[i]);
    }
    return gradient;
}

struct Result {
    StepState state;
    Array square;

    /// Norm and clipping factor.
    Array numbers() const {
        Array array(DType::f64, 2);
        array.set(0, state.gradient_norm);
        array.set(1, state.gradient_scale);
        return array;
    }
    bool same_bits(const Result& other) const {
        return square.same_bits(other.square) && numbers().same_bits(other.numbers()) && state.skip == other.state.skip;
    }
};

Result run_on_host(const SegmentLayout& layout, const Array& gradient, double max_norm) {
    Result out{{}, Array(DType::f64, layout.count())};
    const Array scratch(DType::f64, gradient_norm_scratch(layout.elements, layout.count()));
    gradient_norm({.state = &out.state,
                   .segment_square = out.square.tensor(),
                   .scratch = scratch.tensor(),
                   .gradient = gradient.tensor(),
                   .segments = layout.segments.data(),
                   .segment_count = layout.count(),
                   .max_norm = max_norm},
                  {});
    return out;
}

Result run_on_device(const SegmentLayout& layout, const Array& host_gradient, double max_norm) {
    const DeviceArray gradient(host_gradient), square(DType::f64, layout.count()),
        scratch(DType::f64, gradient_norm_scratch(layout.elements, layout.count()));
    const DeviceVector<StepState> state(std::vector<StepState>{{.step = 7, .learning_rate = 0.5}});
    const DeviceVector<Segment> segments(layout.segments);
    gradient_norm({.state = state.data(),
                   .segment_square = square.tensor(),
                   .scratch = scratch.tensor(),
                   .gradient = gradient.tensor(),
                   .segments = segments.data(),
                   .segment_count = layout.count(),
                   .max_norm = max_norm},
                  {});
    scratch.fetch();
    const Result out{state.values()[0], square.fetch()};
    CHECK(out.state.step == 7);
    CHECK(out.state.learning_rate == 0.5);
    return out;
}

/// In f64 both sum exact squares, so that a device must agree to the last digits, not only to those of the gradient.
void check_near(const Result& got, const Result& plain, const Result& exact) {
    check_as_near("squares", got.square, plain.square, exact.square);
    check_as_near("norm and factor", got.numbers(), plain.numbers(), exact.numbers());
    CHECK(distance(got.square, exact.square) <= 1e-12);
    CHECK(distance(got.numbers(), exact.numbers()) <= 1e-12);
    CHECK(got.state.skip == exact.state.skip);
}

}  // namespace

TEST_CASE("gradient_norm on a device is as near to its definition as the plain loop, however segments lie") {
    if (!device_or_skip()) return;
    for (const DType dtype : {DType::f32, DType::bf16}) {
        for (const SegmentLayout& layout : segment_layouts()) {
            INFO(name_of(dtype) << ", " << layout.name);
            const Array gradient = gradient_of(dtype, layout);
            check_near(run_on_device(layout, gradient, 1), run_on_host(layout, gradient, 1),
                       run_on_host(layout, gradient.as(DType::f64), 1));
        }
    }
}

TEST_CASE("gradient_norm on a device has the same bits under every schedule") {
    if (!device_or_skip()) return;
    const SegmentLayout layout = lay_out("", {0, 1, 7, 64, 65, 5000, 16385}, 1, 3);
    const Array gradient = gradient_of(DType::f32, layout);
    const Result first = run_on_device(layout, gradient, 1);
    for_schedules(schedules(), [&] { CHECK(run_on_device(layout, gradient, 1).same_bits(first)); });
}

TEST_CASE("gradient_norm on a device keeps digits and range of huge and tiny gradients") {
    if (!device_or_skip()) return;
    const SegmentLayout layout = lay_out("", {9, 2000, 16}, 64);
    for (const double size : {3.4e38, 1e30, 1e19, 1e-18, 1e-30, 1.4e-45}) {
        INFO("gradients of " << size);
        const Array gradient = Array(DType::f32, layout.elements).fill(size);
        const Result got = run_on_device(layout, gradient, 1), plain = run_on_host(layout, gradient, 1);
        CHECK(got.state.skip == 0);
        CHECK(got.state.gradient_norm == Approx(plain.state.gradient_norm).epsilon(1e-12));
        CHECK(got.state.gradient_scale == Approx(plain.state.gradient_scale).epsilon(1e-12));
        for (std::int64_t i = 0; i < 3; ++i) CHECK(got.square[i] == Approx(plain.square[i]).epsilon(1e-12));
    }
}

TEST_CASE("gradient_norm on a device scales what is above the limit, and nothing without one") {
    if (!device_or_skip()) return;
    const SegmentLayout layout = lay_out("", {65, 1000}, 64);
    const Array gradient = gradient_of(DType::f32, layout);
    const double norm = run_on_device(layout, gradient, 0).state.gradient_norm;
    CHECK(run_on_device(layout, gradient, 0).state.gradient_scale == 1);
    CHECK(run_on_device(layout, gradient, norm).state.gradient_scale == 1);
    CHECK(run_on_device(layout, gradient, norm / 4).state.gradient_scale == 0.25);
}

TEST_CASE("gradient_norm on a device skips a step that is not finite, and its segment shows it") {
    if (!device_or_skip()) return;
    const SegmentLayout layout = lay_out("", {0, 1, 7, 4099, 65}, 1, 2);
    for (const double bad : {static_cast<double>(INFINITY), -static_cast<double>(INFINITY), std::nan("")}) {
        for (const std::int64_t named : {1, 2, 3, 4}) {
            INFO("segment " << named << " holds " << bad);
            const Segment& segment = layout.segments[static_cast<std::size_t>(named)];
            Array gradient = gradient_of(DType::f32, layout);
            gradient.set(segment.offset + segment.count - 1, bad);
            const Result got = run_on_device(layout, gradient, 1);
            CHECK(got.state.skip == 1);
            CHECK(got.state.gradient_scale == 1);
            CHECK_FALSE(std::isfinite(got.state.gradient_norm));
            for (std::int64_t i = 0; i < layout.count(); ++i) CHECK(std::isfinite(got.square[i]) == (i != named));
        }
    }
}

TEST_CASE("gradient_norm on a device of no elements is zero") {
    if (!device_or_skip()) return;
    for (const SegmentLayout& layout : {SegmentLayout{"", {}, 0}, SegmentLayout{"", {{0, 0, 1}}, 0}}) {
        const Result got = run_on_device(layout, Array(DType::f32, 0), 1);
        CHECK(got.state.gradient_norm == 0);
        CHECK(got.state.gradient_scale == 1);
        CHECK(got.state.skip == 0);
        for (std::int64_t i = 0; i < layout.count(); ++i) CHECK(got.square[i] == 0);
    }
}

TEST_CASE("gradient_norm on a device refuses what its kernels cannot move") {
    if (!device_or_skip()) return;
    const DeviceVector<StepState> state(std::vector<StepState>(1));
    const DeviceVector<Segment> segments(std::vector<Segment>{{0, 16, 1}});
    const auto message = [&](const DeviceArray& gradient, std::int64_t cols, std::int64_t skipped) {
        const DeviceArray square(DType::f64, 1), scratch(DType::f64, gradient_norm_scratch(cols, 1));
        Tensor view = gradient.tensor();
        view.address = static_cast<char*>(view.address) + skipped;
        view.cols = view.stride = cols;
        return error_of([&] {
            gradient_norm({.state = state.data(),
                           .segment_square = square.tensor(),
                           .scratch = scratch.tensor(),
                           .gradient = view,
                           .segments = segments.data(),
                           .segment_count = 1,
                           .max_norm = 1},
                          {});
        });
    };
    const DeviceArray single(Array(DType::f32, 40).fill(1)), wide(DType::f64, 16);
    CHECK(message(single, 16, 0) == "");
    CHECK(message(single, 20, 0).find("usage: gradient_norm: gradient is f32 [1, 20] on the device; devices need") ==
          0);
    CHECK(message(single, 16, 8).find("not a multiple of 16") != std::string::npos);
    CHECK(message(wide, 16, 0).find("devices compute in f32 and bf16") != std::string::npos);
}
