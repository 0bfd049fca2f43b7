#include "engine/text/huggingface_files.h"

#include <nlohmann/json.hpp>

#include "engine/text/word_piece.h"
#include "kernels/core/error.h"

namespace cloze {
namespace {

using OrderedJson = nlohmann::ordered_json;

/// Our own key: transformers ignores it.
constexpr const char* kModeKey = "cloze_mode";

OrderedJson strip_accents_json(const TokenizerOptions& options) {
    return options.strip_accents.has_value() ? OrderedJson(*options.strip_accents) : OrderedJson(nullptr);
}

OrderedJson special_piece(std::string_view token, int type) {
    return {{"SpecialToken", {{"id", token}, {"type_id", type}}}};
}

OrderedJson sequence_piece(const char* name, int type) {
    return {{"Sequence", {{"id", name}, {"type_id", type}}}};
}

/// [CLS] A [SEP], and for pairs B [SEP] of type 1.
OrderedJson pair_template(const SpecialIds& special) {
    const auto named = [](std::string_view token, std::int32_t id) {
        return OrderedJson{{"id", token}, {"ids", OrderedJson::array({id})}, {"tokens", OrderedJson::array({token})}};
    };
    OrderedJson tokens;
    tokens[std::string(kClsToken)] = named(kClsToken, special.cls);
    tokens[std::string(kSepToken)] = named(kSepToken, special.sep);
    const OrderedJson single =
        OrderedJson::array({special_piece(kClsToken, 0), sequence_piece("A", 0), special_piece(kSepToken, 0)});
    OrderedJson pair = single;
    pair.push_back(sequence_piece("B", 1));
    pair.push_back(special_piece(kSepToken, 1));
    return {{"type", "TemplateProcessing"}, {"single", single}, {"pair", pair}, {"special_tokens", tokens}};
}

OrderedJson added_tokens(const Vocabulary& vocabulary) {
    OrderedJson tokens = OrderedJson::array();
    for (std::int32_t id = 0; id < vocabulary.size(); ++id) {
        if (!vocabulary.is_special(id)) continue;
        tokens.push_back({{"id", id},
                          {"content", vocabulary.token(id)},
                          {"single_word", false},
                          {"lstrip", false},
                          {"rstrip", false},
                          {"normalized", false},
                          {"special", true}});
    }
    return tokens;
}

bool flag(const nlohmann::json& json, const char* key, bool fallback, const std::string& source) {
    const auto found = json.find(key);
    if (found == json.end() || found->is_null()) return fallback;
    require_input(found->is_boolean(), source, ": key \"", key, "\": expected true or false, found ", found->dump());
    return found->get<bool>();
}

}  // namespace

std::string tokenizer_json(const Vocabulary& vocabulary, const TokenizerOptions& options) {
    OrderedJson table = OrderedJson::object();
    // Appended without looking for the key: the tokens of a vocabulary are distinct.
    auto& entries = table.get_ref<OrderedJson::object_t&>();
    entries.reserve(static_cast<std::size_t>(vocabulary.size()));
    for (std::int32_t id = 0; id < vocabulary.size(); ++id) {
        static_cast<std::vector<std::pair<const std::string, OrderedJson>>&>(entries).emplace_back(vocabulary.token(id),
                                                                                                   id);
    }
    const OrderedJson json = {{"version", "1.0"},
                              {"truncation", nullptr},
                              {"padding", nullptr},
                              {"added_tokens", added_tokens(vocabulary)},
                              {"normalizer",
                               {{"type", "BertNormalizer"},
                                {"clean_text", true},
                                {"handle_chinese_chars", options.tokenize_chinese_chars},
                                {"strip_accents", strip_accents_json(options)},
                                {"lowercase", options.lowercase}}},
                              {"pre_tokenizer", {{"type", "BertPreTokenizer"}}},
                              {"post_processor", pair_template(vocabulary.special())},
                              {"decoder", {{"type", "WordPiece"}, {"prefix", kContinuationPrefix}, {"cleanup", true}}},
                              {"model",
                               {{"type", "WordPiece"},
                                {"unk_token", kUnknownToken},
                                {"continuing_subword_prefix", kContinuationPrefix},
                                {"max_input_chars_per_word", max_word_characters(options.mode)},
                                {"vocab", table}}}};
    return json.dump(1) + "\n";
}

std::string tokenizer_config_json(const TokenizerOptions& options, std::int64_t model_max_length) {
    const OrderedJson json = {{"tokenizer_class", "BertTokenizer"},
                              {"do_lower_case", options.lowercase},
                              {"strip_accents", strip_accents_json(options)},
                              {"tokenize_chinese_chars", options.tokenize_chinese_chars},
                              {"model_max_length", model_max_length},
                              {"pad_token", kPadToken},
                              {"unk_token", kUnknownToken},
                              {"cls_token", kClsToken},
                              {"sep_token", kSepToken},
                              {"mask_token", kMaskToken},
                              {kModeKey, to_string(options.mode)}};
    return json.dump(2) + "\n";
}

std::string special_tokens_map_json() {
    const OrderedJson json = {{"pad_token", kPadToken},
                              {"unk_token", kUnknownToken},
                              {"cls_token", kClsToken},
                              {"sep_token", kSepToken},
                              {"mask_token", kMaskToken}};
    return json.dump(2) + "\n";
}

TokenizerOptions parse_tokenizer_config(std::string_view contents, const std::string& source) {
    const nlohmann::json json = nlohmann::json::parse(contents, nullptr, false);
    require_input(json.is_object(), source, ": not a JSON object; repair it or copy it from the checkpoint's origin");
    TokenizerOptions options;
    options.lowercase = flag(json, "do_lower_case", true, source);
    options.tokenize_chinese_chars = flag(json, "tokenize_chinese_chars", true, source);
    if (json.contains("strip_accents") && !json["strip_accents"].is_null()) {
        options.strip_accents = flag(json, "strip_accents", true, source);
    }
    if (json.contains(kModeKey)) {
        require_input(json[kModeKey].is_string(), source, ": key \"", kModeKey, "\": expected google or hf");
        options.mode = parse_tokenizer_mode(json[kModeKey].get<std::string>());
    }
    return options;
}

}  // namespace cloze
