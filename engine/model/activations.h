// What forward keeps for backward, one struct per layer, laid out by one function. Everything else is scratch.
// T, S, P are the batch capacities, h hidden, i intermediate size, V the padded vocabulary.
// Tested by tests/model/encoder_test.cpp.
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
    Tensor input;        // [T, h]      output of the layer below
    Tensor qkv;          // [T, 3h]     query | key | value
    Tensor log_sum_exp;  // [heads, T]  statistics
    Tensor context;      // [T, h]      of attention
    NormActivations attention_norm;
    Tensor attention_output;  // [T, h]      after the norm
    Tensor intermediate;      // [T, i]      before bias and GELU
    Tensor activated;         // [T, i]
    NormActivations output_norm;
    Tensor output;  // [T, h]
};

struct HeadActivations {
    Tensor masked;                   // [P, h]   rows of the masked positions
    Tensor transform;                // [P, h]   before bias and GELU
    NormActivations transform_norm;  // sum is the GELU's output  [P, h]
    Tensor transformed;              // [P, h]
    Tensor logits;                   // [P, V]   becomes its gradient
    Tensor masked_loss;              // [P]  statistics, in nats
    Tensor masked_correct;           // [P]  i32
    Tensor first;                    // [S, h]   rows of [CLS]
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

    const Tensor& sequence_output() const { return layers.empty() ? embedding : layers.back().output; }
};

/// Requests every tensor of a micro-batch from `arena`, in the order of forward. `working`: f32, bf16 on
/// devices, or f64 for the reference.
Activations lay_out_activations(Arena& arena, const BertConfig& config, const BatchCapacity& capacity, DType working);

/// Buffers that backward shares between the layers; named by what they hold while a layer runs.
struct BackwardBuffers {
    Tensor dhidden;                  // [T, h]           gradient of the layer's output, then of its input
    Tensor dbranch;                  // [T, h]           gradient of what entered the residual sum
    Tensor dcontext;                 // [T, h]
    Tensor dwide;                    // [T, max(i, 3h)]  elements of the FFN's or the projection's gradient
    Tensor dmasked, dmasked_branch;  // [P, h]
    Tensor dfirst, dpooled;          // [S, h]
    Tensor scratch;                  // [elements]  statistics: partial sums of the ops
};

BackwardBuffers lay_out_backward(Arena& arena, const BertConfig& config, const BatchCapacity& capacity, DType working);

}  // namespace cloze
