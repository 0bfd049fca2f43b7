#include "kernels/layer_norm.h"

#include <memory>

#include "tests/kernels/device/device_testing.h"

using namespace cloze;
using namespace cloze::test;

namespace {

enum class InPlace { none, dx_is_dy, dresidual_is_dy };

/// What a call takes besides its shape.
struct Form {
    bool bias = true;
    bool residual = true;  // and dresidual
    bool dbias = true;
    double probability = 0.1;
    bool sum_is_x = false;
    InPlace in_place = InPlace::none;
    bool accumulate = true;
    double epsilon = 1e-12;
};

constexpr std::int32_t kLayer = 2;
constexpr DropoutSite kSite = DropoutSite::ffn_output;

struct Case {
    DType dtype;
    std::int64_t rows, hidden;
    Form form;
    Array x, bias, residual, gamma, beta, dy, sum, mean, rstd, before;  // backward starts from sum, mean and rstd
    StepState state;
    Array row_sample, row_position;

    Case(DType type, std::int64_t r, std::int64_t h, Form f = {})
        : dtype(type),
          rows(r),
          hidden(h),
          form(f),
          x(random_array(type, r, h, 1, -2, 2)),
          bias(random_array(type, 1, h, 2)),
          residual(random_array(type, r, h, 3)),
          gamma(random_array(type, 1, h, 4, 0.5, 1.5)),
          beta(random_array(type, 1, h, 5)),
          dy(random_array(type, r, h, 6)),
          sum(random_array(type, r, h, 7, -2, 2)),
          mean(random_array(DType::f32, 1, r, 8, -0.1, 0.1)),
          rstd(random_array(DType::f32, 1, r, 9, 0.8, 1.2)),
          before(random_array(DType::f32, 1, h, 10)),
          row_sample(DType::u64, r),
          row_position(DType::i32, r) {
        state.dropout_key = step_dropout_key(3, 4);
        for (std::int64_t row = 0; row < r; ++row) {
            row_sample.set(row, static_cast<double>(row / 5) + 0x1p33);
            row_position.set(row, static_cast<double>(row % 5));
        }
    }
};

struct Result {
    Array y, sum, mean, rstd, dx, dresidual, dgamma, dbeta, dbias;
    bool same_bits(const Result& other) const {
        return y.same_bits(other.y) && sum.same_bits(other.sum) && mean.same_bits(other.mean) &&
               rstd.same_bits(other.rstd) && dx.same_bits(other.dx) && dresidual.same_bits(other.dresidual) &&
               dgamma.same_bits(other.dgamma) && dbeta.same_bits(other.dbeta) && dbias.same_bits(other.dbias);
    }
};

struct HostMemory {
    using Buffer = Array;
    static const StepState* place(const StepState& state) { return &state; }
    static Array fetch(const Array& array) { return array; }
};

struct DeviceMemory {
    using Buffer = DeviceArray;
    static const StepState* place(const StepState& state) { return on_device(state); }
    static Array fetch(const DeviceArray& array) { return array.fetch(); }
};

/// Forward and backward in `dtype`.
template <typename Memory>
Result run(const Case& c, DType dtype) {
    using Buffer = typename Memory::Buffer;
    const DType statistics = statistics_dtype(dtype);
    const Form& form = c.form;
    const Buffer x(c.x.as(dtype)), bias(c.bias.as(dtype)), residual(c.residual.as(dtype)), gamma(c.gamma.as(dtype)),
        beta(c.beta.as(dtype)), y(Array(dtype, c.rows, c.hidden)), sum(Array(dtype, c.rows, c.hidden)),
        mean(Array(statistics, c.rows)), rstd(Array(statistics, c.rows)), row_sample(c.row_sample),
        row_position(c.row_position);
    HiddenDropout dropout = {};
    if (form.probability > 0) {
        dropout = {form.probability, kLayer, kSite, Memory::place(c.state), row_sample.tensor(), row_position.tensor()};
    }
    const Buffer& sum_out = form.sum_is_x ? x : sum;
    layer_norm_forward({.y = y.tensor(),
                        .sum = sum_out.tensor(),
                        .mean = mean.tensor(),
                        .rstd = rstd.tensor(),
                        .x = x.tensor(),
                        .bias = form.bias ? bias.tensor() : Tensor{},
                        .residual = form.residual ? residual.tensor() : Tensor{},
                        .gamma = gamma.tensor(),
                        .beta = beta.tensor(),
                        .epsilon = form.epsilon,
                        .dropout = dropout},
                       {});

    const Buffer dy(c.dy.as(dtype)), kept_sum(c.sum.as(dtype)), kept_mean(c.mean.as(statistics)),
        kept_rstd(c.rstd.as(statistics)), dx(Array(dtype, c.rows, c.hidden)), dresidual(Array(dtype, c.rows, c.hidden)),
        dgamma(c.before.as(statistics)), dbeta(c.before.as(statistics)), dbias(c.before.as(statistics)),
        scratch(Array(statistics, layer_norm_backward_scratch(c.rows, c.hidden)));
    const Buffer& dx_out = form.in_place == InPlace::dx_is_dy ? dy : dx;
    const Buffer& dresidual_out = form.in_place == InPlace::dresidual_is_dy ? dy : dresidual;
    layer_norm_backward({.dx = dx_out.tensor(),
                         .dresidual = form.residual ? dresidual_out.tensor() : Tensor{},
                         .dgamma = dgamma.tensor(),
                         .dbeta = dbeta.tensor(),
                         .dbias = form.dbias ? dbias.tensor() : Tensor{},
                         .scratch = scratch.tensor(),
                         .dy = dy.tensor(),
                         .sum = kept_sum.tensor(),
                         .mean = kept_mean.tensor(),
                         .rstd = kept_rstd.tensor(),
                         .gamma = gamma.tensor(),
                         .accumulate = form.accumulate,
                         .dropout = dropout},
                        {});
    Memory::fetch(scratch);
    return {Memory::fetch(y),      Memory::fetch(sum_out), Memory::fetch(mean),
            Memory::fetch(rstd),   Memory::fetch(dx_out),  Memory::fetch(dresidual_out),
            Memory::fetch(dgamma), Memory::fetch(dbeta),   Memory::fetch(dbias)};
}

void check_near(const Case& c) {
    INFO(name_of(c.dtype) << " " << c.rows << " x " << c.hidden << (c.form.bias ? " bias" : "")
                          << (c.form.residual ? " residual" : "") << (c.form.dbias ? " dbias" : "") << " dropout "
                          << c.form.probability);
    const Result got = run<DeviceMemory>(c, c.dtype), plain = run<HostMemory>(c, c.dtype),
                 exact = run<HostMemory>(c, DType::f64);
    check_as_near("y", got.y, plain.y, exact.y);
    check_as_near("sum", got.sum, plain.sum, exact.sum);
    check_as_near("mean", got.mean, plain.mean, exact.mean);
    check_as_near("rstd", got.rstd, plain.rstd, exact.rstd);
    check_as_near("dx", got.dx, plain.dx, exact.dx);
    if (c.form.residual) check_as_near("dresidual", got.dresidual, plain.dresidual, exact.dresidual);
    check_as_near("dgamma", got.dgamma, plain.dgamma, exact.dgamma);
    check_as_near("dbeta", got.dbeta, plain.dbeta, exact.dbeta);
    check_as_near("dbias", got.dbias, plain.dbias, exact.dbias);  // what was there, where it is not wanted
}

}  // namespace

