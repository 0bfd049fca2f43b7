// The parameter table: every tensor of BertForPreTraining by its HuggingFace name, laid out in the order
// in which backward finishes the gradients. Weights, working copy, gradients and moments are flat buffers of this
// layout; optimizer, checkpoints and communication buckets iterate over its rows. Tested by
// tests/model/parameters_test.cpp.
#pragma once

#include <string>
#include <vector>

#include "engine/model/config.h"
#include "kernels/norm.h"

namespace cloze {

enum class InitialValue : std::uint8_t { random, zero, one };

/// One row of the table: one tensor of the checkpoint.
struct Parameter {
    std::string name;          // HuggingFace key
    std::int64_t rows, cols;   // as in the file; a vector of n has rows = n, cols = 1
    int rank;                  // 1 or 2: how many dimensions the file has
    std::int64_t offset;       // first element in the flat buffers, a multiple of kParameterAlignment except inside QKV
    std::int64_t padded_rows;  // rows in memory, >= rows; see below
    bool decay;                // weight decay applies: not for biases and LayerNorm
    InitialValue initial;

    std::int64_t count() const { return rows * cols; }
};

/// 128 elements: 256 bytes even in bf16.
inline constexpr std::int64_t kParameterAlignment = 128;

struct LinearIndex {
    int weight, bias;
};
struct NormIndex {
    int gamma, beta;
};
struct LayerIndex {
    LinearIndex query, key, value, attention_output;
    NormIndex attention_norm;
    LinearIndex intermediate, output;
    NormIndex output_norm;
};

struct ParameterTable {
    std::vector<Parameter> rows;
    std::int64_t elements;  // of the flat buffers, alignment included
    // Where each tensor of the model stands in `rows`.
    int word, position, token_type;
    NormIndex embedding_norm;
    std::vector<LayerIndex> layers;
    LinearIndex pooler, transform, next_sentence;
    NormIndex transform_norm;
    int decoder_bias;

    std::int64_t parameter_count() const;   // elements of the model, without padding
    std::vector<Segment> segments() const;  // for the optimizer ops, in table order
};

/// Rows of the word table in memory, and columns of the masked-LM logits: a multiple of 64.
std::int64_t padded_vocabulary(const BertConfig& config);

/// Rows of the next-sentence weight in memory, and columns of its logits: two, and padding to what devices move at
/// once.
inline constexpr std::int64_t kNextSentenceColumns = 8;

ParameterTable parameter_table(const BertConfig& config);

/// A flat buffer of the table's layout seen as tensors.
struct ParameterView {
    const ParameterTable* table;
    Tensor flat;  // [1, elements]

    /// Row `index`, [padded_rows, cols].
    Tensor operator[](int index) const;
    /// Query, key and value of a layer as one [3 * hidden, hidden] weight and one [3 * hidden] bias.
    Tensor qkv_weight(const LayerIndex& layer) const;
    Tensor qkv_bias(const LayerIndex& layer) const;
};

}  // namespace cloze
