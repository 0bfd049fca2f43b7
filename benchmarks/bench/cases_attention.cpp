#include <cmath>

#include "benchmarks/bench/case.h"
#include "kernels/attention.h"

namespace cloze::bench {

namespace {

constexpr std::int64_t kHeadDim = 64;

/// Sequences of one length that fill the tokens.
struct Shape {
    std::int64_t tokens, length, heads;
    double probability;
    DType dtype;

    std::int64_t sequences() const { return tokens / length; }
    std::int64_t hidden() const { return heads * kHeadDim; }
    std::int64_t pairs() const { return sequences() * length * length; }
    std::vector<Size> sizes() const { return {{"tokens", tokens}, {"length", length}, {"heads", heads}}; }
    std::string variant() const { return text("length ", length, probability > 0 ? ", dropout 0.1" : ", no dropout"); }
};

Tensor offsets_of(DeviceSet& set, const Shape& s) {
    std::vector<std::int32_t> offset;
    for (std::int64_t i = 0; i <= s.sequences(); ++i) offset.push_back(static_cast<std::int32_t>(i * s.length));
    return set.values(offset);
}

AttentionDropout dropout_of(DeviceSet& set, const Shape& s) {
    if (s.probability == 0) return {};
    std::vector<std::uint64_t> sample;
    for (std::int64_t i = 0; i < s.sequences(); ++i) sample.push_back(static_cast<std::uint64_t>(i));
    return {.probability = s.probability,
            .layer = 1,
            .state = set.one(StepState{.step = 1, .dropout_key = step_dropout_key(1, 1)}),
            .sequence_sample = set.values(sample)};
}

Case forward(const Shape& s) {
    return {.op = "attention_forward",
            .variant = s.variant(),
            .sizes = s.sizes(),
            .dtype = s.dtype,
            .cost = attention_forward_cost(s.tokens, s.pairs(), s.heads, kHeadDim, s.dtype),
            .prepare = [=](DeviceSet& set) -> Call {
                const AttentionForward arguments{.y = set.output(s.dtype, s.tokens, s.hidden()),
                                                 .log_sum_exp = set.output(DType::f32, s.heads, s.tokens),
                                                 .qkv = set.random(s.dtype, s.tokens, 3 * s.hidden()),
                                                 .offset = offsets_of(set, s),
                                                 .heads = s.heads,
                                                 .visible = Visible::all,
                                                 .dropout = dropout_of(set, s)};
                return {[=](Stream stream) { attention_forward(arguments, stream); }};
            }};
}

// y and log_sum_exp are not forward's, only of its magnitude: for random q and k of width 64 scores are about normal.
Case backward(const Shape& s) {
    return {.op = "attention_backward",
            .variant = s.variant(),
            .sizes = s.sizes(),
            .dtype = s.dtype,
            .cost = attention_backward_cost(s.tokens, s.pairs(), s.heads, kHeadDim, s.dtype),
            .prepare = [=](DeviceSet& set) -> Call {
                const double log_length = std::log(static_cast<double>(s.length)) + 0.5;
                const std::int64_t scratch = attention_backward_scratch(s.tokens, s.heads, kHeadDim);
                const AttentionBackward arguments{
                    .dqkv = set.output(s.dtype, s.tokens, 3 * s.hidden()),
                    .scratch = set.output(DType::f32, scratch),
                    .dy = set.random(s.dtype, s.tokens, s.hidden()),
                    .y = set.random(s.dtype, s.tokens, s.hidden(), {0, 0.1}),
                    .log_sum_exp = set.random(DType::f32, s.heads, s.tokens, {log_length, 0.1}),
                    .qkv = set.random(s.dtype, s.tokens, 3 * s.hidden()),
                    .offset = offsets_of(set, s),
                    .heads = s.heads,
                    .visible = Visible::all,
                    .dropout = dropout_of(set, s)};
                return {[=](Stream stream) { attention_backward(arguments, stream); }};
            }};
}

}  // namespace

std::vector<Case> attention_cases(const CaseSettings& settings) {
    std::vector<Case> cases;
    const std::int64_t tokens = settings.tokens.back();
    for (const std::int64_t length : settings.sequence_lengths) {
        if (tokens % length != 0) continue;
        for (const double probability : {0.0, 0.1}) {
            const Shape shape{tokens, length, settings.models.back().heads, probability, settings.dtype};
            cases.push_back(forward(shape));
            cases.push_back(backward(shape));
        }
    }
    return cases;
}

}  // namespace cloze::bench
