#include "kernels/layer_norm.h"

#include "tests/kernels/op_testing.h"

using namespace cloze;
using namespace cloze::test;

namespace {

// One call of the op with everything it reads. bias and residual may be Arrays without shape: absent.
struct Case {
    Array x, bias, residual, gamma, beta, dy;
    double epsilon = 1e-12;
    double probability = 0;
    StepState state;
    Array row_sample, row_position;

    Case(DType dtype, std::int64_t rows, std::int64_t hidden, bool with_bias, bool with_residual, double p)
        : x(random_array(dtype, rows, hidden, 1, -2, 2)),
          gamma(random_array(dtype, 1, hidden, 4, 0.5, 1.5)),
          beta(random_array(dtype, 1, hidden, 5)),
          dy(random_array(dtype, rows, hidden, 6)),
          probability(p),
          row_sample(DType::u64, rows),
          row_position(DType::i32, rows) {
        if (with_bias) bias = random_array(dtype, 1, hidden, 2);
        if (with_residual) residual = random_array(dtype, rows, hidden, 3);
        state.dropout_key = step_dropout_key(3, 4);
        for (std::int64_t row = 0; row < rows; ++row) {
            row_sample.set(row, static_cast<double>(row / 5 + 100));
            row_position.set(row, static_cast<double>(row % 5));
        }
    }

    DType dtype() const { return x.dtype(); }
    DType statistics() const { return statistics_dtype(dtype()); }
    HiddenDropout dropout() const {
        if (probability == 0) return {};
        return {probability, 2, DropoutSite::ffn_output, &state, row_sample.tensor(), row_position.tensor()};
    }
    Case widened() const {
        Case wide = *this;
        for (Array* array : {&wide.x, &wide.bias, &wide.residual, &wide.gamma, &wide.beta, &wide.dy}) {
            *array = array->as(DType::f64);
        }
        return wide;
    }
};

struct Forward {
    Array y, sum, mean, rstd;
};

Forward forward(const Case& c, bool in_place = false) {
    const std::int64_t rows = c.x.rows(), hidden = c.x.cols();
    Forward out{Array(c.dtype(), rows, hidden), in_place ? c.x : Array(c.dtype(), rows, hidden),
                Array(c.statistics(), rows), Array(c.statistics(), rows)};
    layer_norm_forward({.y = out.y.tensor(),
                        .sum = out.sum.tensor(),
                        .mean = out.mean.tensor(),
                        .rstd = out.rstd.tensor(),
                        .x = in_place ? out.sum.tensor() : c.x.tensor(),
                        .bias = c.bias.tensor(),
                        .residual = c.residual.tensor(),
                        .gamma = c.gamma.tensor(),
                        .beta = c.beta.tensor(),
                        .epsilon = c.epsilon,
                        .dropout = c.dropout()},
                       {});
    for (const Array* array : {&out.y, &out.sum, &out.mean, &out.rstd}) CHECK(array->guards_hold());
    return out;
}

struct Gradients {
    Array dx, dresidual, dgamma, dbeta, dbias;
};

enum class InPlace { none, dx_is_dy, dresidual_is_dy };

Gradients backward(const Case& c, const Forward& kept, const Gradients* before = nullptr,
                   InPlace in_place = InPlace::none) {
    const std::int64_t rows = c.x.rows(), hidden = c.x.cols();
    Gradients out{Array(c.dtype(), rows, hidden), Array(c.dtype(), rows, hidden), Array(c.statistics(), hidden),
                  Array(c.statistics(), hidden), Array(c.statistics(), hidden)};
    if (before != nullptr) out.dgamma = before->dgamma, out.dbeta = before->dbeta, out.dbias = before->dbias;
    if (in_place == InPlace::dx_is_dy) out.dx = c.dy;
    if (in_place == InPlace::dresidual_is_dy) out.dresidual = c.dy;
    Array scratch(c.statistics(), layer_norm_backward_scratch(rows, hidden));
    layer_norm_backward({.dx = out.dx.tensor(),
                         .dresidual = out.dresidual.tensor(),
                         .dgamma = out.dgamma.tensor(),
                         .dbeta = out.dbeta.tensor(),
                         .dbias = out.dbias.tensor(),
                         .scratch = scratch.tensor(),
                         .dy = in_place == InPlace::dx_is_dy          ? out.dx.tensor()
                               : in_place == InPlace::dresidual_is_dy ? out.dresidual.tensor()
                                                                      : c.dy.tensor(),
                         .sum = kept.sum.tensor(),
                         .mean = kept.mean.tensor(),
                         .rstd = kept.rstd.tensor(),
                         .gamma = c.gamma.tensor(),
                         .accumulate = before != nullptr,
                         .dropout = c.dropout()},
                        {});
    for (const Array* array : {&out.dx, &out.dresidual, &out.dgamma, &out.dbeta, &out.dbias, &scratch}) {
        CHECK(array->guards_hold());
    }
    return out;
}

}  // namespace

