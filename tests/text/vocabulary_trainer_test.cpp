#include "engine/text/vocabulary_trainer.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <map>
#include <random>
#include <set>
#ifdef _OPENMP
#include <omp.h>
#endif

#include "kernels/core/error.h"
#include "tests/text/fixtures.h"

using namespace cloze;
using namespace cloze::test;
using Catch::Matchers::Contains;
using Tokens = std::vector<std::string>;

namespace {

Tokens lines_of(const std::string& contents) {
    Tokens lines;
    for (std::size_t at = 0; at < contents.size();) {
        const std::size_t end = contents.find('\n', at);
        lines.push_back(contents.substr(at, end - at));
        at = end + 1;
    }
    return lines;
}

Tokens train(std::string_view text, const VocabularyOptions& options) {
    VocabularyTrainer trainer(options);
    trainer.add_text(text);
    return lines_of(trainer.train().contents);
}

/// Words of a made-up language, some of them frequent.
std::string made_up_text(std::int64_t words, unsigned seed) {
    std::mt19937 random(seed);
    const char* syllables[] = {"ka", "to", "mi", "ren", "sol", "a", "est", "o", "qu", "\u00e9l", "\u0431\u0430"};
    std::string text;
    for (std::int64_t i = 0; i < words; ++i) {
        for (unsigned n = 1 + random() % 4; n > 0; --n) text += syllables[std::min(random() % 11, random() % 11)];
        text += i % 17 == 0 ? ".\n" : " ";
    }
    return text;
}

/// Counts all pairs anew for every merge.
Tokens slow_train(const std::map<Tokens, std::int64_t>& words, Tokens vocabulary, std::size_t size,
                  std::int64_t min_frequency) {
    std::vector<std::pair<Tokens, std::int64_t>> state(words.begin(), words.end());
    const auto id = [&](const std::string& piece) {
        return std::find(vocabulary.begin(), vocabulary.end(), piece) - vocabulary.begin();
    };
    while (vocabulary.size() < size) {
        std::map<std::pair<std::ptrdiff_t, std::ptrdiff_t>, std::int64_t> pairs;
        for (const auto& [pieces, times] : state) {
            for (std::size_t i = 0; i + 1 < pieces.size(); ++i) pairs[{id(pieces[i]), id(pieces[i + 1])}] += times;
        }
        const auto best = std::max_element(pairs.begin(), pairs.end(),
                                           [](const auto& a, const auto& b) { return a.second < b.second; });
        if (best == pairs.end() || best->second < min_frequency) break;
        const std::string left = vocabulary[static_cast<std::size_t>(best->first.first)];
        const std::string right = vocabulary[static_cast<std::size_t>(best->first.second)];
        const std::string joined = left + right.substr(2);
        if (id(joined) == static_cast<std::ptrdiff_t>(vocabulary.size())) vocabulary.push_back(joined);
        for (auto& [pieces, times] : state) {
            for (std::size_t i = 0; i + 1 < pieces.size(); ++i) {
                if (pieces[i] != left || pieces[i + 1] != right) continue;
                pieces[i] = joined;
                pieces.erase(pieces.begin() + static_cast<std::ptrdiff_t>(i) + 1);
            }
        }
    }
    return vocabulary;
}

}  // namespace

