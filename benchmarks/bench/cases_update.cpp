#include "benchmarks/bench/case.h"
#include "kernels/cast.h"
#include "kernels/core/integer.h"
#include "kernels/norm.h"
#include "kernels/optimizer_update.h"

namespace cloze::bench {

namespace {

constexpr std::int64_t kAlignment = 128;  // elements; as the engine lays out its flat buffers
constexpr Spread kWeights{0, 0.02};
constexpr Spread kGradients{0, 1e-3};
constexpr Spread kSecondMoments{1e-6, 1e-7};

/// The flat buffers of BertForPreTraining.
struct Layout {
    std::vector<Segment> segments;
    std::int64_t elements = 0;

    void add(std::int64_t count, bool decay) {
        segments.push_back({.offset = elements, .count = count, .decay = decay ? 1 : 0});
        elements = round_up(elements + count, kAlignment);
    }
    void add_linear(std::int64_t outputs, std::int64_t inputs) {
        add(outputs * inputs, true);
        add(outputs, false);
    }
    void add_norm(std::int64_t hidden) {
        add(hidden, false);
        add(hidden, false);
    }
};

Layout layout_of(const ModelSizes& model) {
    constexpr std::int64_t kPositions = 512, kTypes = 2, kPairClasses = 2;
    const std::int64_t h = model.hidden;
    Layout layout;
    layout.add(model.padded_vocabulary * h, true);
    layout.add(kPositions * h, true);
    layout.add(kTypes * h, true);
    layout.add_norm(h);
    for (std::int64_t layer = 0; layer < model.layers; ++layer) {
        for (int projection = 0; projection < 4; ++projection) layout.add_linear(h, h);
        layout.add_norm(h);
        layout.add_linear(model.intermediate, h);
        layout.add_linear(h, model.intermediate);
        layout.add_norm(h);
    }
    layout.add_linear(h, h);  // pooler
    layout.add_linear(kPairClasses, h);
    layout.add_linear(h, h);  // of the masked-LM head
    layout.add_norm(h);
    layout.add(model.padded_vocabulary, false);
    return layout;
}

std::vector<Size> sizes_of(const Layout& layout) {
    return {{"elements", layout.elements}};
}

Case cast_case(const Layout& layout, DType from, DType to) {
    return {.op = "cast",
            .variant = text(name_of(from), " to ", name_of(to)),
            .sizes = sizes_of(layout),
            .dtype = to,
            .cost = cast_cost(layout.elements, from, to),
            .prepare = [from, to, elements = layout.elements](DeviceSet& set) -> Call {
                const Cast arguments{.y = set.output(to, elements), .x = set.random(from, elements)};
                return {[=](Stream stream) { cast(arguments, stream); }};
            }};
}

Case gradient_norm_case(const Layout& layout) {
    return {.op = "gradient_norm",
            .variant = "clip",
            .sizes = sizes_of(layout),
            .dtype = DType::f32,
            .cost = gradient_norm_cost(layout.elements, DType::f32),
            .prepare = [layout](DeviceSet& set) -> Call {
                const auto count = static_cast<std::int64_t>(layout.segments.size());
                const GradientNorm arguments{
                    .state = set.one(StepState{}),
                    .segment_square = set.output(DType::f64, count),
                    .scratch = set.output(DType::f64, gradient_norm_scratch(layout.elements, count)),
                    .gradient = set.random(DType::f32, layout.elements, kGradients),
                    .segments = set.structs(std::span<const Segment>(layout.segments)),
                    .segment_count = count,
                    .max_norm = 1};
                return {[=](Stream stream) { gradient_norm(arguments, stream); }};
            }};
}

Case update_case(const Layout& layout, OptimizerKind kind, const char* variant) {
    return {.op = "optimizer_update",
            .variant = variant,
            .sizes = sizes_of(layout),
            .dtype = DType::f32,
            .cost = optimizer_update_cost(layout.elements, kind, true),
            .prepare = [layout, kind](DeviceSet& set) -> Call {
                const auto count = static_cast<std::int64_t>(layout.segments.size());
                const std::int64_t n = layout.elements;
                const std::int64_t scratch = optimizer_update_scratch(kind, n, count);
                const OptimizerUpdate arguments{.weight = set.random(DType::f32, n, kWeights),
                                                .working = set.output(DType::bf16, n),
                                                .m = set.random(DType::f32, n, kGradients),
                                                .v = set.random(DType::f32, n, kSecondMoments),
                                                .scratch = scratch > 0 ? set.output(DType::f64, scratch) : Tensor{},
                                                .gradient = set.random(DType::f32, n, kGradients),
                                                .state = set.one(StepState{.learning_rate = 1e-6}),
                                                .segments = set.structs(std::span<const Segment>(layout.segments)),
                                                .segment_count = count,
                                                .kind = kind,
                                                .beta1 = 0.9,
                                                .beta2 = 0.999,
                                                .epsilon = 1e-6,
                                                .weight_decay = 0.01};
                return {[=](Stream stream) { optimizer_update(arguments, stream); }};
            }};
}

}  // namespace

std::vector<Case> update_cases(const CaseSettings& settings) {
    std::vector<Case> cases;
    for (const ModelSizes& model : settings.models) {
        const Layout layout = layout_of(model);
        cases.push_back(cast_case(layout, DType::f32, DType::bf16));
        cases.push_back(cast_case(layout, DType::bf16, DType::f32));
        cases.push_back(gradient_norm_case(layout));
        cases.push_back(update_case(layout, OptimizerKind::adamw, "AdamW"));
        cases.push_back(update_case(layout, OptimizerKind::lamb, "LAMB"));
    }
    return cases;
}

}  // namespace cloze::bench
