// Loads a checkpoint folder and writes what the model computes for given sequences, in double: what
// tests/differential/transformers_checkpoint.py drives.
//
//   checkpoint_logits FOLDER SEQUENCES.json OUTPUT.safetensors [SAVE_FOLDER]
//
// SEQUENCES.json: [{"ids": [...], "types": [...]}, ...]. OUTPUT: last_hidden_state and prediction_logits of every
// token, sequence after sequence, and seq_relationship_logits of every sequence. SAVE_FOLDER: where the weights and the
// configuration are written again. Prints the load report as JSON.
#include <iostream>

#include "engine/data/sampler.h"
#include "engine/files/json.h"
#include "engine/files/write.h"
#include "engine/model/pretraining.h"
#include "engine/model/weights_file.h"

namespace {

using namespace cloze;
namespace fs = std::filesystem;

/// Every position is asked for; the label does not matter.
Sample read_sample(const Json& sequence) {
    Sample sample;
    sample.token_id = sequence["ids"].get<std::vector<std::int32_t>>();
    for (const int type : sequence["types"].get<std::vector<int>>()) sample.first_segment += type == 0 ? 1 : 0;
    for (std::size_t i = 0; i < sample.token_id.size(); ++i) {
        sample.masked_position.push_back(static_cast<std::int32_t>(i));
        sample.masked_label.push_back(0);
    }
    return sample;
}

Batch read_batch(const fs::path& file, const BertConfig& config) {
    const Json sequences = read_json(file);
    BatchCapacity capacity;
    std::vector<Sample> samples;
    for (const Json& sequence : sequences) {
        const Sample& sample = samples.emplace_back(read_sample(sequence));
        capacity.tokens += static_cast<std::int64_t>(sample.token_id.size());
        ++capacity.sequences;
    }
    capacity.masked = capacity.tokens;
    const BatchLimits limits{.vocabulary_size = config.vocab_size, .positions = config.max_position_embeddings};
    Batch batch = empty_batch(capacity);
    for (std::size_t i = 0; i < samples.size(); ++i) append_sample(batch, samples[i], i, limits);
    finish_batch(batch, limits);
    return batch;
}

void write_tensors(const fs::path& path, const std::vector<TensorToStore>& tensors) {
    OutputFile file(path);
    write_safetensors(file, tensors);
    file.finish();
}

/// The first `cols` columns of each row, gathered in `values`.
TensorToStore columns(const char* name, const Tensor& tensor, std::int64_t cols, std::vector<double>& values) {
    for (std::int64_t row = 0; row < tensor.rows; ++row) {
        const double* begin = tensor.data<double>() + row * tensor.stride;
        values.insert(values.end(), begin, begin + cols);
    }
    return tensor_to_store<double>(name, {tensor.rows, cols}, values);
}

void save_again(const fs::path& source, const fs::path& folder, const BertConfig& config, const ParameterTable& table) {
    std::vector<float> values(static_cast<std::size_t>(table.elements));
    const ParameterView weights{&table, Tensor::host(values.data(), table.elements)};
    load_weights(source, weights, {.refuse = false});
    fs::create_directories(folder);
    write_tensors(folder / "model.safetensors", tensors_to_store(weights));
    write_file_atomic(folder / "config.json", config_json(config, "BertForPreTraining"));
}

int run(const std::vector<std::string>& arguments) {
    require(arguments.size() >= 3, "usage: checkpoint_logits FOLDER SEQUENCES.json OUTPUT.safetensors [SAVE_FOLDER]");
    const fs::path folder = arguments[0];
    const BertConfig config = read_config(folder / "config.json");
    const ParameterTable table = parameter_table(config);
    std::vector<double> values(static_cast<std::size_t>(table.elements));
    const ParameterView weights{&table, Tensor::host(values.data(), table.elements)};
    const LoadReport report = load_weights(folder, weights, {.refuse = false});

    const Batch batch = read_batch(arguments[1], config);
    PretrainingModel model(config,
                           {.capacity = batch.capacity, .working = DType::f64, .backward = false, .every_row = true});
    const StepState state;
    model.put(batch);
    model.forward(weights, &state, false);
    const Activations& activations = model.activations();
    std::vector<double> hidden, predictions, next_sentence;
    write_tensors(arguments[2],
                  {columns("last_hidden_state", activations.sequence_output(), config.hidden_size, hidden),
                   columns("prediction_logits", activations.heads.logits, config.vocab_size, predictions),
                   columns("seq_relationship_logits", activations.heads.next_sentence_logits, 2, next_sentence)});
    if (arguments.size() > 3) save_again(folder, arguments[3], config, table);
    std::cout << Json{{"notes", report.notes}, {"missing", report.missing}, {"unused", report.unused}}.dump() << "\n";
    return 0;
}

}  // namespace

int main(int argc, char** argv) {
    try {
        return run({argv + 1, argv + argc});
    } catch (const cloze::Error& error) {
        std::cerr << error.what() << "\n";
        return 1;
    }
}
