#include "engine/model/parameters.h"

#include "kernels/core/integer.h"

namespace cloze {
namespace {

/// Appends rows and hands out offsets; the order of the calls is the order of the buffers.
class Builder {
public:
    explicit Builder(ParameterTable& table) : table_(table) {}

    int matrix(const std::string& name, std::int64_t rows, std::int64_t cols, std::int64_t padded_rows = 0) {
        return append({.name = name,
                       .rows = rows,
                       .cols = cols,
                       .rank = 2,
                       .offset = 0,
                       .padded_rows = padded_rows == 0 ? rows : padded_rows,
                       .decay = true,
                       .initial = InitialValue::random});
    }
    int vector(const std::string& name, std::int64_t count, InitialValue initial, std::int64_t padded = 0) {
        return append({.name = name,
                       .rows = count,
                       .cols = 1,
                       .rank = 1,
                       .offset = 0,
                       .padded_rows = padded == 0 ? count : padded,
                       .decay = false,
                       .initial = initial});
    }
    /// Bias first: backward of a linear layer has the bias gradient before the weight gradient.
    LinearIndex linear(const std::string& prefix, std::int64_t out, std::int64_t in, std::int64_t padded_out = 0) {
        const int bias = vector(prefix + ".bias", out, InitialValue::zero, padded_out);
        const int weight = matrix(prefix + ".weight", out, in, padded_out);
        return {.weight = weight, .bias = bias};
    }
    NormIndex norm(const std::string& prefix, std::int64_t count) {
        const int gamma = vector(prefix + ".weight", count, InitialValue::one);
        const int beta = vector(prefix + ".bias", count, InitialValue::zero);
        return {.gamma = gamma, .beta = beta};
    }
    /// Query, key and value lie side by side: three rows of the table, one matrix for the GEMM.
    void query_key_value(const std::string& prefix, std::int64_t hidden, LayerIndex& layer) {
        LinearIndex* parts[] = {&layer.query, &layer.key, &layer.value};
        const char* names[] = {"query", "key", "value"};
        for (int i = 0; i < 3; ++i) {
            adjoin_ = i > 0;
            parts[i]->bias = vector(prefix + names[i] + ".bias", hidden, InitialValue::zero);
        }
        for (int i = 0; i < 3; ++i) {
            adjoin_ = i > 0;
            parts[i]->weight = matrix(prefix + names[i] + ".weight", hidden, hidden);
        }
        adjoin_ = false;
    }
    void finish() { table_.elements = round_up(end_, kParameterAlignment); }

private:
    int append(Parameter parameter) {
        parameter.offset = adjoin_ ? end_ : round_up(end_, kParameterAlignment);
        end_ = parameter.offset + parameter.padded_rows * parameter.cols;
        table_.rows.push_back(std::move(parameter));
        return static_cast<int>(table_.rows.size()) - 1;
    }

    ParameterTable& table_;
    std::int64_t end_ = 0;
    bool adjoin_ = false;
};

void append_heads(Builder& builder, const BertConfig& config, ParameterTable& table) {
    const std::int64_t hidden = config.hidden_size;
    const std::int64_t padded_vocab = padded_vocabulary(config);
    table.decoder_bias = builder.vector("cls.predictions.bias", config.vocab_size, InitialValue::zero, padded_vocab);
    table.transform_norm = builder.norm("cls.predictions.transform.LayerNorm", hidden);
    table.transform = builder.linear("cls.predictions.transform.dense", hidden, hidden);
    table.next_sentence = builder.linear("cls.seq_relationship", 2, hidden, kNextSentenceColumns);
    table.pooler = builder.linear("bert.pooler.dense", hidden, hidden);
}

LayerIndex append_layer(Builder& builder, const BertConfig& config, std::int64_t number) {
    const std::int64_t hidden = config.hidden_size;
    const std::string prefix = "bert.encoder.layer." + std::to_string(number) + ".";
    LayerIndex layer{};
    layer.output_norm = builder.norm(prefix + "output.LayerNorm", hidden);
    layer.output = builder.linear(prefix + "output.dense", hidden, config.intermediate_size);
    layer.intermediate = builder.linear(prefix + "intermediate.dense", config.intermediate_size, hidden);
    layer.attention_norm = builder.norm(prefix + "attention.output.LayerNorm", hidden);
    layer.attention_output = builder.linear(prefix + "attention.output.dense", hidden, hidden);
    builder.query_key_value(prefix + "attention.self.", hidden, layer);
    return layer;
}

}  // namespace

std::int64_t padded_vocabulary(const BertConfig& config) {
    return round_up(config.vocab_size, 64);
}

ParameterTable parameter_table(const BertConfig& config) {
    ParameterTable table{};
    Builder builder(table);
    append_heads(builder, config, table);
    table.layers.resize(static_cast<std::size_t>(config.num_hidden_layers));
    for (std::int64_t i = config.num_hidden_layers - 1; i >= 0; --i) {
        table.layers[static_cast<std::size_t>(i)] = append_layer(builder, config, i);
    }
    const std::string prefix = "bert.embeddings.";
    table.embedding_norm = builder.norm(prefix + "LayerNorm", config.hidden_size);
    table.position =
        builder.matrix(prefix + "position_embeddings.weight", config.max_position_embeddings, config.hidden_size);
    table.token_type =
        builder.matrix(prefix + "token_type_embeddings.weight", config.type_vocab_size, config.hidden_size);
    // Tied to the masked-LM decoder: its gradient is complete only when the embedding's backward has added its part.
    table.word = builder.matrix(prefix + "word_embeddings.weight", config.vocab_size, config.hidden_size,
                                padded_vocabulary(config));
    builder.finish();
    return table;
}

std::int64_t ParameterTable::parameter_count() const {
    std::int64_t count = 0;
    for (const Parameter& row : rows) count += row.count();
    return count;
}

std::vector<Segment> ParameterTable::segments() const {
    std::vector<Segment> segments;
    segments.reserve(rows.size());
    for (const Parameter& row : rows) {
        segments.push_back({.offset = row.offset, .count = row.count(), .decay = row.decay ? 1 : 0});
    }
    return segments;
}

Tensor ParameterView::operator[](int index) const {
    const Parameter& row = table->rows[static_cast<std::size_t>(index)];
    const Tensor elements = flat.column_range(row.offset, row.padded_rows * row.cols);
    return row.rank == 1 ? elements : elements.reshaped(row.padded_rows, row.cols);
}

Tensor ParameterView::qkv_weight(const LayerIndex& layer) const {
    const Parameter& query = table->rows[static_cast<std::size_t>(layer.query.weight)];
    return flat.column_range(query.offset, 3 * query.count()).reshaped(3 * query.rows, query.cols);
}

Tensor ParameterView::qkv_bias(const LayerIndex& layer) const {
    const Parameter& query = table->rows[static_cast<std::size_t>(layer.query.bias)];
    return flat.column_range(query.offset, 3 * query.count());
}

}  // namespace cloze
