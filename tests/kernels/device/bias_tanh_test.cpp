#include "kernels/bias_tanh.h"

#include "tests/kernels/device/device_testing.h"

using namespace cloze;
using namespace cloze::test;

namespace {

struct Result {
    Array y, dx, dbias;
    bool same_bits(const Result& other) const {
        return y.same_bits(other.y) && dx.same_bits(other.dx) && dbias.same_bits(other.dbias);
    }
};

struct Case {
    DType dtype;
    std::int64_t rows, cols;
    Array x, bias, y_of_forward, dy, dbias_before;

    Case(DType type, std::int64_t r, std::int64_t c)
        : dtype(type),
          rows(r),
          cols(c),
          x(random_array(type, r, c, 1, -5, 5)),
          bias(random_array(type, 1, c, 2)),
          y_of_forward(random_array(type, r, c, 3)),
          dy(random_array(type, r, c, 4)),
          dbias_before(random_array(statistics_dtype(type), 1, c, 5)) {}
};

/// Forward and backward in `dtype`, both in place; dbias is added to.
Result run_on_host(const Case& c, DType dtype) {
    const Array bias = c.bias.as(dtype), y = c.y_of_forward.as(dtype);
    const DType statistics = statistics_dtype(dtype);
    Result out{c.x.as(dtype), c.dy.as(dtype), c.dbias_before.as(statistics)};
    Array scratch(statistics, bias_tanh_backward_scratch(c.rows, c.cols));
    bias_tanh_forward({out.y.tensor(), out.y.tensor(), bias.tensor()}, {});
    bias_tanh_backward({out.dx.tensor(), out.dbias.tensor(), scratch.tensor(), out.dx.tensor(), y.tensor(), true}, {});
    return out;
}

Result run_on_device(const Case& c, bool accumulate = true) {
    const DeviceArray x(c.x), bias(c.bias), y(c.y_of_forward), dx(c.dy), dbias(c.dbias_before),
        scratch(DType::f32, bias_tanh_backward_scratch(c.rows, c.cols));
    bias_tanh_forward({x.tensor(), x.tensor(), bias.tensor()}, {});
    bias_tanh_backward({dx.tensor(), dbias.tensor(), scratch.tensor(), dx.tensor(), y.tensor(), accumulate}, {});
    scratch.fetch();
    return {x.fetch(), dx.fetch(), dbias.fetch()};
}

}  // namespace

TEST_CASE("bias_tanh on a device is as near to its definition as the plain loop, at every shape") {
    if (!device_or_skip()) return;
    for (const DType dtype : {DType::bf16, DType::f32}) {
        for (const auto& [rows, cols] : {std::pair{1, 8}, {7, 248}, {63, 256}, {64, 264}, {65, 1024}, {131, 40}}) {
            INFO(name_of(dtype) << " " << rows << " x " << cols);
            const Case c(dtype, rows, cols);
            const Result plain = run_on_host(c, dtype), exact = run_on_host(c, DType::f64), got = run_on_device(c);
            check_as_near("y", got.y, plain.y, exact.y);
            check_as_near("dx", got.dx, plain.dx, exact.dx);
            check_as_near("dbias", got.dbias, plain.dbias, exact.dbias);
        }
    }
}

TEST_CASE("bias_tanh on a device has the same bits under every schedule") {
    if (!device_or_skip()) return;
    const Case c(DType::bf16, 130, 264);
    const Result first = run_on_device(c);
    for_schedules(schedules(), [&] { CHECK(run_on_device(c).same_bits(first)); });
}

TEST_CASE("bias_tanh on a device is exactly one far out, and accepts no rows") {
    if (!device_or_skip()) return;
    Case c(DType::f32, 1, 8);
    c.bias.fill(0);
    const double far[] = {-1e30, 1e30, -20, 20, 0, 0, -100, 100};
    for (std::int64_t i = 0; i < 8; ++i) c.x.set(i, far[i]);
    const Result got = run_on_device(c);
    for (std::int64_t i = 0; i < 8; ++i) CHECK(got.y[i] == (far[i] > 0) - (far[i] < 0));
    const Result none = run_on_device(Case(DType::bf16, 0, 16), false);
    for (std::int64_t i = 0; i < 16; ++i) CHECK(none.dbias[i] == 0);
}

TEST_CASE("bias_tanh on a device keeps its relative accuracy near zero") {
    if (!device_or_skip()) return;
    Case c(DType::f32, 5, 8);
    c.bias.fill(0);
    for (std::int64_t i = 0; i < c.x.count(); ++i)
        c.x.set(i, (i % 2 == 0 ? 1 : -1) * std::ldexp(0.9, -static_cast<int>(i)));
    const Result got = run_on_device(c);
    for (std::int64_t i = 0; i < c.x.count(); ++i)
        CHECK(got.y[i] == Approx(std::tanh(c.x[i])).epsilon(0x1p-21).margin(0));
}

TEST_CASE("bias_tanh on a device refuses what its kernels cannot move") {
    if (!device_or_skip()) return;
    const auto message = [](DType dtype, std::int64_t cols) {
        const DeviceArray x(dtype, 2, cols), y(dtype, 2, cols), bias(dtype, cols), dbias(statistics_dtype(dtype), cols),
            scratch(statistics_dtype(dtype), bias_tanh_backward_scratch(2, cols));
        const std::string forward = error_of([&] { bias_tanh_forward({y.tensor(), x.tensor(), bias.tensor()}, {}); });
        const std::string backward = error_of([&] {
            bias_tanh_backward({x.tensor(), dbias.tensor(), scratch.tensor(), x.tensor(), y.tensor(), false}, {});
        });
        CHECK(forward.empty() == backward.empty());
        return forward;
    };
    CHECK(message(DType::f32, 8) == "");
    CHECK(message(DType::f32, 12).find("usage: bias_tanh_forward: y is f32 [2, 12]") == 0);
    CHECK(message(DType::f64, 8).find("devices compute in f32 and bf16") != std::string::npos);
}
