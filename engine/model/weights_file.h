// Weights in and out of safetensors, by HuggingFace names. Reading follows these rules: old names, prefixes left by
// wrappers, tied and padded tables, and missing heads (cls.*, pooler) are accepted and reported, never guessed
// silently; embeddings and layers must all be there, and no more layers than the model has. Tested by
// tests/model/weights_file_test.cpp.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "engine/device/arena.h"
#include "engine/files/safetensors.h"
#include "engine/model/initialization.h"

namespace cloze {

/// What loading did besides copying tensors of the expected name and shape.
struct LoadReport {
    std::vector<std::string> notes;    // harmless: renamed, ignored, cut
    std::vector<std::string> missing;  // parameters of heads that the file lacks, which were initialised
    std::vector<std::string> unused;  // tensors of the file, none of an encoder layer, that this model has no place for
};

/// For heads that a file lacks.
struct MissingHeads {
    bool refuse;  // true: Fault::input naming them
    double initializer_range = 0.02;
    std::uint64_t seed = 0;
    Initialization kind = Initialization::truncated_normal;
};

/// Fills `weights` (f32 or f64, host) from `folder`: model.safetensors, or the files that model.safetensors.index.json
/// names. Throws Fault::input when a shape does not fit, when no weights are there, when a parameter of the embeddings
/// or of a layer is missing, or when a tensor of an encoder layer has no place in the model.
LoadReport load_weights(const std::filesystem::path& folder, const ParameterView& weights, const MissingHeads& heads);

/// Every row of an f32 view as a tensor to write, under `prefix` + name. The view stays alive until it is written.
std::vector<TensorToStore> tensors_to_store(const ParameterView& view, const std::string& prefix = "");

/// Fills an f32 view from tensors named `prefix` + name; all must be there with the exact shape.
void load_exactly(const SafetensorsReader& file, const ParameterView& view, const std::string& prefix);

/// A checkpoint's configuration and weights in f32, for evaluation.
class LoadedModel {
public:
    /// Reads config.json and the weights of `folder`. Every parameter must be there, but for the pooler and the
    /// next-sentence head when `next_sentence` is false.
    LoadedModel(const std::filesystem::path& folder, bool next_sentence);
    LoadedModel(const LoadedModel&) = delete;
    LoadedModel& operator=(const LoadedModel&) = delete;

    const BertConfig& config() const { return config_; }
    ParameterView weights() {
        return {&table_, Tensor::host(reinterpret_cast<float*>(memory_.data()), table_.elements)};
    }

private:
    BertConfig config_;
    ParameterTable table_;
    HostBlock memory_;
};

}  // namespace cloze
