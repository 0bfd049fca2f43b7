// What forward keeps for backward, one struct per layer, laid out by one function. Everything else is scratch.
// T, S, P are the batch capacities, h hidden, i intermediate size, V the padded vocabulary.
//
// Of the last layer only the rows that heads read go on behind attention: R = P + S of them, the masked positions, then
// the [CLS] (P alone without the next-sentence head). The others would be computed for nobody. R = T in every other
// layer. Tested by tests/model/encoder_test.cpp.
#pragma once

#include <vector>

#include "engine/data/batch.h"
#include "engine/device/arena.h"
#include "engine/model/config.h"

namespace cloze {

/// LayerNorm's share: the sum it normalised and its row statistics.
struct NormActivations {
    Tensor sum;         // [T, h]
    Tensor mean, rstd;  // [T]  statistics
};

struct LayerActivations {
    Tensor input;         // [T, h]      output of the layer below
    Tensor qkv;           // [T, 3h]     query | key | value
    Tensor log_sum_exp;   // [heads, T]  statistics
    Tensor context;       // [T, h]      of attention
    Tensor head_input;    // [R, h]      rows of input and context, where R < T; else absent
    Tensor head_context;  // [R, h]
    NormActivations attention_norm;
    Tensor attention_output;  // [R, h]      after the norm
    Tensor intermediate;      // [R, i]      before bias and GELU
    Tensor activated;         // [R, i]
    NormActivations output_norm;
    Tensor output;  // [R, h]
};

struct HeadActivations {
    Tensor masked;                   // [P, h]   rows of the masked positions; part of the last output where R < T
    Tensor transform;                // [P, h]   before bias and GELU
    NormActivations transform_norm;  // sum is the GELU's output  [P, h]
    Tensor transformed;              // [P, h]
    Tensor logits;                   // [P, V]   becomes its gradient
    Tensor masked_loss;              // [P]  statistics, in nats
    Tensor masked_correct;           // [P]  i32
    Tensor first;                    // [S, h]   rows of [CLS]; likewise
    Tensor pooled;                   // [S, h]
    Tensor next_sentence_logits;     // [S, 8]  two and padding; becomes its gradient
    Tensor next_sentence_loss;       // [S]  statistics, in nats
    Tensor next_sentence_correct;    // [S]  i32
};

struct Activations {
    NormActivations embedding_norm;
    Tensor embedding;  // [T, h]
    std::vector<LayerActivations> layers;
    HeadActivations heads;

    /// [R, h]
    const Tensor& sequence_output() const { return layers.empty() ? embedding : layers.back().output; }
    bool only_head_rows() const { return !layers.empty() && static_cast<bool>(layers.back().head_input); }
};

/// What decides the shapes of a model's memory.
struct ActivationShape {
    BatchCapacity capacity;
    std::int64_t head_rows;  // R of the last layer; 0: every row goes on
    DType working;           // f32, bf16, or f64 for the reference
};

/// Requests every tensor of a micro-batch from `arena`, in the order of forward.
Activations lay_out_activations(Arena& arena, const BertConfig& config, const ActivationShape& shape);

/// Buffers that backward shares between the layers; named by what they hold while a layer runs.
struct BackwardBuffers {
    Tensor dhidden;                  // [T, h]           gradient of the layer's output, then of its input
    Tensor dbranch;                  // [T, h]           gradient of what entered the residual sum
    Tensor dcontext;                 // [T, h]
    Tensor dwide;                    // [T, max(i, 3h)]  elements of the FFN's or the projection's gradient
    Tensor dhead;                    // [R, h]           gradient of the last output, where R < T; else absent
    Tensor dmasked, dmasked_branch;  // [P, h]           the second a part of dhead, where there is one
    Tensor dfirst, dpooled;          // [S, h]           the first likewise
    Tensor scratch;                  // [elements]  statistics: partial sums of the ops
};

BackwardBuffers lay_out_backward(Arena& arena, const BertConfig& config, const ActivationShape& shape);

}  // namespace cloze