TEST_CASE("layer_norm normalises: with gamma 1 and beta 0 a row has mean 0 and variance 1") {
    Case c(DType::f64, 3, 37, true, true, 0);
    c.gamma.fill(1);
    c.beta.fill(0);
    const Forward out = forward(c);
    for (std::int64_t row = 0; row < 3; ++row) {
        double sum = 0, square = 0, expected = 0;
        for (std::int64_t col = 0; col < 37; ++col) {
            sum += out.y.get(row, col);
            square += out.y.get(row, col) * out.y.get(row, col);
            expected += (c.x.get(row, col) + c.bias[col] + c.residual.get(row, col)) / 37;
        }
        CHECK(std::abs(sum) < 1e-12);
        CHECK(square / 37 == Approx(1).epsilon(1e-10));
        CHECK(out.mean[row] == Approx(expected).epsilon(1e-12));
    }
}

TEST_CASE("layer_norm backward equals finite differences in every input and parameter") {
    for (const double probability : {0.0, 0.3}) {
        for (const bool with_bias : {false, true}) {
            for (const bool with_residual : {false, true}) {
                Case c(DType::f64, 4, 11, with_bias, with_residual, probability);
                const Gradients gradients = backward(c, forward(c));
                const auto loss = [&] { return dot(forward(c).y, c.dy); };
                check_gradient("x", c.x, gradients.dx, loss);
                if (with_bias) check_gradient("bias", c.bias, gradients.dbias, loss);
                if (with_residual) check_gradient("residual", c.residual, gradients.dresidual, loss);
                check_gradient("gamma", c.gamma, gradients.dgamma, loss);
                check_gradient("beta", c.beta, gradients.dbeta, loss);
            }
        }
    }
}

TEST_CASE("layer_norm in f32 and bf16 differs from f64 by rounding only") {
    for (const DType dtype : {DType::f32, DType::bf16}) {
        for (const auto& [rows, hidden] : {std::pair{1, 2}, {3, 31}, {65, 128}, {64, 257}, {67, 768}}) {
            for (const double probability : {0.0, 0.1}) {
                const Case c(dtype, rows, hidden, true, true, probability), wide = c.widened();
                const Forward got = forward(c), exact = forward(wide);
                INFO(name_of(dtype) << " " << rows << " x " << hidden);
                const double store = rounding_of(dtype);
                CHECK(distance(got.sum, exact.sum) <= store + 4e-7);
                // What follows is judged from the sum as stored.
                Case from_sum = wide;
                from_sum.x = got.sum.as(DType::f64);
                from_sum.bias = from_sum.residual = Array();
                from_sum.probability = 0;
                const Forward reference = forward(from_sum);
                const double amplified = hidden == 2 ? 40 : 1;  // a row of two has any variance
                CHECK(distance(got.y, reference.y) <= store + amplified * 2e-6);
                CHECK(distance(got.mean, reference.mean) <= 1e-6);
                CHECK(distance(got.rstd, reference.rstd) <= amplified * 1e-6);

                const Forward kept{Array(), got.sum.as(DType::f64), got.mean.as(DType::f64), got.rstd.as(DType::f64)};
                const Gradients gradients = backward(c, got), expected = backward(wide, kept);
                CHECK(distance(gradients.dx, expected.dx) <= store + amplified * 2e-6);
                CHECK(distance(gradients.dresidual, expected.dresidual) <= store + amplified * 2e-6);
                CHECK(distance(gradients.dgamma, expected.dgamma) <= amplified * 1e-5);
                CHECK(distance(gradients.dbeta, expected.dbeta) <= 1e-5);
                CHECK(distance(gradients.dbias, expected.dbias) <= amplified * 1e-5);
            }
        }
    }
}