TEST_CASE("a vocabulary begins with the special tokens, then the alphabet, then the merges by frequency") {
    CHECK(train("ab ab ab abc b", {.vocab_size = 100}) ==
          Tokens{"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "b", "c", "##b", "##c", "ab"});
    CHECK(train("ab ab ab abc b", {.vocab_size = 100, .min_frequency = 1}).back() == "abc");
    CHECK(train("ab ab ab abc b", {.vocab_size = 10}).size() == 10);
}

TEST_CASE("a pair rarer than min_frequency is not merged") {
    const Tokens tokens = train("xy xy xy zw zw", {.vocab_size = 100, .min_frequency = 3});
    CHECK(std::count(tokens.begin(), tokens.end(), "xy") == 1);
    CHECK(std::count(tokens.begin(), tokens.end(), "zw") == 0);
}

TEST_CASE("among equally frequent pairs the one with the smaller ids wins") {
    const Tokens tokens = train("ba ba dc dc", {.vocab_size = 100});
    CHECK(std::vector<std::string>(tokens.end() - 2, tokens.end()) == Tokens{"ba", "dc"});
}

TEST_CASE("user tokens and unused slots follow the special tokens and are not learned twice") {
    const Tokens tokens = train("ab ab abc abc abc", {.vocab_size = 100, .user_tokens = {"covid", "ab"}, .unused = 2});
    CHECK(std::vector<std::string>(tokens.begin() + 5, tokens.begin() + 9) ==
          Tokens{"covid", "ab", "[unused0]", "[unused1]"});
    CHECK(std::count(tokens.begin(), tokens.end(), "ab") == 1);
    CHECK(std::count(tokens.begin(), tokens.end(), "abc") == 1);
}

TEST_CASE("words are cut and folded as the tokenizer will do it") {
    const Tokens lower = train("H\u00c9llo, h\u00e9llo", {.vocab_size = 100});
    CHECK(lower.back() == "hello");
    CHECK(std::count(lower.begin(), lower.end(), ",") == 1);
    const Tokens cased = train("HELlo HELlo", {.vocab_size = 100, .tokenizer = {.lowercase = false}});
    CHECK(cased.back() == "HELlo");
    const Tokens greek =
        train("\u0391\u03a3.\u03a3 \u0391\u03a3", {.vocab_size = 100, .tokenizer = {.mode = TokenizerMode::google}});
    CHECK(std::count(greek.begin(), greek.end(), "##\u03c2") == 1);
    CHECK(std::count(greek.begin(), greek.end(), "\u03c2") ==
          1);  // of the alphabet, and the second word of A\u03a3.\u03a3
}

TEST_CASE("only the most frequent characters become pieces, and the rest is reported as unknown") {
    VocabularyTrainer trainer({.vocab_size = 100, .limit_alphabet = 2});
    trainer.add_text("aaa aaa bb bb cab");
    const VocabularyTraining result = trainer.train();
    const Tokens tokens = lines_of(result.contents);
    CHECK(std::count(tokens.begin(), tokens.end(), "c") == 0);
    CHECK(std::count(tokens.begin(), tokens.end(), "##ab") == 0);
    CHECK(result.alphabet == 2);
    CHECK(result.alphabet_dropped == 1);
    CHECK(result.words == 5);
    CHECK(result.distinct_words == 3);
    CHECK(result.unknown_words == 1);
    CHECK(result.unknown_rate() == Approx(0.2));
}

TEST_CASE("training finds what counting all pairs anew for every merge finds") {
    for (unsigned seed = 0; seed < 5; ++seed) {
        const std::string text = made_up_text(300, seed);
        VocabularyTrainer trainer({.vocab_size = 150, .tokenizer = {.lowercase = false}});
        trainer.add_text(text);
        const Tokens found = lines_of(trainer.train().contents);
        std::map<Tokens, std::int64_t> words;
        std::set<std::string> characters, later;  // UTF-8 sorts as its code points do
        for (const std::string& word : words_of(text, {.lowercase = false})) {
            Tokens pieces;
            for (std::size_t at = 0; at < word.size();) {
                const auto left = static_cast<std::int64_t>(word.size() - at);
                const auto bytes = static_cast<std::size_t>(decode_utf8(word.data() + at, left).bytes);
                const std::string character = word.substr(at, bytes);
                characters.insert(character);
                if (at > 0) later.insert("##" + character);
                pieces.push_back(at > 0 ? "##" + character : character);
                at += bytes;
            }
            ++words[pieces];
        }
        Tokens start(kSpecialTokens, kSpecialTokens + std::size(kSpecialTokens));
        start.insert(start.end(), characters.begin(), characters.end());
        start.insert(start.end(), later.begin(), later.end());
        CHECK(slow_train(words, start, 150, 2) == found);
    }
}

TEST_CASE("the same bytes at any number of threads, in any order, in any chunks") {
    const std::string text = made_up_text(400000, 7);
    REQUIRE(text.size() > 2 << 20);
    const auto contents = [&](int threads, bool reversed) {
#ifdef _OPENMP
        const int before = omp_get_max_threads();
        omp_set_num_threads(threads);
#else
        static_cast<void>(threads);
#endif
        VocabularyTrainer trainer({.vocab_size = 500});
        if (reversed) {
            const std::size_t middle = text.find('\n', text.size() / 2);
            trainer.add_text(std::string_view(text).substr(middle));
            trainer.add_text(std::string_view(text).substr(0, middle));
        } else {
            trainer.add_text(text);
        }
#ifdef _OPENMP
        omp_set_num_threads(before);
#endif
        return trainer.train().contents;
    };
    const std::string expected = contents(1, false);
    CHECK(lines_of(expected).size() == 500);
    CHECK(contents(2, false) == expected);
    CHECK(contents(3, false) == expected);
    CHECK(contents(3, true) == expected);
}

TEST_CASE("the tokenizer finds the pieces a word per training says it has") {
    const std::string text = made_up_text(5000, 11);
    VocabularyTrainer trainer({.vocab_size = 200});
    trainer.add_text(text);
    const VocabularyTraining result = trainer.train();
    const Tokenizer tokenizer(Vocabulary::parse(result.contents, "trained"));
    CHECK(static_cast<std::int64_t>(ids_of(tokenizer, text).size()) == result.pieces);
    CHECK(result.unknown_words == 0);
    CHECK(result.size == tokenizer.vocabulary().size());
}

TEST_CASE("training that cannot be done says what would") {
    CHECK_THROWS_WITH(train("the quick brown fox", {.vocab_size = 20}),
                      Contains("vocab_size 20 is too small") && Contains("need 31"));
    CHECK_NOTHROW(train("the quick brown fox", {.vocab_size = 31}));
    CHECK_THROWS_WITH(train(" \n", {}), Contains("no words"));
    CHECK_THROWS_WITH(VocabularyTrainer({.vocab_size = 0}), Contains("must be positive"));
    CHECK_THROWS_WITH(VocabularyTrainer({.user_tokens = {"a b"}}), Contains("'a b'"));
    VocabularyTrainer trainer({.vocab_size = 50});
    trainer.add_text(
        "a\xff"
        "b a\xff"
        "b \xe2\x82");
    CHECK(trainer.train().invalid_sequences == 3);
}
