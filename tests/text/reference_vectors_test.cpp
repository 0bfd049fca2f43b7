// Published tokenizer vectors, reproduced exactly. The files are external (CLOZE_TEST_DATA); the rules they exercise
// are all tested by word_splitter_test.cpp and tokenizer_test.cpp without them.
#include <catch2/catch.hpp>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>

#include "engine/text/tokenizer.h"
#include "tests/support.h"
#include "tests/text/fixtures.h"

using namespace cloze;
using namespace cloze::test;
using Json = nlohmann::json;
using Tokens = std::vector<std::string>;

namespace {

/// The unpacked contents of an .xz file, by the xz program.
std::string unpack(const std::filesystem::path& file) {
    const std::unique_ptr<FILE, int (*)(FILE*)> pipe(popen(("xz -dc '" + file.string() + "'").c_str(), "r"), pclose);
    std::string contents;
    char block[1 << 16];
    for (std::size_t n; (n = std::fread(block, 1, sizeof block, pipe.get())) > 0;) contents.append(block, n);
    return contents;
}

Tokenizer load(const std::filesystem::path& data, const char* vocabulary, const TokenizerOptions& options) {
    return Tokenizer(Vocabulary::read(data / "vocab" / vocabulary), options);
}

}  // namespace

TEST_CASE("Google's own test cases reproduce") {
    const auto data = test_data();
    if (!data) return skip("CLOZE_TEST_DATA is not set");
    const Json file = Json::parse(read_file(*data / "tokenizer" / "google-tokenization-test-cases.json"));
    int cases = 0;
    for (const Json& test : file["basic_tokenizer"]) {
        const TokenizerOptions options{.mode = TokenizerMode::google, .lowercase = test["do_lower_case"]};
        CHECK(words_of(test["text"].get<std::string>(), options) == test["tokens"].get<Tokens>());
        ++cases;
    }
    const auto with_special = [](const Json& tokens) {
        // Those vocabularies lack tokens that ours require; appended, they change no id.
        std::string contents;
        for (const Json& token : tokens) contents += token.get<std::string>() + "\n";
        for (const std::string_view token : kSpecialTokens) {
            if (std::find(tokens.begin(), tokens.end(), token) == tokens.end()) contents += std::string(token) + "\n";
        }
        return Vocabulary::parse(contents, "google");
    };
    for (const char* group : {"full_tokenizer", "wordpiece_tokenizer"}) {
        if (!file.contains(group)) continue;
        for (const Json& test : file[group]) {
            const bool lowercase = test.value("do_lower_case", false);
            const Tokenizer tokenizer(with_special(test["vocab"]),
                                      {.mode = TokenizerMode::google, .lowercase = lowercase});
            CHECK(tokens_of(tokenizer, test["text"].get<std::string>()) == test["tokens"].get<Tokens>());
            if (test.contains("ids"))
                CHECK(ids_of(tokenizer, test["text"].get<std::string>()) ==
                      test["ids"].get<std::vector<std::int32_t>>());
            ++cases;
        }
    }
    CHECK(cases > 4);
}

TEST_CASE("10,570 SQuAD questions reproduce: words, pieces and ids") {
    const auto data = test_data();
    if (!data) return skip("CLOZE_TEST_DATA is not set");
    const Json questions = Json::parse(unpack(*data / "tokenizer" / "question_tokens.json.xz"));
    const Json ids = Json::parse(read_file(*data / "tokenizer" / "tokenized_questions.json"));
    REQUIRE(questions.size() == 10570);
    REQUIRE(ids.size() == questions.size());
    for (const TokenizerMode mode : kModes) {
        const Tokenizer tokenizer = load(*data, "bert-base-uncased-vocab.txt", {.mode = mode});
        const WordSplitter splitter({.mode = mode});
        int wrong = 0;
        for (std::size_t i = 0; i < questions.size(); ++i) {
            const std::string text = questions[i]["original"];
            const bool right = words_of(text, splitter) == questions[i]["basic"].get<Tokens>() &&
                               tokens_of(tokenizer, text) == questions[i]["wordpiece"].get<Tokens>() &&
                               ids_of(tokenizer, text) == ids[i].get<std::vector<std::int32_t>>();
            wrong += right ? 0 : 1;
        }
        CHECK(wrong == 0);
    }
}

TEST_CASE("HuggingFace's tokenizer cases reproduce, uncased and multilingual cased") {
    const auto data = test_data();
    if (!data) return skip("CLOZE_TEST_DATA is not set");
    const Json file = Json::parse(read_file(*data / "tokenizer" / "tokenizer_tests.json"));
    const auto check = [&](const char* model, const char* vocabulary, bool lowercase) {
        const Tokenizer tokenizer = load(*data, vocabulary, {.lowercase = lowercase});
        const SpecialIds& special = tokenizer.vocabulary().special();
        REQUIRE(file[model].size() == 18);
        for (const Json& test : file[model]) {
            std::vector<std::int32_t> ids = {special.cls};
            tokenizer.encode(test["input"].get<std::string>(), ids);
            ids.push_back(special.sep);
            INFO(test["input"]);
            CHECK(ids == test["encoded"]["input_ids"].get<std::vector<std::int32_t>>());
        }
    };
    check("google-bert/bert-base-uncased", "bert-base-uncased-vocab.txt", true);
    check("distilbert/distilbert-base-multilingual-cased", "bert-base-multilingual-cased-vocab.txt", false);
}

TEST_CASE("released vocabularies are read whole") {
    const auto data = test_data();
    if (!data) return skip("CLOZE_TEST_DATA is not set");
    const auto size = [&](const char* name) { return Vocabulary::read(*data / "vocab" / name).size(); };
    CHECK(size("bert-base-uncased-vocab.txt") == 30522);
    CHECK(size("bert-base-cased-vocab.txt") == 28996);
    CHECK(size("bert-base-chinese-vocab.txt") == 21128);
    CHECK(size("bert-base-multilingual-cased-vocab.txt") == 119547);
    const Vocabulary uncased = Vocabulary::read(*data / "vocab" / "bert-base-uncased-vocab.txt");
    CHECK(uncased.special().mask == 103);
    CHECK(uncased.contents() == read_file(*data / "vocab" / "bert-base-uncased-vocab.txt"));
}