TEST_CASE("layer_norm keeps its digits on rows far from zero") {
    Case c(DType::f32, 2, 128, false, false, 0);
    for (std::int64_t i = 0; i < c.x.count(); ++i) c.x.set(i, 1000 + c.x[i]);
    const Forward got = forward(c), exact = forward(c.widened());
    CHECK(distance(got.y, exact.y) < 3e-4);  // x itself has six digits behind the point of its mean
}

TEST_CASE("layer_norm of a constant row is beta, and its gradients are finite") {
    for (const DType dtype : {DType::f64, DType::f32, DType::bf16}) {
        Case c(dtype, 2, 48, false, false, 0);
        c.x.fill(0.5);
        const Forward out = forward(c);
        for (std::int64_t i = 0; i < out.y.count(); ++i) CHECK(out.y[i] == c.beta[i % 48]);
        const Gradients gradients = backward(c, out);
        for (std::int64_t i = 0; i < gradients.dx.count(); ++i) CHECK(std::isfinite(gradients.dx[i]));
    }
}

TEST_CASE("layer_norm works in place where the contract allows it") {
    for (const DType dtype : {DType::f64, DType::f32, DType::bf16}) {
        const Case c(dtype, 66, 261, true, true, 0.2);
        const Forward plain = forward(c), in_place = forward(c, true);
        CHECK(in_place.sum.same_bits(plain.sum));
        CHECK(in_place.y.same_bits(plain.y));
        const Gradients expected = backward(c, plain);
        for (const InPlace how : {InPlace::dx_is_dy, InPlace::dresidual_is_dy}) {
            const Gradients gradients = backward(c, plain, nullptr, how);
            CHECK(gradients.dx.same_bits(expected.dx));
            CHECK(gradients.dresidual.same_bits(expected.dresidual));
            CHECK(gradients.dgamma.same_bits(expected.dgamma));
        }
    }
}

TEST_CASE("layer_norm backward adds parameter gradients on request and leaves out what is absent") {
    const Case c(DType::f64, 70, 40, true, true, 0.1);
    const Forward kept = forward(c);
    const Gradients first = backward(c, kept), second = backward(c, kept, &first);
    for (std::int64_t i = 0; i < 40; ++i) {
        CHECK(second.dgamma[i] == Approx(2 * first.dgamma[i]));
        CHECK(second.dbeta[i] == Approx(2 * first.dbeta[i]));
        CHECK(second.dbias[i] == Approx(2 * first.dbias[i]));
    }
    Gradients out{Array(DType::f64, 70, 40), Array(), Array(DType::f64, 40), Array(DType::f64, 40), Array()};
    const Array scratch(DType::f64, layer_norm_backward_scratch(70, 40));
    layer_norm_backward({.dx = out.dx.tensor(),
                         .dresidual = {},
                         .dgamma = out.dgamma.tensor(),
                         .dbeta = out.dbeta.tensor(),
                         .dbias = {},
                         .scratch = scratch.tensor(),
                         .dy = c.dy.tensor(),
                         .sum = kept.sum.tensor(),
                         .mean = kept.mean.tensor(),
                         .rstd = kept.rstd.tensor(),
                         .gamma = c.gamma.tensor(),
                         .accumulate = false,
                         .dropout = c.dropout()},
                        {});
    CHECK(out.dx.same_bits(first.dx));
    CHECK(out.dgamma.same_bits(first.dgamma));
}

