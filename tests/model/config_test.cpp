// Configurations: both references' files, round trips, and one clear line for every value that cannot work.
#include "engine/model/config.h"

#include <catch2/catch.hpp>

#include "engine/files/json.h"
#include "tests/support.h"

namespace cloze::test {
namespace {

using Catch::Contains;

/// A configuration that parses, with `changes` merged over it.
std::string config_with(const std::string& changes = "{}") {
    Json json = Json::parse(R"({"vocab_size": 100, "hidden_size": 12, "num_hidden_layers": 2, "num_attention_heads": 3,
                                "intermediate_size": 48})");
    json.update(Json::parse(changes));
    return json.dump();
}

std::string refusal_of(const std::string& changes) {
    try {
        parse_config(config_with(changes), "config.json");
    } catch (const Error& error) {
        REQUIRE(error.fault() == Fault::input);
        REQUIRE(std::string(error.what()).find('\n') == std::string::npos);
        return error.what();
    }
    return "";
}

}  // namespace

TEST_CASE("presets have the published sizes") {
    const BertConfig base = preset_config("base");
    REQUIRE(base.vocab_size == 30522);
    REQUIRE(base.hidden_size == 768);
    REQUIRE(base.num_hidden_layers == 12);
    REQUIRE(base.num_attention_heads == 12);
    REQUIRE(base.intermediate_size == 3072);
    REQUIRE(base.max_position_embeddings == 512);
    REQUIRE(base.type_vocab_size == 2);
    REQUIRE(base.hidden_dropout_prob == 0.1);
    REQUIRE(base.attention_probs_dropout_prob == 0.1);
    REQUIRE(base.initializer_range == 0.02);
    REQUIRE(base.layer_norm_eps == 1e-12);
    for (const char* name : {"tiny", "mini", "small", "medium", "base", "large"}) {
        const BertConfig config = preset_config(name);
        INFO(name);
        REQUIRE(config.head_dim() == 64);
        REQUIRE(config.intermediate_size == 4 * config.hidden_size);
        REQUIRE_NOTHROW(require_config(config, name));
    }
    REQUIRE_THROWS_WITH(preset_config("huge"),
                        Contains("'huge'") && Contains("tiny, mini, small, medium, base, large"));
}

TEST_CASE("a model is named by a preset or by a file") {
    TemporaryFolder folder;
    write_file(folder.path() / "config.json", config_with());
    REQUIRE(config_from("mini").hidden_size == 256);
    REQUIRE(config_from((folder.path() / "config.json").string()).hidden_size == 12);
    REQUIRE_THROWS_WITH(config_from("mni"), Contains("neither a preset") && Contains("nor a file"));
    REQUIRE_THROWS_AS(config_from((folder.path() / "absent.json").string()), Error);
}

TEST_CASE("HuggingFace's config.json is read in full") {
    const BertConfig config = parse_config(config_with(R"({
        "hidden_act": "gelu_new", "hidden_dropout_prob": 0.2, "attention_probs_dropout_prob": 0,
        "max_position_embeddings": 77, "type_vocab_size": 3, "initializer_range": 0.05, "layer_norm_eps": 1e-6,
        "pad_token_id": 4, "model_type": "bert", "architectures": ["BertForPreTraining"],
        "position_embedding_type": "absolute", "is_decoder": false, "tie_word_embeddings": true})"),
                                           "config.json");
    REQUIRE(config.vocab_size == 100);
    REQUIRE(config.hidden_size == 12);
    REQUIRE(config.num_hidden_layers == 2);
    REQUIRE(config.num_attention_heads == 3);
    REQUIRE(config.head_dim() == 4);
    REQUIRE(config.intermediate_size == 48);
    REQUIRE(config.gelu() == Gelu::tanh);
    REQUIRE(config.hidden_dropout_prob == 0.2);
    REQUIRE(config.attention_probs_dropout_prob == 0);
    REQUIRE(config.max_position_embeddings == 77);
    REQUIRE(config.type_vocab_size == 3);
    REQUIRE(config.initializer_range == 0.05);
    REQUIRE(config.layer_norm_eps == 1e-6);
    REQUIRE(config.pad_token_id == 4);
    REQUIRE(config.visible == Visible::all);
}

