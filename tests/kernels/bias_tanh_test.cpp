#include "kernels/bias_tanh.h"

#include "tests/kernels/op_testing.h"

using namespace cloze;
using namespace cloze::test;

namespace {

Array forward(const Array& x, const Array& bias, bool in_place = false) {
    Array y = in_place ? x : Array(x.dtype(), x.rows(), x.cols());
    bias_tanh_forward({.y = y.tensor(), .x = in_place ? y.tensor() : x.tensor(), .bias = bias.tensor()}, {});
    CHECK(y.guards_hold());
    return y;
}

struct Gradients {
    Array dx, dbias;
};

Gradients backward(const Array& dy, const Array& y, const Array* dbias_before = nullptr, bool in_place = false) {
    const DType statistics = statistics_dtype(y.dtype());
    Gradients out{in_place ? dy : Array(y.dtype(), y.rows(), y.cols()), Array(statistics, y.cols())};
    if (dbias_before != nullptr) out.dbias = *dbias_before;
    Array scratch(statistics, bias_tanh_backward_scratch(y.rows(), y.cols()));
    bias_tanh_backward({.dx = out.dx.tensor(),
                        .dbias = out.dbias.tensor(),
                        .scratch = scratch.tensor(),
                        .dy = in_place ? out.dx.tensor() : dy.tensor(),
                        .y = y.tensor(),
                        .accumulate = dbias_before != nullptr},
                       {});
    CHECK(out.dx.guards_hold());
    CHECK(out.dbias.guards_hold());
    CHECK(scratch.guards_hold());
    return out;
}

}  // namespace

TEST_CASE("bias_tanh backward equals finite differences") {
    Array x = random_array(DType::f64, 5, 7, 1, -3, 3), bias = random_array(DType::f64, 1, 7, 2);
    const Array dy = random_array(DType::f64, 5, 7, 3);
    const Gradients gradients = backward(dy, forward(x, bias));
    const auto loss = [&] { return dot(forward(x, bias), dy); };
    check_gradient("x", x, gradients.dx, loss);
    check_gradient("bias", bias, gradients.dbias, loss);
}

TEST_CASE("bias_tanh in f32 and bf16 differs from f64 by rounding only") {
    for (const DType dtype : {DType::f32, DType::bf16}) {
        for (const auto& [rows, cols] : {std::pair{1, 1}, {3, 31}, {65, 257}, {33, 768}}) {
            const Array x = random_array(dtype, rows, cols, 4, -4, 4), bias = random_array(dtype, 1, cols, 5);
            const Array dy = random_array(dtype, rows, cols, 6), y = random_array(dtype, rows, cols, 7);
            INFO(name_of(dtype) << " " << rows << " x " << cols);
            const double tolerance = (dtype == DType::bf16 ? rounding_of(dtype) : 0) + 4e-7;
            CHECK(distance(forward(x, bias), forward(x.as(DType::f64), bias.as(DType::f64))) < tolerance);
            const Gradients got = backward(dy, y), exact = backward(dy.as(DType::f64), y.as(DType::f64));
            CHECK(distance(got.dx, exact.dx) < tolerance);
            CHECK(distance(got.dbias, exact.dbias) < 5e-6);
        }
    }
}

TEST_CASE("bias_tanh works in place and adds to dbias on request") {
    for (const DType dtype : {DType::f64, DType::f32, DType::bf16}) {
        const Array x = random_array(dtype, 66, 13, 8), bias = random_array(dtype, 1, 13, 9);
        const Array dy = random_array(dtype, 66, 13, 10), y = forward(x, bias);
        CHECK(forward(x, bias, true).same_bits(y));
        Array before(statistics_dtype(dtype), 13);
        before.fill(-1);
        const Gradients plain = backward(dy, y), added = backward(dy, y, &before, true);
        CHECK(added.dx.same_bits(plain.dx));
        for (std::int64_t c = 0; c < 13; ++c) CHECK(added.dbias[c] + 1 == Approx(plain.dbias[c]).margin(1e-6));
    }
}

TEST_CASE("bias_tanh has the same bits at any number of threads and accepts no rows") {
    const Array x = random_array(DType::f32, 200, 65, 11), bias = random_array(DType::f32, 1, 65, 12);
    const Array dy = random_array(DType::f32, 200, 65, 13);
    check_repeatable([&] {
        const Array y = forward(x, bias);
        const Gradients gradients = backward(dy, y);
        return std::vector<Array>{y, gradients.dx, gradients.dbias};
    });
    const Array none(DType::f32, 0, 65);
    CHECK(forward(none, bias).count() == 0);
    CHECK(dot(backward(none, none).dbias, bias) == 0);
}

TEST_CASE("bias_tanh refuses what its contract excludes") {
    const Array x(DType::f32, 4, 6), y(DType::f32, 4, 6), bias(DType::f32, 6), dbias(DType::f32, 6);
    const Array scratch(DType::f32, bias_tanh_backward_scratch(4, 6));
    CHECK(error_of([&] {
              bias_tanh_forward({y.tensor(), x.tensor(), bias.tensor().column_range(0, 5)}, {});
          }) == "usage: bias_tanh_forward: bias must be f32 [1, 6] without gaps between rows, but it is f32 [1, 5]");
    BiasTanhBackward arguments{x.tensor(), dbias.tensor(), scratch.tensor(), x.tensor(), y.tensor(), false};
    CHECK(error_of([&] { bias_tanh_backward(arguments, {}); }).empty());
    arguments.dx = y.tensor();
    CHECK(error_of([&] { bias_tanh_backward(arguments, {}); }).find("dx shares memory with y") != std::string::npos);
    CHECK(error_of([&] {
              bias_tanh_forward({on_device(y.tensor()), x.tensor(), bias.tensor()}, {});
          }).find("all arguments must lie in one place") != std::string::npos);
}

TEST_CASE("bias_tanh's cost counts each byte once") {
    CHECK(bias_tanh_forward_cost(10, 8, DType::f32).bytes == (2 * 80 + 8) * 4);
    CHECK(bias_tanh_backward_cost(10, 8, DType::bf16).bytes == 3 * 80 * 2 + 8 * 4);
}