TEST_CASE("layer_norm on a device is as near to its definition as the plain loop, at every shape") {
    if (!device_or_skip()) return;
    for (const DType dtype : {DType::bf16, DType::f32}) {
        for (const auto& [rows, hidden] : {std::pair{1, 8},
                                           {67, 24},
                                           {63, 128},
                                           {65, 136},
                                           {131, 256},
                                           {64, 264},
                                           {17, 512},
                                           {61, 768},
                                           {5, 904},
                                           {65, 1024},
                                           {66, 1032}}) {
            check_near(Case(dtype, rows, hidden));
        }
    }
}

TEST_CASE("layer_norm on a device is as near where many blocks have sums of columns") {
    if (!device_or_skip()) return;
    check_near(Case(DType::f32, 4517, 24));
}

TEST_CASE("layer_norm on a device takes its statistics from the sum as kept") {
    if (!device_or_skip()) return;
    for (const std::int64_t hidden : {24, 768, 904, 1032}) {
        const Result got = run<DeviceMemory>(Case(DType::bf16, 9, hidden), DType::bf16);
        for (std::int64_t row = 0; row < 9; ++row) {
            double sum = 0, square = 0;
            for (std::int64_t col = 0; col < hidden; ++col) sum += got.sum.get(row, col);
            const double mean = sum / static_cast<double>(hidden);
            for (std::int64_t col = 0; col < hidden; ++col) square += std::pow(got.sum.get(row, col) - mean, 2);
            CHECK(got.mean[row] == Approx(mean).margin(1e-6));
            CHECK(got.rstd[row] == Approx(1 / std::sqrt(square / static_cast<double>(hidden))).epsilon(1e-6));
        }
    }
}