TEST_CASE("Google's bert_config.json is read, with its fewer and its extra keys") {
    const BertConfig config = parse_config(R"({
        "attention_probs_dropout_prob": 0.1, "directionality": "bidi", "hidden_act": "gelu", "hidden_dropout_prob": 0.1,
        "hidden_size": 768, "initializer_range": 0.02, "intermediate_size": 3072, "max_position_embeddings": 512,
        "num_attention_heads": 12, "num_hidden_layers": 12, "pooler_fc_size": 768, "pooler_num_attention_heads": 12,
        "pooler_num_fc_layers": 3, "pooler_size_per_head": 128, "pooler_type": "first_token_transform",
        "type_vocab_size": 2, "vocab_size": 119547})",
                                           "bert_config.json");
    REQUIRE(config.vocab_size == 119547);
    REQUIRE(config.layer_norm_eps == 1e-12);
    REQUIRE(config.type_vocab_size == 2);
    // Google's own default of 16 types is a trap: the released files say 2, and so does a file that says nothing.
    REQUIRE(parse_config(config_with(), "bert_config.json").type_vocab_size == 2);
}

TEST_CASE("every dropout rate that a step can express is taken") {
    for (const char* rate : {"0", "0.00390625", "0.99609375"}) {
        INFO(rate);
        REQUIRE(
            refusal_of(text(R"({"attention_probs_dropout_prob": )", rate, R"(, "hidden_dropout_prob": )", rate, "}"))
                .empty());
    }
    REQUIRE(refusal_of(R"({"hidden_dropout_prob": 0.0000152587890625})").empty());
    REQUIRE(refusal_of(R"({"hidden_dropout_prob": 0.9999847412109375})").empty());
}

TEST_CASE("hidden_act names the GELU") {
    REQUIRE(parse_config(config_with(R"({"hidden_act": "gelu"})"), "c").gelu() == Gelu::erf);
    REQUIRE(parse_config(config_with(R"({"hidden_act": "gelu_new"})"), "c").gelu() == Gelu::tanh);
    REQUIRE(parse_config(config_with(R"({"hidden_act": "gelu_pytorch_tanh"})"), "c").gelu() == Gelu::tanh);
    REQUIRE_THAT(refusal_of(R"({"hidden_act": "relu"})"), Contains("hidden_act \"relu\"") && Contains("use gelu"));
}

TEST_CASE("writing and reading a configuration changes nothing, unknown keys included") {
    const std::string text = config_with(R"({
        "hidden_act": "gelu_new", "layer_norm_eps": 1e-5, "hidden_dropout_prob": 0.123456789012345,
        "classifier_dropout": null, "use_cache": true, "id2label": {"0": "no", "1": "yes"}, "torch_dtype": "float32",
        "my_own": [1, 2.5, {"deep": "ä"}], "cloze_visible": "strict_past"})");
    const BertConfig config = parse_config(text, "config.json");
    const std::string written = config_json(config, "BertForPreTraining");
    const Json json = Json::parse(written);
    const Json given = Json::parse(text);
    for (const auto& [key, value] : given.items()) {
        INFO(key);
        REQUIRE(json.at(key) == value);
    }
    REQUIRE(json.at("model_type") == "bert");
    REQUIRE(json.at("architectures") == Json::array({"BertForPreTraining"}));

    const BertConfig again = parse_config(written, "config.json");
    REQUIRE(config_json(again, "BertForPreTraining") == written);
    REQUIRE(again.visible == Visible::strict_past);
    REQUIRE(again.hidden_dropout_prob == config.hidden_dropout_prob);
}

TEST_CASE("a kept type of the weights becomes the one they are stored in") {
    for (const char* key : {"torch_dtype", "dtype"}) {
        const BertConfig config = parse_config(config_with(text("{\"", key, "\": \"bfloat16\"}")), "config.json");
        REQUIRE(Json::parse(config_json(config, "BertModel")).at(key) == "float32");
    }
    const Json json = Json::parse(config_json(parse_config(config_with(), "config.json"), "BertModel"));
    REQUIRE_FALSE(json.contains("torch_dtype"));
    REQUIRE_FALSE(json.contains("dtype"));
}

TEST_CASE("weights of another architecture are refused, naming each key with both values") {
    const BertConfig model = parse_config(config_with(R"({"hidden_act": "gelu_new"})"), "c");
    const auto refusal = [&](const std::string& changes) -> std::string {
        const std::string base = config_with(R"({"hidden_act": "gelu_new"})");
        Json json = Json::parse(base);
        json.update(Json::parse(changes));
        try {
            require_same_architecture(parse_config(json.dump(), "c"), model, "old/config.json");
        } catch (const Error& error) {
            REQUIRE(error.fault() == Fault::input);
            return error.what();
        }
        return "";
    };
    REQUIRE(refusal("{}").empty());
    REQUIRE(refusal(R"({"vocab_size": 200, "max_position_embeddings": 7, "hidden_dropout_prob": 0.3,
                        "hidden_act": "gelu_pytorch_tanh"})")
                .empty());
    REQUIRE(refusal(R"({"num_attention_heads": 4})") ==
            "old/config.json: another architecture than the model's: num_attention_heads 4 instead of 3; use --model "
            "old/config.json");
    REQUIRE_THAT(
        refusal(R"({"num_hidden_layers": 6, "hidden_size": 24, "intermediate_size": 50, "hidden_act": "gelu",
                             "layer_norm_eps": 1e-5, "cloze_visible": "past"})"),
        Contains("num_hidden_layers 6 instead of 2, hidden_size 24 instead of 12, intermediate_size 50 instead "
                 "of 48, hidden_act \"gelu\" instead of \"gelu_new\", layer_norm_eps 1e-05 instead of 1e-12, "
                 "cloze_visible \"past\" instead of \"all\""));
}

