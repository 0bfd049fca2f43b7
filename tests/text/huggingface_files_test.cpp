#include "engine/text/huggingface_files.h"

#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>

#include "kernels/core/error.h"
#include "tests/text/fixtures.h"

using namespace cloze;
using namespace cloze::test;
using Catch::Matchers::Contains;

TEST_CASE("tokenizer options survive tokenizer_config.json") {
    const Vocabulary vocabulary = make_vocabulary({"a"});
    for (const TokenizerMode mode : kModes) {
        for (const std::optional<bool> strip :
             {std::optional<bool>(), std::optional<bool>(true), std::optional<bool>(false)}) {
            for (const bool flag : {true, false}) {
                const TokenizerOptions options{
                    .mode = mode, .lowercase = flag, .strip_accents = strip, .tokenize_chinese_chars = !flag};
                CHECK(parse_tokenizer_config(tokenizer_config_json(vocabulary, options, 128), "test") == options);
            }
        }
    }
}

TEST_CASE("a tokenizer_config.json of another program is read with BERT's defaults, and a wrong one is refused") {
    CHECK(parse_tokenizer_config("{}", "test") == TokenizerOptions{});
    CHECK(parse_tokenizer_config(R"({"do_lower_case": false, "model_max_length": 512, "never_split": null})", "test") ==
          TokenizerOptions{.lowercase = false});
    CHECK_THROWS_WITH(parse_tokenizer_config("[1]", "folder/tokenizer_config.json"),
                      Contains("folder/tokenizer_config.json") && Contains("not a JSON object"));
    CHECK_THROWS_WITH(parse_tokenizer_config("{", "test"), Contains("not a JSON object"));
    CHECK_THROWS_WITH(parse_tokenizer_config(R"({"do_lower_case": "yes"})", "test"),
                      Contains("do_lower_case is \"yes\""));
    CHECK_THROWS_WITH(parse_tokenizer_config(R"({"cloze_tokenizer_mode": "new"})", "test"),
                      Contains("must be google or hf"));
}

TEST_CASE("tokenizer.json holds the vocabulary in order, the special tokens and the limits of the mode") {
    const Vocabulary vocabulary = make_vocabulary({"b", "##a", "\"\\", "\u535a"});
    const auto file =
        nlohmann::ordered_json::parse(tokenizer_json(vocabulary, {.mode = TokenizerMode::google, .lowercase = false}));
    std::int32_t id = 0;
    for (const auto& [token, value] : file["model"]["vocab"].items()) {
        CHECK(token == vocabulary.token(id));
        CHECK(value == id++);
    }
    CHECK(id == vocabulary.size());
    CHECK(file["model"]["max_input_chars_per_word"] == 200);
    CHECK(file["normalizer"]["lowercase"] == false);
    CHECK(file["normalizer"]["strip_accents"].is_null());
    REQUIRE(file["added_tokens"].size() == 5);
    CHECK(file["added_tokens"][4]["content"] == "[MASK]");
    CHECK(file["added_tokens"][4]["id"] == 4);
    CHECK(file["post_processor"]["pair"].size() == 5);
    const auto config = nlohmann::json::parse(tokenizer_config_json(vocabulary, {}, 128));
    CHECK(config["model_max_length"] == 128);
    CHECK(config["tokenizer_class"] == "BertTokenizer");
    CHECK(nlohmann::json::parse(special_tokens_map_json())["mask_token"] == "[MASK]");
}
