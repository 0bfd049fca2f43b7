#include "benchmarks/bench/case.h"
#include "kernels/bias_gelu.h"
#include "kernels/bias_tanh.h"

namespace cloze::bench {

namespace {

constexpr Spread kBias{0, 0.1};
constexpr std::int64_t kTokensPerSequence = 128;  // the pooler has one row a sequence

struct Shape {
    std::int64_t rows, cols;
    DType dtype;
    std::vector<Size> sizes() const { return {{"rows", rows}, {"cols", cols}}; }
};

Case gelu_forward(const Shape& s, Gelu form, const char* variant) {
    return {.op = "bias_gelu_forward",
            .variant = variant,
            .sizes = s.sizes(),
            .dtype = s.dtype,
            .cost = bias_gelu_forward_cost(s.rows, s.cols, s.dtype),
            .prepare = [=](DeviceSet& set) -> Call {
                const BiasGeluForward arguments{.y = set.output(s.dtype, s.rows, s.cols),
                                                .x = set.random(s.dtype, s.rows, s.cols),
                                                .bias = set.random(s.dtype, s.cols, kBias),
                                                .form = form};
                return {[=](Stream stream) { bias_gelu_forward(arguments, stream); }};
            }};
}

// dx lies apart from dy: in place, dy would shrink from call to call.
Case gelu_backward(const Shape& s, Gelu form, const char* variant) {
    return {.op = "bias_gelu_backward",
            .variant = variant,
            .sizes = s.sizes(),
            .dtype = s.dtype,
            .cost = bias_gelu_backward_cost(s.rows, s.cols, s.dtype),
            .prepare = [=](DeviceSet& set) -> Call {
                const BiasGeluBackward arguments{
                    .dx = set.output(s.dtype, s.rows, s.cols),
                    .dbias = set.output(DType::f32, s.cols),
                    .scratch = set.output(DType::f32, bias_gelu_backward_scratch(s.rows, s.cols)),
                    .dy = set.random(s.dtype, s.rows, s.cols),
                    .x = set.random(s.dtype, s.rows, s.cols),
                    .bias = set.random(s.dtype, s.cols, kBias),
                    .form = form,
                    .accumulate = false};
                return {[=](Stream stream) { bias_gelu_backward(arguments, stream); }};
            }};
}

Case tanh_forward(const Shape& s) {
    return {.op = "bias_tanh_forward",
            .variant = "",
            .sizes = s.sizes(),
            .dtype = s.dtype,
            .cost = bias_tanh_forward_cost(s.rows, s.cols, s.dtype),
            .prepare = [=](DeviceSet& set) -> Call {
                const BiasTanhForward arguments{.y = set.output(s.dtype, s.rows, s.cols),
                                                .x = set.random(s.dtype, s.rows, s.cols),
                                                .bias = set.random(s.dtype, s.cols, kBias)};
                return {[=](Stream stream) { bias_tanh_forward(arguments, stream); }};
            }};
}

Case tanh_backward(const Shape& s) {
    return {.op = "bias_tanh_backward",
            .variant = "",
            .sizes = s.sizes(),
            .dtype = s.dtype,
            .cost = bias_tanh_backward_cost(s.rows, s.cols, s.dtype),
            .prepare = [=](DeviceSet& set) -> Call {
                const BiasTanhBackward arguments{
                    .dx = set.output(s.dtype, s.rows, s.cols),
                    .dbias = set.output(DType::f32, s.cols),
                    .scratch = set.output(DType::f32, bias_tanh_backward_scratch(s.rows, s.cols)),
                    .dy = set.random(s.dtype, s.rows, s.cols),
                    .y = set.random(s.dtype, s.rows, s.cols, {0, 0.3}),
                    .accumulate = false};
                return {[=](Stream stream) { bias_tanh_backward(arguments, stream); }};
            }};
}

}  // namespace

std::vector<Case> activation_cases(const CaseSettings& settings) {
    std::vector<Case> cases;
    for (const ModelSizes& model : settings.models) {
        for (const std::int64_t tokens : settings.tokens) {
            const Shape wide{tokens, model.intermediate, settings.dtype};
            cases.push_back(gelu_forward(wide, Gelu::erf, "erf"));
            cases.push_back(gelu_backward(wide, Gelu::erf, "erf"));
            cases.push_back(gelu_forward(wide, Gelu::tanh, "tanh"));
            cases.push_back(gelu_backward(wide, Gelu::tanh, "tanh"));
            const Shape pooled{(tokens + kTokensPerSequence - 1) / kTokensPerSequence, model.hidden, settings.dtype};
            cases.push_back(tanh_forward(pooled));
            cases.push_back(tanh_backward(pooled));
        }
    }
    return cases;
}

}  // namespace cloze::bench
