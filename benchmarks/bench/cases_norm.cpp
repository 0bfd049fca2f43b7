#include <algorithm>
#include <cmath>
#include <numeric>

#include "benchmarks/bench/case.h"
#include "kernels/embedding.h"
#include "kernels/layer_norm.h"

namespace cloze::bench {

namespace {

constexpr Spread kGamma{1, 0.1};
constexpr Spread kSmall{0, 0.1};
constexpr Spread kRstd{1, 0.05};
constexpr double kEpsilon = 1e-12;
constexpr std::int64_t kPositions = 512;
constexpr std::int64_t kTypes = 2;

/// Where BERT calls layer_norm: at the end of both halves of a layer, and in the masked-LM head.
struct NormUse {
    const char* variant;
    bool in_layer;  // with bias and residual
    double dropout;
};
constexpr NormUse kLayerTraining{"bias, dropout 0.1, residual", true, 0.1};
constexpr NormUse kLayerPlain{"bias, residual", true, 0};
constexpr NormUse kAlone{"alone", false, 0};

struct Shape {
    std::int64_t rows, hidden;
    DType dtype;
    std::vector<Size> sizes() const { return {{"rows", rows}, {"cols", hidden}}; }
    Tensor matrix(DeviceSet& set, bool wanted) const { return wanted ? set.random(dtype, rows, hidden) : Tensor{}; }
    Tensor matrix_out(DeviceSet& set, bool wanted) const { return wanted ? set.output(dtype, rows, hidden) : Tensor{}; }
};

HiddenDropout dropout_of(DeviceSet& set, std::int64_t rows, double probability, DropoutSite site) {
    if (probability == 0) return {};
    std::vector<std::uint64_t> sample;
    std::vector<std::int32_t> position;
    for (std::int64_t row = 0; row < rows; ++row) {
        sample.push_back(static_cast<std::uint64_t>(row / kPositions));
        position.push_back(static_cast<std::int32_t>(row % kPositions));
    }
    return {.probability = probability,
            .layer = 1,
            .site = site,
            .state = set.one(StepState{.step = 1, .dropout_key = step_dropout_key(1, 1)}),
            .row_sample = set.values(sample),
            .row_position = set.values(position)};
}

// The cost functions count the residual and its gradient, which the head has not, and a sum that is not x itself.
Cost norm_cost(Cost full, const Shape& s, const NormUse& use, int matrices_less) {
    return use.in_layer ? full : Cost{full.bytes - matrices_less * s.rows * s.hidden * size_of(s.dtype), full.flops};
}

Case norm_forward(const Shape& s, const NormUse& use) {
    return {.op = "layer_norm_forward",
            .variant = use.variant,
            .sizes = s.sizes(),
            .dtype = s.dtype,
            .cost = norm_cost(layer_norm_forward_cost(s.rows, s.hidden, s.dtype), s, use, 2),
            .prepare = [=](DeviceSet& set) -> Call {
                const Tensor x = s.matrix(set, true);
                const LayerNormForward arguments{
                    .y = s.matrix_out(set, true),
                    .sum = use.in_layer ? s.matrix_out(set, true) : x,
                    .mean = set.output(DType::f32, s.rows),
                    .rstd = set.output(DType::f32, s.rows),
                    .x = x,
                    .bias = use.in_layer ? set.random(s.dtype, s.hidden, kSmall) : Tensor{},
                    .residual = s.matrix(set, use.in_layer),
                    .gamma = set.random(s.dtype, s.hidden, kGamma),
                    .beta = set.random(s.dtype, s.hidden, kSmall),
                    .epsilon = kEpsilon,
                    .dropout = dropout_of(set, s.rows, use.dropout, DropoutSite::ffn_output)};
                return {[=](Stream stream) { layer_norm_forward(arguments, stream); }};
            }};
}

Case norm_backward(const Shape& s, const NormUse& use) {
    return {.op = "layer_norm_backward",
            .variant = use.variant,
            .sizes = s.sizes(),
            .dtype = s.dtype,
            .cost = norm_cost(layer_norm_backward_cost(s.rows, s.hidden, s.dtype), s, use, 1),
            .prepare = [=](DeviceSet& set) -> Call {
                const LayerNormBackward arguments{
                    .dx = s.matrix_out(set, true),
                    .dresidual = s.matrix_out(set, use.in_layer),
                    .dgamma = set.output(DType::f32, s.hidden),
                    .dbeta = set.output(DType::f32, s.hidden),
                    .dbias = use.in_layer ? set.output(DType::f32, s.hidden) : Tensor{},
                    .scratch = set.output(DType::f32, layer_norm_backward_scratch(s.rows, s.hidden)),
                    .dy = s.matrix(set, true),
                    .sum = s.matrix(set, true),
                    .mean = set.random(DType::f32, s.rows, kSmall),
                    .rstd = set.random(DType::f32, s.rows, kRstd),
                    .gamma = set.random(s.dtype, s.hidden, kGamma),
                    .accumulate = false,
                    .dropout = dropout_of(set, s.rows, use.dropout, DropoutSite::ffn_output)};
                return {[=](Stream stream) { layer_norm_backward(arguments, stream); }};
            }};
}

/// The ids of a batch and, for backward, their orders.
struct Ids {
    std::vector<std::int32_t> token, position, type;
};

/// Words as frequent as in text (Zipf: the logarithm of the rank is uniform), scattered over the table; sequences of
/// 512 tokens, of which the second half is the second sentence.
Ids ids_of(std::int64_t tokens, std::int64_t vocabulary) {
    constexpr std::int64_t kScatter = 7919;  // a prime that divides no vocabulary in use
    RandomStream random({.seed = 2, .purpose = RandomPurpose::masking});
    Ids ids;
    for (std::int64_t token = 0; token < tokens; ++token) {
        const double rank = std::exp(random.uniform() * std::log(static_cast<double>(vocabulary)));
        const auto word = std::min(vocabulary - 1, static_cast<std::int64_t>(rank) - 1);
        ids.token.push_back(static_cast<std::int32_t>(word * kScatter % vocabulary));
        ids.position.push_back(static_cast<std::int32_t>(token % kPositions));
        ids.type.push_back(static_cast<std::int32_t>(token % kPositions * kTypes / kPositions));
    }
    return ids;
}

std::vector<std::int32_t> order_of(const std::vector<std::int32_t>& id) {
    std::vector<std::int32_t> order(id.size());
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(), [&](std::int32_t a, std::int32_t b) {
        return id[static_cast<std::size_t>(a)] < id[static_cast<std::size_t>(b)];
    });
    return order;
}

EmbeddingSizes sizes_of(const Shape& s, const ModelSizes& model) {
    return {.tokens = s.rows,
            .hidden = s.hidden,
            .word_rows = model.padded_vocabulary,
            .positions = kPositions,
            .types = kTypes};
}

Case embedding_forward_case(const Shape& s, const ModelSizes& model) {
    return {.op = "embedding_forward",
            .variant = "dropout 0.1",
            .sizes = s.sizes(),
            .dtype = s.dtype,
            .cost = embedding_forward_cost(sizes_of(s, model), s.dtype),
            .prepare = [=](DeviceSet& set) -> Call {
                const Ids ids = ids_of(s.rows, model.vocabulary);
                const EmbeddingForward arguments{.y = s.matrix_out(set, true),
                                                 .sum = s.matrix_out(set, true),
                                                 .mean = set.output(DType::f32, s.rows),
                                                 .rstd = set.output(DType::f32, s.rows),
                                                 .token_id = set.values(ids.token),
                                                 .position_id = set.values(ids.position),
                                                 .type_id = set.values(ids.type),
                                                 .word = set.random(s.dtype, model.padded_vocabulary, s.hidden, kSmall),
                                                 .position = set.random(s.dtype, kPositions, s.hidden, kSmall),
                                                 .type = set.random(s.dtype, kTypes, s.hidden, kSmall),
                                                 .gamma = set.random(s.dtype, s.hidden, kGamma),
                                                 .beta = set.random(s.dtype, s.hidden, kSmall),
                                                 .epsilon = kEpsilon,
                                                 .dropout = dropout_of(set, s.rows, 0.1, DropoutSite::embedding)};
                return {[=](Stream stream) { embedding_forward(arguments, stream); }};
            }};
}

// The word table is added to, as in BERT, where the tied masked-LM head has written it before.
Case embedding_backward_case(const Shape& s, const ModelSizes& model) {
    return {.op = "embedding_backward",
            .variant = "dropout 0.1",
            .sizes = s.sizes(),
            .dtype = s.dtype,
            .cost = embedding_backward_cost(sizes_of(s, model), s.dtype, false, true),
            .prepare = [=](DeviceSet& set) -> Call {
                const Ids ids = ids_of(s.rows, model.vocabulary);
                const EmbeddingBackward arguments{
                    .dword = set.random(DType::f32, model.padded_vocabulary, s.hidden, kSmall),
                    .dposition = set.output(DType::f32, kPositions, s.hidden),
                    .dtoken_type = set.output(DType::f32, kTypes, s.hidden),
                    .dgamma = set.output(DType::f32, s.hidden),
                    .dbeta = set.output(DType::f32, s.hidden),
                    .dsum = s.matrix_out(set, true),
                    .scratch = set.output(DType::f32, embedding_backward_scratch(s.rows, s.hidden)),
                    .dy = s.matrix(set, true),
                    .sum = s.matrix(set, true),
                    .mean = set.random(DType::f32, s.rows, kSmall),
                    .rstd = set.random(DType::f32, s.rows, kRstd),
                    .gamma = set.random(s.dtype, s.hidden, kGamma),
                    .token_id = set.values(ids.token),
                    .token_order = set.values(order_of(ids.token)),
                    .position_id = set.values(ids.position),
                    .position_order = set.values(order_of(ids.position)),
                    .type_id = set.values(ids.type),
                    .type_order = set.values(order_of(ids.type)),
                    .counts = set.one(BatchCounts{.tokens = static_cast<std::int32_t>(s.rows)}),
                    .accumulate = false,
                    .accumulate_word = true,
                    .dropout = dropout_of(set, s.rows, 0.1, DropoutSite::embedding)};
                return {[=](Stream stream) { embedding_backward(arguments, stream); }};
            }};
}

}  // namespace

std::vector<Case> norm_cases(const CaseSettings& settings) {
    std::vector<Case> cases;
    for (const ModelSizes& model : settings.models) {
        for (const std::int64_t tokens : settings.tokens) {
            const Shape layer{tokens, model.hidden, settings.dtype};
            for (const NormUse& use : {kLayerTraining, kLayerPlain}) {
                cases.push_back(norm_forward(layer, use));
                cases.push_back(norm_backward(layer, use));
            }
            // As the head has it, and at the layer's size, where libraries have nothing else.
            for (const Shape& shape : {Shape{masked_rows(tokens), model.hidden, settings.dtype}, layer}) {
                cases.push_back(norm_forward(shape, kAlone));
                cases.push_back(norm_backward(shape, kAlone));
            }
            cases.push_back(embedding_forward_case(layer, model));
            cases.push_back(embedding_backward_case(layer, model));
        }
    }
    return cases;
}

}  // namespace cloze::bench
