#include "kernels/bias_gelu.h"

#include "tests/kernels/op_testing.h"

using namespace cloze;
using namespace cloze::test;

namespace {

const Gelu kForms[] = {Gelu::erf, Gelu::tanh};

Array forward(const Array& x, const Array& bias, Gelu form) {
    Array y(x.dtype(), x.rows(), x.cols());
    bias_gelu_forward({.y = y.tensor(), .x = x.tensor(), .bias = bias.tensor(), .form = form}, {});
    CHECK(y.guards_hold());
    return y;
}

struct Gradients {
    Array dx, dbias;
};

Gradients backward(const Array& dy, const Array& x, const Array& bias, Gelu form, const Array* dbias_before = nullptr,
                   bool in_place = false) {
    const DType statistics = statistics_dtype(x.dtype());
    Gradients out{Array(x.dtype(), x.rows(), x.cols()), Array(statistics, x.cols())};
    if (in_place) out.dx = dy;
    if (dbias_before != nullptr) out.dbias = *dbias_before;
    Array scratch(statistics, bias_gelu_backward_scratch(x.rows(), x.cols()));
    bias_gelu_backward({.dx = out.dx.tensor(),
                        .dbias = out.dbias.tensor(),
                        .scratch = scratch.tensor(),
                        .dy = in_place ? out.dx.tensor() : dy.tensor(),
                        .x = x.tensor(),
                        .bias = bias.tensor(),
                        .form = form,
                        .accumulate = dbias_before != nullptr},
                       {});
    CHECK(out.dx.guards_hold());
    CHECK(out.dbias.guards_hold());
    CHECK(scratch.guards_hold());
    return out;
}

}  // namespace

TEST_CASE("bias_gelu has the published values of both forms") {
    Array x(DType::f64, 1, 3), bias(DType::f64, 3);
    x.set(0, 0.5), x.set(1, -1.5), x.set(2, 0);
    bias.set(0, 0.5), bias.set(1, 0.5), bias.set(2, 0);
    const Array erf = forward(x, bias, Gelu::erf), tanh = forward(x, bias, Gelu::tanh);
    CHECK(erf[0] == Approx(0.8413447460685429).epsilon(1e-14));
    CHECK(erf[1] == Approx(-0.15865525393145707).epsilon(1e-14));
    CHECK(tanh[0] == Approx(0.8411919906082768).epsilon(1e-14));
    CHECK(tanh[1] == Approx(-0.15880800939172324).epsilon(1e-14));
    CHECK(erf[2] == 0);
    CHECK(tanh[2] == 0);
}

TEST_CASE("bias_gelu backward equals finite differences") {
    for (const Gelu form : kForms) {
        Array x = random_array(DType::f64, 7, 5, 1, -4, 4), bias = random_array(DType::f64, 1, 5, 2);
        const Array dy = random_array(DType::f64, 7, 5, 3);
        const Gradients gradients = backward(dy, x, bias, form);
        const auto loss = [&] { return dot(forward(x, bias, form), dy); };
        check_gradient("x", x, gradients.dx, loss);
        check_gradient("bias", bias, gradients.dbias, loss);
    }
}

TEST_CASE("bias_gelu in f32 and bf16 differs from f64 by rounding only") {
    for (const DType dtype : {DType::f32, DType::bf16}) {
        for (const Gelu form : kForms) {
            for (const auto& [rows, cols] : {std::pair{1, 1}, {3, 31}, {65, 33}, {70, 512}}) {
                const Array x = random_array(dtype, rows, cols, 4, -8, 8), bias = random_array(dtype, 1, cols, 5);
                const Array dy = random_array(dtype, rows, cols, 6);
                const Array wide_x = x.as(DType::f64), wide_bias = bias.as(DType::f64), wide_dy = dy.as(DType::f64);
                INFO(name_of(dtype) << " " << rows << " x " << cols);
                // Float arithmetic costs up to 8e-7 for |u| <= 9; a bf16 store half a unit in the last place.
                const double tolerance = (dtype == DType::bf16 ? rounding_of(dtype) : 0) + 8e-7;
                CHECK(distance(forward(x, bias, form), forward(wide_x, wide_bias, form)) < tolerance);
                const Gradients got = backward(dy, x, bias, form);
                const Gradients exact = backward(wide_dy, wide_x, wide_bias, form);
                CHECK(distance(got.dx, exact.dx) < tolerance);
                // Added before rounding, hence of float accuracy in bf16 too.
                CHECK(distance(got.dbias, exact.dbias) < 1e-5);
            }
        }
    }
}