TEST_CASE("every visibility has a name, and the usual one is not written") {
    for (const char* name : {"all", "past", "future", "strict_past", "strict_future"}) {
        const BertConfig config = parse_config(config_with("{\"cloze_visible\": \"" + std::string(name) + "\"}"), "c");
        const Json json = Json::parse(config_json(config, "BertModel"));
        if (std::string(name) == "all")
            REQUIRE_FALSE(json.contains("cloze_visible"));
        else
            REQUIRE(json.at("cloze_visible") == name);
    }
    REQUIRE_THAT(refusal_of(R"({"cloze_visible": "left"})"),
                 Contains("cloze_visible") && Contains("\"left\"") && Contains("strict_past"));
}

TEST_CASE("a value that cannot work is refused, naming file, key and value") {
    struct Refused {
        const char* changes;
        const char* named;
    };
    const std::vector<Refused> cases = {
        {R"({"vocab_size": null})", "vocab_size"},
        {R"({"hidden_size": "wide"})", "hidden_size"},
        {R"({"hidden_size": 12.5})", "hidden_size"},
        {R"({"hidden_size": 13})", "hidden_size 13 is not a multiple of num_attention_heads 3"},
        {R"({"hidden_size": 0})", "hidden_size 0"},
        {R"({"hidden_size": -12})", "hidden_size -12"},
        {R"({"num_attention_heads": 0})", "num_attention_heads 0"},
        {R"({"num_hidden_layers": -1})", "num_hidden_layers -1"},
        {R"({"num_hidden_layers": 5000})", "num_hidden_layers 5000"},
        {R"({"intermediate_size": 0})", "intermediate_size 0"},
        {R"({"max_position_embeddings": 0})", "max_position_embeddings 0"},
        {R"({"type_vocab_size": 1})", "type_vocab_size 1"},
        {R"({"vocab_size": 4})", "vocab_size 4"},
        {R"({"vocab_size": 123456789012})", "vocab_size"},
        {R"({"pad_token_id": 100})", "pad_token_id 100"},
        {R"({"hidden_dropout_prob": 1})", "hidden_dropout_prob 1"},
        {R"({"hidden_dropout_prob": -0.1})", "hidden_dropout_prob -0.1"},
        {R"({"attention_probs_dropout_prob": 1.5})", "attention_probs_dropout_prob 1.5"},
        {R"({"hidden_dropout_prob": 0.999999})", "hidden_dropout_prob 0.999999 rounds to 1 in steps of 1/65536"},
        {R"({"hidden_dropout_prob": 0.000001})", "hidden_dropout_prob 1e-06 rounds to 0 in steps of 1/65536"},
        {R"({"attention_probs_dropout_prob": 0.9981})",
         "attention_probs_dropout_prob 0.9981 rounds to 1 in steps of 1/256; use 0, or from 1/256 to 255/256"},
        {R"({"attention_probs_dropout_prob": 0.0019})", "attention_probs_dropout_prob 0.0019 rounds to 0"},
        {R"({"layer_norm_eps": -1e-9})", "layer_norm_eps"},
        {R"({"initializer_range": 0})", "initializer_range 0"},
        {R"({"position_embedding_type": "relative_key"})", "position_embedding_type"},
        {R"({"model_type": "roberta"})", "model_type"},
        {R"({"is_decoder": true})", "is_decoder"},
        {R"({"add_cross_attention": true})", "add_cross_attention"},
        {R"({"tie_word_embeddings": false})", "tie_word_embeddings"},
    };
    for (const Refused& refused : cases) {
        INFO(refused.changes);
        REQUIRE_THAT(refusal_of(refused.changes), Contains("config.json") && Contains(refused.named));
    }
    REQUIRE_THROWS_AS(parse_config("[1, 2]", "config.json"), Error);
    REQUIRE_THROWS_AS(parse_config("{\"vocab_size\": 1", "config.json"), Error);
    REQUIRE_THROWS_WITH(parse_config("{}", "config.json"), Contains("vocab_size"));
}

}  // namespace cloze::test
