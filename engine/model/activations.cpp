#include "engine/model/activations.h"

#include <algorithm>

#include "engine/model/parameters.h"
#include "kernels/attention.h"
#include "kernels/bias_gelu.h"
#include "kernels/bias_tanh.h"
#include "kernels/column_sum.h"
#include "kernels/embedding.h"
#include "kernels/layer_norm.h"

namespace cloze {
namespace {

/// Requests tensors under a common name, with the working type and the statistics type that belongs to it.
struct Requests {
    Arena& arena;
    std::string prefix;
    DType working;

    Tensor activation(const char* name, std::int64_t rows, std::int64_t cols) const {
        return arena.tensor(prefix + name, working, rows, cols);
    }
    Tensor statistics(const char* name, std::int64_t rows, std::int64_t cols) const {
        return arena.tensor(prefix + name, statistics_dtype(working), rows, cols);
    }
    NormActivations norm(const char* name, std::int64_t rows, std::int64_t cols) const {
        const Requests inner{arena, prefix + name + ".", working};
        return {.sum = inner.activation("sum", rows, cols),
                .mean = inner.statistics("mean", 1, rows),
                .rstd = inner.statistics("rstd", 1, rows)};
    }
};

/// `rows` go on behind attention; 0: all.
LayerActivations lay_out_layer(const Requests& request, const BertConfig& config, std::int64_t tokens,
                               std::int64_t head_rows, Tensor input) {
    const std::int64_t hidden = config.hidden_size, rows = head_rows == 0 ? tokens : head_rows;
    LayerActivations layer{};
    layer.input = input;
    layer.qkv = request.activation("qkv", tokens, 3 * hidden);
    layer.log_sum_exp = request.statistics("log_sum_exp", config.num_attention_heads, tokens);
    layer.context = request.activation("context", tokens, hidden);
    if (head_rows != 0) {
        layer.head_input = request.activation("head_input", rows, hidden);
        layer.head_context = request.activation("head_context", rows, hidden);
    }
    layer.attention_norm = request.norm("attention_norm", rows, hidden);
    layer.attention_output = request.activation("attention_output", rows, hidden);
    layer.intermediate = request.activation("intermediate", rows, config.intermediate_size);
    layer.activated = request.activation("activated", rows, config.intermediate_size);
    layer.output_norm = request.norm("output_norm", rows, hidden);
    layer.output = request.activation("output", rows, hidden);
    return layer;
}

/// `last`: the last layer's output, of which the heads read parts; absent: they gather their rows.
HeadActivations lay_out_heads(const Requests& request, const BertConfig& config, const BatchCapacity& capacity,
                              const Tensor& last) {
    const std::int64_t hidden = config.hidden_size;
    const std::int64_t masked = capacity.masked;
    const std::int64_t sequences = capacity.sequences;
    const auto part = [&](const char* name, std::int64_t first, std::int64_t rows) {
        if (last.cols == 0) return request.activation(name, rows, hidden);
        return first + rows <= last.rows ? last.row_range(first, rows) : Tensor{};
    };
    Arena& arena = request.arena;
    return {.masked = part("masked", 0, masked),
            .transform = request.activation("transform", masked, hidden),
            .transform_norm = request.norm("transform_norm", masked, hidden),
            .transformed = request.activation("transformed", masked, hidden),
            .logits = request.activation("logits", masked, padded_vocabulary(config)),
            .masked_loss = request.statistics("masked_loss", 1, masked),
            .masked_correct = arena.tensor(request.prefix + "masked_correct", DType::i32, 1, masked),
            .first = part("first", masked, sequences),
            .pooled = request.activation("pooled", sequences, hidden),
            .next_sentence_logits = request.activation("next_sentence_logits", sequences, kNextSentenceColumns),
            .next_sentence_loss = request.statistics("next_sentence_loss", 1, sequences),
            .next_sentence_correct = arena.tensor(request.prefix + "next_sentence_correct", DType::i32, 1, sequences)};
}

/// The largest scratch any op of a backward pass asks for.
std::int64_t backward_scratch(const BertConfig& config, const BatchCapacity& capacity) {
    const std::int64_t tokens = capacity.tokens;
    const std::int64_t hidden = config.hidden_size;
    return std::max(
        {embedding_backward_scratch(tokens, hidden), layer_norm_backward_scratch(tokens, hidden),
         layer_norm_backward_scratch(capacity.masked, hidden),
         bias_gelu_backward_scratch(tokens, config.intermediate_size),
         bias_gelu_backward_scratch(capacity.masked, hidden), bias_tanh_backward_scratch(capacity.sequences, hidden),
         attention_backward_scratch(tokens, config.num_attention_heads, hidden / config.num_attention_heads),
         column_sum_scratch(tokens, 3 * hidden), column_sum_scratch(capacity.masked, padded_vocabulary(config)),
         column_sum_scratch(capacity.sequences, kNextSentenceColumns)});
}

}  // namespace

Activations lay_out_activations(Arena& arena, const BertConfig& config, const ActivationShape& shape) {
    const BatchCapacity& capacity = shape.capacity;
    Activations activations;
    const Requests embedding{arena, "embedding.", shape.working};
    activations.embedding_norm = embedding.norm("norm", capacity.tokens, config.hidden_size);
    activations.embedding = embedding.activation("output", capacity.tokens, config.hidden_size);
    for (std::int64_t i = 0; i < config.num_hidden_layers; ++i) {
        const Requests layer{arena, "layer." + std::to_string(i) + ".", shape.working};
        const bool last = i + 1 == config.num_hidden_layers;
        activations.layers.push_back(
            lay_out_layer(layer, config, capacity.tokens, last ? shape.head_rows : 0, activations.sequence_output()));
    }
    activations.heads = lay_out_heads({arena, "heads.", shape.working}, config, capacity,
                                      shape.head_rows == 0 ? Tensor{} : activations.sequence_output());
    return activations;
}

BackwardBuffers lay_out_backward(Arena& arena, const BertConfig& config, const ActivationShape& shape) {
    const Requests request{arena, "backward.", shape.working};
    const BatchCapacity& capacity = shape.capacity;
    const std::int64_t hidden = config.hidden_size;
    const std::int64_t wide = std::max(config.intermediate_size, 3 * hidden);
    BackwardBuffers buffers{};
    buffers.dhidden = request.activation("dhidden", capacity.tokens, hidden);
    buffers.dbranch = request.activation("dbranch", capacity.tokens, hidden);
    buffers.dcontext = request.activation("dcontext", capacity.tokens, hidden);
    buffers.dwide = request.activation("dwide", 1, capacity.tokens * wide);
    if (shape.head_rows != 0) buffers.dhead = request.activation("dhead", shape.head_rows, hidden);
    const auto part = [&](const char* name, std::int64_t first, std::int64_t rows) {
        if (shape.head_rows == 0) return request.activation(name, rows, hidden);
        return first + rows <= shape.head_rows ? buffers.dhead.row_range(first, rows) : Tensor{};
    };
    buffers.dmasked = request.activation("dmasked", capacity.masked, hidden);
    buffers.dmasked_branch = part("dmasked_branch", 0, capacity.masked);
    buffers.dfirst = part("dfirst", capacity.masked, capacity.sequences);
    buffers.dpooled = request.activation("dpooled", capacity.sequences, hidden);
    buffers.scratch = request.statistics("scratch", 1, backward_scratch(config, capacity));
    return buffers;
}

}  // namespace cloze