TEST_CASE("layer_norm on a device adds epsilon to the variance") {
    if (!device_or_skip()) return;
    for (const std::int64_t hidden : {24, 904, 1032}) check_near(Case(DType::f32, 5, hidden, {.epsilon = 0.5}));
}

TEST_CASE("layer_norm on a device does without what is absent") {
    if (!device_or_skip()) return;
    for (const std::int64_t hidden : {24, 768, 1032}) {
        check_near(Case(DType::bf16, 13, hidden, {.bias = false}));
        check_near(Case(DType::bf16, 13, hidden, {.residual = false}));
        check_near(Case(DType::bf16, 13, hidden, {.dbias = false}));
        check_near(Case(DType::bf16, 13, hidden, {.probability = 0, .accumulate = false}));
        check_near(Case(DType::f32, 13, hidden, {.bias = false, .residual = false, .dbias = false, .probability = 0}));
    }
}

TEST_CASE("layer_norm on a device works in place where the contract allows it") {
    if (!device_or_skip()) return;
    for (const std::int64_t hidden : {136, 904, 1032}) {
        const auto run_in_place = [&](Form form) {
            return run<DeviceMemory>(Case(DType::bf16, 5, hidden, form), DType::bf16);
        };
        const Form alone = {.bias = false, .residual = false, .probability = 0},
                   dropped = {.bias = false, .residual = false};
        for (Form form :
             {alone, dropped, Form{.residual = false, .probability = 0}, Form{.bias = false, .probability = 0}}) {
            const Result apart = run_in_place(form);
            form.sum_is_x = true;
            CHECK(run_in_place(form).same_bits(apart));
        }
        const Result apart = run<DeviceMemory>(Case(DType::bf16, 67, hidden), DType::bf16);
        for (const InPlace in_place : {InPlace::dx_is_dy, InPlace::dresidual_is_dy}) {
            const Case c(DType::bf16, 67, hidden, {.sum_is_x = true, .in_place = in_place});
            CHECK(run<DeviceMemory>(c, DType::bf16).same_bits(apart));
        }
    }
}

TEST_CASE("layer_norm on a device has the same bits under every schedule") {
    if (!device_or_skip()) return;
    for (const std::int64_t hidden : {136, 904, 1032}) {
        const Case c(DType::bf16, 67, hidden);
        const Result first = run<DeviceMemory>(c, DType::bf16);
        for_schedules(schedules(), [&] { CHECK(run<DeviceMemory>(c, DType::bf16).same_bits(first)); });
    }
}

