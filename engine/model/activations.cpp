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

LayerActivations lay_out_layer(const Requests& request, const BertConfig& config, std::int64_t tokens, Tensor input) {
    const std::int64_t hidden = config.hidden_size;
    return {.input = input,
            .qkv = request.activation("qkv", tokens, 3 * hidden),
            .log_sum_exp = request.statistics("log_sum_exp", config.num_attention_heads, tokens),
            .context = request.activation("context", tokens, hidden),
            .attention_norm = request.norm("attention_norm", tokens, hidden),
            .attention_output = request.activation("attention_output", tokens, hidden),
            .intermediate = request.activation("intermediate", tokens, config.intermediate_size),
            .activated = request.activation("activated", tokens, config.intermediate_size),
            .output_norm = request.norm("output_norm", tokens, hidden),
            .output = request.activation("output", tokens, hidden)};
}

HeadActivations lay_out_heads(const Requests& request, const BertConfig& config, const BatchCapacity& capacity) {
    const std::int64_t hidden = config.hidden_size;
    const std::int64_t masked = capacity.masked;
    const std::int64_t sequences = capacity.sequences;
    Arena& arena = request.arena;
    return {.masked = request.activation("masked", masked, hidden),
            .transform = request.activation("transform", masked, hidden),
            .transform_norm = request.norm("transform_norm", masked, hidden),
            .transformed = request.activation("transformed", masked, hidden),
            .logits = request.activation("logits", masked, padded_vocabulary(config)),
            .masked_loss = request.statistics("masked_loss", 1, masked),
            .masked_correct = arena.tensor(request.prefix + "masked_correct", DType::i32, 1, masked),
            .first = request.activation("first", sequences, hidden),
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

Activations lay_out_activations(Arena& arena, const BertConfig& config, const BatchCapacity& capacity, DType working) {
    Activations activations;
    const Requests embedding{arena, "embedding.", working};
    activations.embedding_norm = embedding.norm("norm", capacity.tokens, config.hidden_size);
    activations.embedding = embedding.activation("output", capacity.tokens, config.hidden_size);
    for (std::int64_t i = 0; i < config.num_hidden_layers; ++i) {
        const Requests layer{arena, "layer." + std::to_string(i) + ".", working};
        activations.layers.push_back(lay_out_layer(layer, config, capacity.tokens, activations.sequence_output()));
    }
    activations.heads = lay_out_heads({arena, "heads.", working}, config, capacity);
    return activations;
}

BackwardBuffers lay_out_backward(Arena& arena, const BertConfig& config, const BatchCapacity& capacity, DType working) {
    const Requests request{arena, "backward.", working};
    const std::int64_t hidden = config.hidden_size;
    const std::int64_t wide = std::max(config.intermediate_size, 3 * hidden);
    return {.dhidden = request.activation("dhidden", capacity.tokens, hidden),
            .dbranch = request.activation("dbranch", capacity.tokens, hidden),
            .dcontext = request.activation("dcontext", capacity.tokens, hidden),
            .dwide = request.activation("dwide", 1, capacity.tokens * wide),
            .dmasked = request.activation("dmasked", capacity.masked, hidden),
            .dmasked_branch = request.activation("dmasked_branch", capacity.masked, hidden),
            .dfirst = request.activation("dfirst", capacity.sequences, hidden),
            .dpooled = request.activation("dpooled", capacity.sequences, hidden),
            .scratch = request.statistics("scratch", 1, backward_scratch(config, capacity))};
}

}  // namespace cloze