TEST_CASE("layer_norm has the same bits at any number of threads and accepts no rows") {
    const Case c(DType::f32, 200, 300, true, true, 0.1);
    check_repeatable([&] {
        const Forward f = forward(c);
        const Gradients g = backward(c, f);
        return std::vector<Array>{f.y, f.sum, f.mean, f.rstd, g.dx, g.dresidual, g.dgamma, g.dbeta, g.dbias};
    });
    const Case none(DType::f32, 0, 16, true, true, 0.1);
    const Gradients gradients = backward(none, forward(none));
    for (std::int64_t i = 0; i < 16; ++i) CHECK(gradients.dgamma[i] == 0);
}

TEST_CASE("layer_norm refuses what its contract excludes") {
    const Case c(DType::f32, 4, 8, true, true, 0);
    const Array y(DType::f32, 4, 8), sum(DType::f32, 4, 8), mean(DType::f32, 4), rstd(DType::f32, 4);
    const auto message = [&](auto change) {
        LayerNormForward a{.y = y.tensor(),
                           .sum = sum.tensor(),
                           .mean = mean.tensor(),
                           .rstd = rstd.tensor(),
                           .x = c.x.tensor(),
                           .bias = c.bias.tensor(),
                           .residual = c.residual.tensor(),
                           .gamma = c.gamma.tensor(),
                           .beta = c.beta.tensor(),
                           .epsilon = 1e-12};
        change(a);
        return error_of([&] { layer_norm_forward(a, {}); });
    };
    CHECK(message([](LayerNormForward&) {}).empty());
    CHECK(message([](LayerNormForward& a) { a.epsilon = -1; }) ==
          "usage: layer_norm_forward: epsilon is -1; it is added to a variance and must not be negative");
    CHECK(message([](LayerNormForward& a) {
              a.gamma = {};
          }).find("gamma must be f32 [1, 8] without gaps between rows, but it is absent") != std::string::npos);
    CHECK(message([](LayerNormForward& a) { a.y = a.sum; }).find("y shares memory with sum") != std::string::npos);
    CHECK(message([](LayerNormForward& a) { a.mean = a.mean.column_range(0, 3); }).find("mean must be f32 [1, 4]") !=
          std::string::npos);
    CHECK(message([](LayerNormForward& a) { a.dropout.probability = 0.1; }).find("StepState") != std::string::npos);
    CHECK(message([](LayerNormForward& a) { a.y.place = Place::device; }).find("one place") != std::string::npos);

    const Array dgamma(DType::f32, 8), dbeta(DType::f32, 8), scratch(DType::f32, layer_norm_backward_scratch(4, 8));
    const auto backward_message = [&](auto change) {
        LayerNormBackward a{.dx = y.tensor(),
                            .dresidual = c.x.tensor(),
                            .dgamma = dgamma.tensor(),
                            .dbeta = dbeta.tensor(),
                            .dbias = {},
                            .scratch = scratch.tensor(),
                            .dy = c.dy.tensor(),
                            .sum = sum.tensor(),
                            .mean = mean.tensor(),
                            .rstd = rstd.tensor(),
                            .gamma = c.gamma.tensor(),
                            .accumulate = false};
        change(a);
        return error_of([&] { layer_norm_backward(a, {}); });
    };
    CHECK(backward_message([](LayerNormBackward&) {}).empty());
    CHECK(backward_message([](LayerNormBackward& a) {
              a.dx = a.dresidual = a.dy;
          }).find("dx shares memory with dresidual") != std::string::npos);
    CHECK(backward_message([](LayerNormBackward& a) { a.dbeta = a.dgamma; }).find("dgamma shares memory with dbeta") !=
          std::string::npos);
    CHECK(backward_message([](LayerNormBackward& a) { a.scratch.cols -= 1; }).find("scratch must be f32 [1, 24]") !=
          std::string::npos);
}

TEST_CASE("layer_norm's cost counts each byte once") {
    CHECK(layer_norm_forward_cost(10, 8, DType::bf16).bytes == (4 * 80 + 3 * 8) * 2 + 2 * 10 * 4);
    CHECK(layer_norm_backward_cost(10, 8, DType::bf16).bytes == (4 * 80 + 8) * 2 + (2 * 10 + 3 * 8) * 4);
}