TEST_CASE("layer_norm on a device drops what the host drops") {
    if (!device_or_skip()) return;
    const Case c(DType::f32, 9, 264, {.bias = false, .residual = false, .probability = 0.5});
    const Array got = run<DeviceMemory>(c, DType::f32).sum, expected = run<HostMemory>(c, DType::f32).sum;
    CHECK(got.same_bits(expected));
}

TEST_CASE("layer_norm on a device keeps an element whose bits are those of the dropout's threshold") {
    if (!device_or_skip()) return;
    constexpr std::int64_t kRow = 7, kGroup = 20, kIndex = 3;
    Case c(DType::f32, 9, 264, {.bias = false, .residual = false});
    const PhiloxBits bits =
        hidden_dropout_bits({c.state.dropout_key, kLayer, kSite}, static_cast<std::uint64_t>(c.row_sample[kRow]),
                            static_cast<std::uint32_t>(c.row_position[kRow]), kGroup);
    c.form.probability = hidden_dropout_value(bits, kIndex) / 65536.0;
    const Array got = run<DeviceMemory>(c, DType::f32).sum;
    CHECK(got.same_bits(run<HostMemory>(c, DType::f32).sum));
    CHECK(got.get(kRow, 8 * kGroup + kIndex) != 0);
}

TEST_CASE("layer_norm on a device accepts no rows, and overwrites the gradients when told") {
    if (!device_or_skip()) return;
    for (const std::int64_t hidden : {16, 1032}) {
        const Result got = run<DeviceMemory>(Case(DType::f32, 0, hidden, {.accumulate = false}), DType::f32);
        for (const Array* sum : {&got.dgamma, &got.dbeta, &got.dbias}) {
            for (std::int64_t i = 0; i < hidden; ++i) CHECK((*sum)[i] == 0);
        }
    }
}

TEST_CASE("layer_norm on a device keeps its digits on rows far from zero") {
    if (!device_or_skip()) return;
    for (const std::int64_t hidden : {768, 840, 1032}) {
        Case c(DType::f32, 2, hidden, {.bias = false, .residual = false, .probability = 0});
        for (std::int64_t i = 0; i < c.x.count(); ++i) c.x.set(i, 1000 + c.x[i]);
        check_near(c);
    }
}

TEST_CASE("layer_norm on a device refuses what its kernels cannot move, and a mask that lies elsewhere") {
    if (!device_or_skip()) return;
    const auto message = [](DType dtype, std::int64_t hidden, HiddenDropout dropout) {
        const DeviceArray x(dtype, 2, hidden), y(dtype, 2, hidden), gamma(dtype, hidden), beta(dtype, hidden),
            mean(statistics_dtype(dtype), 2), rstd(statistics_dtype(dtype), 2);
        return error_of([&] {
            layer_norm_forward({.y = y.tensor(),
                                .sum = x.tensor(),
                                .mean = mean.tensor(),
                                .rstd = rstd.tensor(),
                                .x = x.tensor(),
                                .bias = {},
                                .residual = {},
                                .gamma = gamma.tensor(),
                                .beta = beta.tensor(),
                                .epsilon = 1e-12,
                                .dropout = dropout},
                               {});
        });
    };
    CHECK(message(DType::f32, 8, {}) == "");
    CHECK(message(DType::f32, 12, {}).find("usage: layer_norm_forward: x is f32 [2, 12]") == 0);
    CHECK(message(DType::f64, 8, {}).find("devices compute in f32 and bf16") != std::string::npos);
    const Array row_sample(DType::u64, 2), row_position(DType::i32, 2);
    const StepState state;
    CHECK(message(DType::f32, 8, {0.1, 0, DropoutSite::embedding, &state, row_sample.tensor(), row_position.tensor()})
              .find("one place") != std::string::npos);
}
