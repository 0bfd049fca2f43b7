#include "kernels/bias_gelu.h"

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
    Gelu form;
    std::int64_t rows, cols;
    Array x, bias, dy, dbias_before;

    Case(DType type, Gelu gelu, std::int64_t r, std::int64_t c)
        : dtype(type),
          form(gelu),
          rows(r),
          cols(c),
          x(random_array(type, r, c, 1, -6, 6)),
          bias(random_array(type, 1, c, 2)),
          dy(random_array(type, r, c, 3)),
          dbias_before(random_array(statistics_dtype(type), 1, c, 4)) {}
};

/// Forward and backward in `dtype`; dx overwrites dy, and dbias is added to.
Result run_on_host(const Case& c, DType dtype) {
    const Array x = c.x.as(dtype), bias = c.bias.as(dtype);
    const DType statistics = statistics_dtype(dtype);
    Result out{Array(dtype, c.rows, c.cols), c.dy.as(dtype), c.dbias_before.as(statistics)};
    Array scratch(statistics, bias_gelu_backward_scratch(c.rows, c.cols));
    bias_gelu_forward({out.y.tensor(), x.tensor(), bias.tensor(), c.form}, {});
    bias_gelu_backward({out.dx.tensor(), out.dbias.tensor(), scratch.tensor(), out.dx.tensor(), x.tensor(),
                        bias.tensor(), c.form, true},
                       {});
    return out;
}

Result run_on_device(const Case& c) {
    const DeviceArray x(c.x), bias(c.bias), dx(c.dy), dbias(c.dbias_before), y(c.dtype, c.rows, c.cols),
        scratch(DType::f32, bias_gelu_backward_scratch(c.rows, c.cols));
    bias_gelu_forward({y.tensor(), x.tensor(), bias.tensor(), c.form}, {});
    bias_gelu_backward(
        {dx.tensor(), dbias.tensor(), scratch.tensor(), dx.tensor(), x.tensor(), bias.tensor(), c.form, true}, {});
    scratch.fetch();
    return {y.fetch(), dx.fetch(), dbias.fetch()};
}

}  // namespace

TEST_CASE("bias_gelu on a device is as near to its definition as the plain loop, at every shape") {
    if (!device_or_skip()) return;
    for (const DType dtype : {DType::bf16, DType::f32}) {
        for (const Gelu form : {Gelu::erf, Gelu::tanh}) {
            for (const auto& [rows, cols] :
                 {std::pair{1, 8}, {7, 248}, {63, 256}, {64, 264}, {65, 1024}, {131, 40}, {5, 1032}}) {
                INFO(name_of(dtype) << (form == Gelu::erf ? " erf " : " tanh ") << rows << " x " << cols);
                const Case c(dtype, form, rows, cols);
                const Result plain = run_on_host(c, dtype), exact = run_on_host(c, DType::f64), got = run_on_device(c);
                check_as_near("y", got.y, plain.y, exact.y);
                check_as_near("dx", got.dx, plain.dx, exact.dx);
                check_as_near("dbias", got.dbias, plain.dbias, exact.dbias);
            }
        }
    }
}

TEST_CASE("bias_gelu on a device has the same bits under every schedule") {
    if (!device_or_skip()) return;
    for (const Gelu form : {Gelu::erf, Gelu::tanh}) {
        const Case c(DType::bf16, form, 130, 264);
        const Result first = run_on_device(c);
        for_schedules(schedules(), [&] { CHECK(run_on_device(c).same_bits(first)); });
    }
}

TEST_CASE("bias_gelu on a device is exactly zero or its argument far out, and so is its slope") {
    if (!device_or_skip()) return;
    for (const DType dtype : {DType::bf16, DType::f32}) {
        for (const Gelu form : {Gelu::erf, Gelu::tanh}) {
            Case c(dtype, form, 1, 8);
            c.bias.fill(0);
            c.dy.fill(1);
            const double far[] = {-100, 100, -1e18, 1e18, -30, 30, 0, 0};
            for (std::int64_t i = 0; i < 8; ++i) c.x.set(i, far[i]);
            const Result got = run_on_device(c);
            for (std::int64_t i = 0; i < 6; ++i) {
                CHECK(got.y[i] == (i % 2 == 0 ? 0 : c.x[i]));
                CHECK(got.dx[i] == (i % 2 == 0 ? 0 : 1));
            }
            CHECK(got.y[6] == 0);
            CHECK(got.dx[6] == Approx(0.5).epsilon(2e-7));
        }
    }
}

TEST_CASE("bias_gelu on a device keeps its relative accuracy where it is small") {
    if (!device_or_skip()) return;
    for (const Gelu form : {Gelu::erf, Gelu::tanh}) {
        Case c(DType::f32, form, 15, 8);
        c.bias.fill(0);
        for (std::int64_t i = 0; i < c.x.count(); ++i) c.x.set(i, -0.05 * static_cast<double>(i + 1));
        const Result got = run_on_device(c), exact = run_on_host(c, DType::f64);
        for (std::int64_t i = 0; i < c.x.count(); ++i) {
            INFO("x = " << c.x[i]);
            CHECK(got.y[i] == Approx(exact.y[i]).epsilon(1e-5).margin(0));
            if (c.x[i] < -2)
                CHECK(got.dx[i] == Approx(exact.dx[i]).epsilon(1e-5).margin(0));  // the slope is 0 at -0.75
        }
    }
}

TEST_CASE("bias_gelu on a device accepts no rows, and overwrites dbias when told") {
    if (!device_or_skip()) return;
    const DeviceArray none(DType::f32, 0, 16), bias(random_array(DType::f32, 1, 16, 1)), dbias(DType::f32, 16),
        scratch(DType::f32, bias_gelu_backward_scratch(0, 16));
    bias_gelu_forward({none.tensor(), none.tensor(), bias.tensor(), Gelu::erf}, {});
    bias_gelu_backward({none.tensor(), dbias.tensor(), scratch.tensor(), none.tensor(), none.tensor(), bias.tensor(),
                        Gelu::erf, false},
                       {});
    const Array sum = dbias.fetch();
    for (std::int64_t i = 0; i < 16; ++i) CHECK(sum[i] == 0);
}

TEST_CASE("bias_gelu on a device refuses what its kernels cannot move") {
    if (!device_or_skip()) return;
    const auto message = [](DType dtype, std::int64_t cols, std::int64_t skipped) {
        const DeviceArray x(dtype, 2, cols + 8), y(dtype, 2, cols + 8), bias(dtype, cols);
        const auto view = [&](const DeviceArray& array) {
            Tensor tensor = array.tensor();
            tensor.address = static_cast<char*>(tensor.address) + skipped;
            tensor.cols = tensor.stride = cols;
            return tensor;
        };
        return error_of([&] { bias_gelu_forward({view(y), view(x), bias.tensor(), Gelu::erf}, {}); });
    };
    CHECK(message(DType::f32, 8, 0) == "");
    CHECK(message(DType::f32, 12, 0).find("usage: bias_gelu_forward: y is f32 [2, 12]") == 0);
    CHECK(message(DType::f64, 8, 0).find("devices compute in f32 and bf16") != std::string::npos);
    CHECK(message(DType::bf16, 8, 8).find("not a multiple of 16") != std::string::npos);
}
