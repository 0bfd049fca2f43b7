#include "engine/text/huggingface_files.h"

#include <nlohmann/json.hpp>

#include "kernels/core/error.h"

namespace cloze {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kModeKey = "cloze_tokenizer_mode";

Json strip_accents_json(const TokenizerOptions& options) {
    return options.strip_accents ? Json(*options.strip_accents) : Json(nullptr);
}

/// What `tokenizers` calls an added token.
Json added_token(std::string_view content) {
    return {{"content", content}, {"single_word", false}, {"lstrip", false},
            {"rstrip", false},    {"normalized", false},  {"special", true}};
}

Json template_token(std::string_view token, int type) {
    return {{"SpecialToken", {{"id", token}, {"type_id", type}}}};
}

Json template_sequence(const char* name, int type) {
    return {{"Sequence", {{"id", name}, {"type_id", type}}}};
}

Json post_processor(const SpecialIds& ids) {
    const auto special = [](std::string_view token, std::int32_t id) {
        return Json{{"id", token}, {"ids", Json::array({id})}, {"tokens", Json::array({token})}};
    };
    Json single = Json::array({template_token(kClsToken, 0), template_sequence("A", 0), template_token(kSepToken, 0)});
    Json pair = single;
    pair.push_back(template_sequence("B", 1));
    pair.push_back(template_token(kSepToken, 1));
    return {{"type", "TemplateProcessing"},
            {"single", single},
            {"pair", pair},
            {"special_tokens",
             {{std::string(kClsToken), special(kClsToken, ids.cls)},
              {std::string(kSepToken), special(kSepToken, ids.sep)}}}};
}

template <typename Value>
void read_optional(const Json& config, const char* key, Value& value, const std::string& source) {
    const auto found = config.find(key);
    if (found == config.end() || found->is_null()) return;
    try {
        value = found->get<Value>();
    } catch (const Json::exception&) {
        fail(Fault::input, source, ": ", key, " is ", found->dump(), "; it must be ",
             std::is_same_v<Value, bool> ? "true or false" : "a string");
    }
}

}  // namespace

std::string tokenizer_json(const Vocabulary& vocabulary, const TokenizerOptions& options) {
    Json added = Json::array();
    for (std::int32_t id = 0; id < vocabulary.size(); ++id) {
        if (!vocabulary.is_special(id)) continue;
        Json token = {{"id", id}};
        token.update(added_token(vocabulary.token(id)));
        added.push_back(token);
    }
    Json pieces = Json::object();
    // A vocabulary has no duplicates, so the look-up by key that ordered_json's [] does for each is not needed.
    for (std::int32_t id = 0; id < vocabulary.size(); ++id)
        pieces.get_ref<Json::object_t&>().emplace_back(vocabulary.token(id), id);
    const Json file = {{"version", "1.0"},
                       {"truncation", nullptr},
                       {"padding", nullptr},
                       {"added_tokens", added},
                       {"normalizer",
                        {{"type", "BertNormalizer"},
                         {"clean_text", true},
                         {"handle_chinese_chars", options.tokenize_chinese_chars},
                         {"strip_accents", strip_accents_json(options)},
                         {"lowercase", options.lowercase}}},
                       {"pre_tokenizer", {{"type", "BertPreTokenizer"}}},
                       {"post_processor", post_processor(vocabulary.special())},
                       {"decoder", {{"type", "WordPiece"}, {"prefix", kContinuationPrefix}, {"cleanup", true}}},
                       {"model",
                        {{"type", "WordPiece"},
                         {"unk_token", kUnknownToken},
                         {"continuing_subword_prefix", kContinuationPrefix},
                         {"max_input_chars_per_word", max_word_characters(options.mode)},
                         {"vocab", std::move(pieces)}}}};
    return file.dump(2) + "\n";
}

std::string tokenizer_config_json(const Vocabulary& vocabulary, const TokenizerOptions& options,
                                  std::int64_t model_max_length) {
    Json decoder = Json::object();
    for (std::int32_t id = 0; id < vocabulary.size(); ++id) {
        if (vocabulary.is_special(id)) decoder[std::to_string(id)] = added_token(vocabulary.token(id));
    }
    const Json file = {{"added_tokens_decoder", decoder},
                       {"clean_up_tokenization_spaces", true},
                       {kModeKey, to_string(options.mode)},
                       {"cls_token", kClsToken},
                       {"do_lower_case", options.lowercase},
                       {"mask_token", kMaskToken},
                       {"model_max_length", model_max_length},
                       {"pad_token", kPadToken},
                       {"sep_token", kSepToken},
                       {"strip_accents", strip_accents_json(options)},
                       {"tokenize_chinese_chars", options.tokenize_chinese_chars},
                       {"tokenizer_class", "BertTokenizer"},
                       {"unk_token", kUnknownToken}};
    return file.dump(2) + "\n";
}

std::string special_tokens_map_json() {
    const Json file = {{"cls_token", kClsToken},
                       {"mask_token", kMaskToken},
                       {"pad_token", kPadToken},
                       {"sep_token", kSepToken},
                       {"unk_token", kUnknownToken}};
    return file.dump(2) + "\n";
}

TokenizerOptions parse_tokenizer_config(std::string_view contents, const std::string& source) {
    const Json config = Json::parse(contents, nullptr, false);
    require_input(config.is_object(), source, ": is not a JSON object; restore the file from the model's folder");
    TokenizerOptions options;
    std::string mode = to_string(options.mode);
    read_optional(config, kModeKey, mode, source);
    require_input(mode == "google" || mode == "hf", source, ": ", kModeKey, " is '", mode,
                  "'; it must be google or hf");
    options.mode = parse_tokenizer_mode(mode);
    read_optional(config, "do_lower_case", options.lowercase, source);
    read_optional(config, "tokenize_chinese_chars", options.tokenize_chinese_chars, source);
    bool strip = false;
    read_optional(config, "strip_accents", strip, source);
    const auto found = config.find("strip_accents");
    if (found != config.end() && !found->is_null()) options.strip_accents = strip;
    return options;
}

}  // namespace cloze