TEST_CASE("bias_gelu far out is exactly zero or its argument, and so is its slope") {
    for (const DType dtype : {DType::f64, DType::f32, DType::bf16}) {
        for (const Gelu form : kForms) {
            Array x(dtype, 1, 4), bias(dtype, 4), dy(dtype, 1, 4);
            x.set(0, -100), x.set(1, 100), x.set(2, -1e18), x.set(3, 1e18);
            bias.fill(0);
            dy.fill(1);
            const Array y = forward(x, bias, form), dx = backward(dy, x, bias, form).dx;
            for (std::int64_t i = 0; i < 4; ++i) {
                CHECK(y[i] == (i % 2 == 0 ? 0 : x[i]));
                CHECK(dx[i] == (i % 2 == 0 ? 0 : 1));
            }
        }
    }
}

TEST_CASE("bias_gelu backward adds to dbias on request and may overwrite dy") {
    for (const DType dtype : {DType::f64, DType::f32, DType::bf16}) {
        const Array x = random_array(dtype, 66, 19, 7, -3, 3), bias = random_array(dtype, 1, 19, 8);
        const Array dy = random_array(dtype, 66, 19, 9);
        const Gradients plain = backward(dy, x, bias, Gelu::erf);
        Array before(statistics_dtype(dtype), 19);
        before.fill(2);
        const Gradients added = backward(dy, x, bias, Gelu::erf, &before, true);
        CHECK(added.dx.same_bits(plain.dx));
        for (std::int64_t c = 0; c < 19; ++c) CHECK(added.dbias[c] == Approx(2 + plain.dbias[c]).epsilon(1e-6));
    }
}

TEST_CASE("bias_gelu has the same bits at any number of threads and accepts no rows") {
    const Array x = random_array(DType::f32, 200, 65, 10), bias = random_array(DType::f32, 1, 65, 11);
    const Array dy = random_array(DType::f32, 200, 65, 12);
    for (const Gelu form : kForms) {
        check_repeatable([&] {
            const Gradients gradients = backward(dy, x, bias, form);
            return std::vector<Array>{forward(x, bias, form), gradients.dx, gradients.dbias};
        });
        const Array none(DType::f32, 0, 65);
        CHECK(forward(none, bias, form).count() == 0);
        CHECK(dot(backward(none, none, bias, form).dbias, bias) == 0);
    }
}

TEST_CASE("bias_gelu refuses what its contract excludes") {
    const Array x(DType::f32, 4, 6), y(DType::f32, 4, 6), bias(DType::f32, 6), half(DType::bf16, 6),
        dbias(DType::f32, 6);
    const Array scratch(DType::f32, bias_gelu_backward_scratch(4, 6));
    CHECK(error_of([&] {
              bias_gelu_forward({x.tensor(), x.tensor(), bias.tensor(), Gelu::erf}, {});
          }) == "usage: bias_gelu_forward: y shares memory with x; give it a buffer of its own");
    CHECK(error_of([&] {
              bias_gelu_forward({y.tensor(), x.tensor(), half.tensor(), Gelu::erf}, {});
          }) == "usage: bias_gelu_forward: bias must be f32 [1, 6] without gaps between rows, but it is bf16 [1, 6]");
    CHECK(error_of([&] {
              bias_gelu_forward({on_device(y.tensor()), x.tensor(), bias.tensor(), Gelu::erf}, {});
          }).find("all arguments must lie in one place") != std::string::npos);
    BiasGeluBackward arguments{y.tensor(), dbias.tensor(), scratch.tensor(), y.tensor(),
                               x.tensor(), bias.tensor(),  Gelu::erf,        false};
    CHECK(error_of([&] { bias_gelu_backward(arguments, {}); }).empty());
    arguments.dx = x.tensor();
    CHECK(error_of([&] { bias_gelu_backward(arguments, {}); }).find("dx shares memory with x") != std::string::npos);
    arguments.dx = Array(DType::f32, 4, 5).tensor();
    CHECK(error_of([&] { bias_gelu_backward(arguments, {}); }).find("dx must be f32 [4, 6]") != std::string::npos);
}

TEST_CASE("bias_gelu's cost counts each byte once") {
    CHECK(bias_gelu_forward_cost(10, 8, DType::bf16).bytes == (2 * 80 + 8) * 2);
    CHECK(bias_gelu_backward_cost(10, 8, DType::bf16).bytes == (3 * 80 + 8) * 2 + 8 * 4);
}
