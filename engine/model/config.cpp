#include "engine/model/config.h"

#include <array>
#include <set>

#include "engine/files/json.h"

namespace cloze {
namespace {

struct Preset {
    const char* name;
    std::int64_t layers, hidden, heads;
};

constexpr std::array kPresets = {
    Preset{"tiny", 2, 128, 2},   Preset{"mini", 4, 256, 4},   Preset{"small", 4, 512, 8},
    Preset{"medium", 8, 512, 8}, Preset{"base", 12, 768, 12}, Preset{"large", 24, 1024, 16},
};

constexpr std::array kVisibleNames = {
    std::pair{Visible::all, "all"},
    std::pair{Visible::past, "past"},
    std::pair{Visible::future, "future"},
    std::pair{Visible::strict_past, "strict_past"},
    std::pair{Visible::strict_future, "strict_future"},
};

const char* name_of(Visible visible) {
    for (const auto& [value, name] : kVisibleNames) {
        if (value == visible) return name;
    }
    return "?";
}

Visible visible_from(const JsonObject& object, const std::string& key, const std::string& name) {
    for (const auto& [value, known] : kVisibleNames) {
        if (name == known) return value;
    }
    object.refuse(key, "\"" + name + "\" is unknown; use all, past, future, strict_past or strict_future");
}

/// Keys whose value decides what is computed, with the one value this program computes.
void require_supported_values(const JsonObject& object) {
    const std::string position = object.get_or<std::string>("position_embedding_type", "absolute");
    if (position != "absolute")
        object.refuse("position_embedding_type", "\"" + position + "\" is not offered; only absolute");
    const std::string type = object.get_or<std::string>("model_type", "bert");
    if (type != "bert") object.refuse("model_type", "\"" + type + "\" is not a BERT; only bert");
    if (object.get_or<bool>("is_decoder", false)) object.refuse("is_decoder", "only encoders are offered");
    if (object.get_or<bool>("add_cross_attention", false)) {
        object.refuse("add_cross_attention", "only encoders are offered");
    }
    if (!object.get_or<bool>("tie_word_embeddings", true)) {
        object.refuse("tie_word_embeddings", "the masked-LM decoder is always tied to the word table");
    }
}

std::string unknown_keys(const Json& json) {
    static const std::set<std::string> known = {"vocab_size",
                                                "hidden_size",
                                                "num_hidden_layers",
                                                "num_attention_heads",
                                                "intermediate_size",
                                                "hidden_act",
                                                "hidden_dropout_prob",
                                                "attention_probs_dropout_prob",
                                                "max_position_embeddings",
                                                "type_vocab_size",
                                                "initializer_range",
                                                "layer_norm_eps",
                                                "pad_token_id",
                                                "cloze_visible",
                                                "model_type",
                                                "architectures",
                                                "position_embedding_type"};
    Json others = Json::object();
    for (const auto& [key, value] : json.items()) {
        if (known.count(key) == 0) others[key] = value;
    }
    return others.dump();
}

}  // namespace

BertConfig preset_config(const std::string& name) {
    std::string names;
    for (const Preset& preset : kPresets) {
        if (name == preset.name) {
            BertConfig config;
            config.hidden_size = preset.hidden;
            config.num_hidden_layers = preset.layers;
            config.num_attention_heads = preset.heads;
            config.intermediate_size = 4 * preset.hidden;
            return config;
        }
        names += (names.empty() ? "" : ", ") + std::string(preset.name);
    }
    fail(Fault::usage, "model '", name, "' is neither a preset (", names, ") nor a file");
}

BertConfig parse_config(const std::string& json, const std::string& source) {
    const Json parsed = parse_json(json, source);
    const JsonObject object(parsed, source);
    require_supported_values(object);
    const BertConfig standard;
    BertConfig config;
    config.vocab_size = object.require<std::int64_t>("vocab_size");
    config.hidden_size = object.require<std::int64_t>("hidden_size");
    config.num_hidden_layers = object.require<std::int64_t>("num_hidden_layers");
    config.num_attention_heads = object.require<std::int64_t>("num_attention_heads");
    config.intermediate_size = object.require<std::int64_t>("intermediate_size");
    config.hidden_act = object.get_or<std::string>("hidden_act", standard.hidden_act);
    config.hidden_dropout_prob = object.get_or<double>("hidden_dropout_prob", standard.hidden_dropout_prob);
    config.attention_probs_dropout_prob =
        object.get_or<double>("attention_probs_dropout_prob", standard.attention_probs_dropout_prob);
    config.max_position_embeddings =
        object.get_or<std::int64_t>("max_position_embeddings", standard.max_position_embeddings);
    config.type_vocab_size = object.get_or<std::int64_t>("type_vocab_size", standard.type_vocab_size);
    config.initializer_range = object.get_or<double>("initializer_range", standard.initializer_range);
    config.layer_norm_eps = object.get_or<double>("layer_norm_eps", standard.layer_norm_eps);
    config.pad_token_id = object.get_or<std::int64_t>("pad_token_id", standard.pad_token_id);
    config.visible = visible_from(object, "cloze_visible", object.get_or<std::string>("cloze_visible", "all"));
    config.other_keys = unknown_keys(parsed);
    require_config(config, source);
    return config;
}

BertConfig read_config(const std::filesystem::path& file) {
    const Json json = read_json(file);
    return parse_config(json.dump(), file.string());
}

BertConfig config_from(const std::string& preset_or_path) {
    const bool is_file = preset_or_path.find('/') != std::string::npos || preset_or_path.ends_with(".json");
    return is_file ? read_config(preset_or_path) : preset_config(preset_or_path);
}

std::string config_json(const BertConfig& config, const std::string& architecture) {
    Json json = Json::parse(config.other_keys);
    json["architectures"] = Json::array({architecture});
    json["model_type"] = "bert";
    json["vocab_size"] = config.vocab_size;
    json["hidden_size"] = config.hidden_size;
    json["num_hidden_layers"] = config.num_hidden_layers;
    json["num_attention_heads"] = config.num_attention_heads;
    json["intermediate_size"] = config.intermediate_size;
    json["hidden_act"] = config.hidden_act;
    json["hidden_dropout_prob"] = config.hidden_dropout_prob;
    json["attention_probs_dropout_prob"] = config.attention_probs_dropout_prob;
    json["max_position_embeddings"] = config.max_position_embeddings;
    json["type_vocab_size"] = config.type_vocab_size;
    json["initializer_range"] = config.initializer_range;
    json["layer_norm_eps"] = config.layer_norm_eps;
    json["pad_token_id"] = config.pad_token_id;
    json["position_embedding_type"] = "absolute";
    if (config.visible != Visible::all) json["cloze_visible"] = name_of(config.visible);
    for (const char* key : {"torch_dtype", "dtype"}) {
        if (json.contains(key)) json[key] = "float32";  // of the weights beside this file, whatever they came from
    }
    return json_text(json);
}

void require_same_architecture(const BertConfig& source, const BertConfig& wanted, const std::string& source_name) {
    std::string differences;
    const auto compare = [&](const char* key, const auto& there, const auto& here) {
        if (there == here) return;
        differences += text(differences.empty() ? "" : ", ", key, " ", Json(there), " instead of ", Json(here));
    };
    compare("num_attention_heads", source.num_attention_heads, wanted.num_attention_heads);
    compare("num_hidden_layers", source.num_hidden_layers, wanted.num_hidden_layers);
    compare("hidden_size", source.hidden_size, wanted.hidden_size);
    compare("intermediate_size", source.intermediate_size, wanted.intermediate_size);
    // gelu_new and gelu_pytorch_tanh are two names of one function.
    if (source.gelu() != wanted.gelu()) compare("hidden_act", source.hidden_act, wanted.hidden_act);
    compare("layer_norm_eps", source.layer_norm_eps, wanted.layer_norm_eps);
    compare("cloze_visible", std::string(name_of(source.visible)), std::string(name_of(wanted.visible)));
    require_input(differences.empty(), source_name, ": another architecture than the model's: ", differences,
                  "; use --model ", source_name);
}

void require_config(const BertConfig& config, const std::string& source) {
    const auto within = [&](const char* key, std::int64_t value, std::int64_t low, std::int64_t high) {
        require_input(value >= low && value <= high, source, ": ", key, " ", value, " is outside [", low, ", ", high,
                      "]");
    };
    within("vocab_size", config.vocab_size, 5, 1 << 24);
    within("hidden_size", config.hidden_size, 1, 1 << 16);
    within("num_hidden_layers", config.num_hidden_layers, 0, 4095);
    within("num_attention_heads", config.num_attention_heads, 1, 1024);
    within("intermediate_size", config.intermediate_size, 1, 1 << 20);
    within("max_position_embeddings", config.max_position_embeddings, 1, 1 << 20);
    within("type_vocab_size", config.type_vocab_size, 2, 1 << 16);
    within("pad_token_id", config.pad_token_id, 0, config.vocab_size - 1);
    require_input(config.hidden_size % config.num_attention_heads == 0, source, ": hidden_size ", config.hidden_size,
                  " is not a multiple of num_attention_heads ", config.num_attention_heads);
    const auto dropout = [&](const char* key, double value, DropoutRate (*rounded)(double)) {
        require_input(value >= 0 && value < 1, source, ": ", key, " ", value, " is outside [0, 1)");
        const auto [threshold, steps] = rounded(value);
        require_input(
            (threshold > 0 || value == 0) && threshold<steps, source, ": ", key, " ", value, " rounds to ", threshold> 0
                ? 1
                : 0,
            " in steps of 1/", steps, "; use 0, or from 1/", steps, " to ", steps - 1, "/", steps);
    };
    dropout("hidden_dropout_prob", config.hidden_dropout_prob, hidden_dropout_rate);
    dropout("attention_probs_dropout_prob", config.attention_probs_dropout_prob, attention_dropout_rate);
    require_input(config.layer_norm_eps >= 0 && config.layer_norm_eps < 1, source, ": layer_norm_eps ",
                  config.layer_norm_eps, " is outside [0, 1)");
    require_input(config.initializer_range > 0 && config.initializer_range < 10, source, ": initializer_range ",
                  config.initializer_range, " is outside (0, 10)");
    const bool known =
        config.hidden_act == "gelu" || config.hidden_act == "gelu_new" || config.hidden_act == "gelu_pytorch_tanh";
    require_input(known, source, ": hidden_act \"", config.hidden_act,
                  "\" is not offered; use gelu (erf), gelu_new or gelu_pytorch_tanh (tanh)");
}

}  // namespace cloze
