// BertConfig: HuggingFace's configuration keys, read from config.json or Google's bert_config.json.
// Tested by tests/model/config_test.cpp.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "kernels/attention.h"
#include "kernels/bias_gelu.h"

namespace cloze {

struct BertConfig {
    std::int64_t vocab_size = 30522;
    std::int64_t hidden_size = 768;
    std::int64_t num_hidden_layers = 12;
    std::int64_t num_attention_heads = 12;
    std::int64_t intermediate_size = 3072;
    std::string hidden_act = "gelu";  // "gelu" (erf), "gelu_new" and "gelu_pytorch_tanh" (tanh)
    double hidden_dropout_prob = 0.1;
    double attention_probs_dropout_prob = 0.1;
    std::int64_t max_position_embeddings = 512;
    std::int64_t type_vocab_size = 2;
    double initializer_range = 0.02;
    double layer_norm_eps = 1e-12;
    std::int64_t pad_token_id = 0;
    Visible visible = Visible::all;  // key "cloze_visible"; HuggingFace's BERT is "all"
    std::string other_keys = "{}";   // JSON object of keys this program does not know, kept on a round trip

    std::int64_t head_dim() const { return hidden_size / num_attention_heads; }
    Gelu gelu() const { return hidden_act == "gelu" ? Gelu::erf : Gelu::tanh; }
};

/// "tiny" (2 x 128), "mini" (4 x 256), "small" (4 x 512), "medium" (8 x 512), "base" (12 x 768), "large" (24 x 1024):
/// the sizes of Turc et al. 2019 and Devlin et al. 2019. Throws Fault::usage for another name, listing these.
BertConfig preset_config(const std::string& name);

/// Parses config.json or bert_config.json. Unknown keys are kept, unknown values refused (Fault::input, naming the
/// key).
BertConfig parse_config(const std::string& json, const std::string& source);
BertConfig read_config(const std::filesystem::path& file);

/// A preset's name, or the path of a JSON file.
BertConfig config_from(const std::string& preset_or_path);

/// config.json as HuggingFace reads it, with `architectures` as given, unknown keys included.
std::string config_json(const BertConfig& config, const std::string& architecture);

/// Throws Fault::input naming every key by which weights made for `source` would compute something else in `wanted`:
/// layers, heads, sizes, activation, epsilon, visibility. (Vocabulary and positions may differ; shapes tell.)
/// `source_name`: the file that `source` was read from.
void require_same_architecture(const BertConfig& source, const BertConfig& wanted, const std::string& source_name);

/// Refuses what cannot work (heads that do not divide hidden_size, a dropout rate that rounds to 0 or 1, ...), naming
/// key and value.
void require_config(const BertConfig& config, const std::string& source);

}  // namespace cloze
