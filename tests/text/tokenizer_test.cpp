#include "engine/text/tokenizer.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <cstring>
#include <map>
#include <random>
#include <thread>

#include "engine/text/byte_scan.h"
#include "engine/text/piece_trie.h"
#include "engine/text/utf8.h"
#include "kernels/core/error.h"
#include "tests/support.h"
#include "tests/text/fixtures.h"

using namespace cloze;
using namespace cloze::test;
using Catch::Matchers::Contains;
using Tokens = std::vector<std::string>;

namespace {

const std::vector<std::string> kTokens = {"want", "##want", "##ed", "wa",  "un",  "runn", "##ing",  ",", "[",     "]",
                                          "mask", "a",      "##a",  "aff", "##b", "##ab", "\u535a", ".", "hello", "x"};

/// The obvious way: try every piece of every length.
std::vector<std::int32_t> slow_pieces(const Vocabulary& vocabulary, const std::string& word, TokenizerMode mode) {
    const auto characters = std::ranges::count_if(word, [](char c) { return (c & 0xC0) != 0x80; });
    if (characters > max_word_characters(mode)) return {vocabulary.special().unknown};
    std::vector<std::int32_t> ids;
    for (std::size_t start = 0; start < word.size();) {
        std::size_t end = word.size();
        std::optional<std::int32_t> id;
        for (; end > start && !id; --end)
            id = vocabulary.find((start > 0 ? "##" : "") + word.substr(start, end - start));
        if (!id) return {vocabulary.special().unknown};
        ids.push_back(*id);
        start = end + 1;
    }
    return ids;
}

/// The same for a text; mode hf cuts it at special tokens before anything else.
std::vector<std::int32_t> slow_ids(const Vocabulary& vocabulary, const std::string& text, const WordSplitter& splitter,
                                   TokenizerMode mode) {
    std::vector<std::int32_t> ids;
    std::string plain;
    const auto end_plain = [&] {
        for (const std::string& word : words_of(plain, splitter)) {
            for (const std::int32_t id : slow_pieces(vocabulary, word, mode)) ids.push_back(id);
        }
        plain.clear();
    };
    for (std::size_t at = 0; at < text.size();) {
        const auto special = std::ranges::find_if(kSpecialTokens, [&](std::string_view token) {
            return mode == TokenizerMode::hf && text.compare(at, token.size(), token) == 0;
        });
        if (special == std::end(kSpecialTokens)) {
            plain += text[at++];
        } else {
            end_plain();
            ids.push_back(*vocabulary.find(*special));
            at += special->size();
        }
    }
    end_plain();
    return ids;
}

std::string random_text(std::mt19937& random, const std::vector<std::string>& parts) {
    std::string text;
    for (int i = static_cast<int>(random() % 40); i > 0; --i) text += parts[random() % parts.size()];
    return text;
}

}  // namespace

TEST_CASE("a word is its longest pieces from the left") {
    const Tokenizer tokenizer(make_vocabulary(kTokens));
    CHECK(tokens_of(tokenizer, "UNwant\u00e9d,running") == Tokens{"un", "##want", "##ed", ",", "runn", "##ing"});
    CHECK(tokens_of(tokenizer, "unwantedX running") == Tokens{"[UNK]", "runn", "##ing"});
    CHECK(tokens_of(tokenizer, "aab") == Tokens{"a", "##ab"});
    CHECK(tokens_of(tokenizer, "").empty());
    CHECK(tokens_of(tokenizer, " \t\n").empty());
    CHECK(tokens_of(tokenizer, "x\u535ax") == Tokens{"x", "\u535a", "x"});
    CHECK(tokens_of(tokenizer, "?") == Tokens{"[UNK]"});
}

TEST_CASE("ids are appended") {
    const Tokenizer tokenizer(make_vocabulary(kTokens));
    std::vector<std::int32_t> ids = {7};
    tokenizer.encode("hello", ids);
    tokenizer.encode("", ids);
    tokenizer.encode("hello", ids);
    CHECK(ids ==
          std::vector<std::int32_t>{7, *tokenizer.vocabulary().find("hello"), *tokenizer.vocabulary().find("hello")});
}

TEST_CASE("special tokens in the text are matched in mode hf and split in mode google") {
    const Vocabulary vocabulary = make_vocabulary(kTokens);
    const Tokenizer hf(vocabulary, {.mode = TokenizerMode::hf});
    CHECK(tokens_of(hf, "hello[MASK]hello") == Tokens{"hello", "[MASK]", "hello"});
    CHECK(tokens_of(hf, "[[MASK]][MASK [mask]") == Tokens{"[", "[MASK]", "]", "[", "mask", "[", "mask", "]"});
    CHECK(tokens_of(hf, "[PAD][UNK][CLS][SEP][MASK]") == Tokens{"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"});
    const Tokenizer google(vocabulary, {.mode = TokenizerMode::google});
    CHECK(tokens_of(google, "hello[MASK]hello") == Tokens{"hello", "[", "mask", "]", "hello"});
}

TEST_CASE("a word above the limit of the mode is unknown, one at the limit is not") {
    for (const TokenizerMode mode : kModes) {
        const Tokenizer tokenizer(make_vocabulary({"a", "##a", "\u0431", "##\u0431"}), {.mode = mode});
        const auto limit = static_cast<std::size_t>(max_word_characters(mode));
        CHECK(limit == (mode == TokenizerMode::google ? 200 : 100));
        CHECK(ids_of(tokenizer, std::string(limit, 'a')).size() == limit);
        CHECK(tokens_of(tokenizer, std::string(limit + 1, 'a')) == Tokens{"[UNK]"});
        std::string cyrillic;
        for (std::size_t i = 0; i < limit; ++i) cyrillic += "\u0431";
        CHECK(ids_of(tokenizer, cyrillic).size() == limit);
        CHECK(tokens_of(tokenizer, cyrillic + "\u0431") == Tokens{"[UNK]"});
    }
    // A whole-word piece does not get around the limit.
    const std::string word(150, 'a');
    CHECK(tokens_of(Tokenizer(make_vocabulary({word}), {.mode = TokenizerMode::hf}), word) == Tokens{"[UNK]"});
    CHECK(tokens_of(Tokenizer(make_vocabulary({word}), {.mode = TokenizerMode::google}), word) == Tokens{word});
}

TEST_CASE("offsets count characters of the original text") {
    const Tokenizer tokenizer(make_vocabulary(kTokens));
    std::vector<Piece> pieces;
    //                  0 2        9 10       20   22
    tokenizer.encode_with_offsets("\u00e9 UNwant\u00e9d,\u535a[MASK] \u200bhello?", pieces);
    const Vocabulary& v = tokenizer.vocabulary();
    CHECK(pieces == std::vector<Piece>{{*v.find("[UNK]"), 0, 0, 1},
                                       {*v.find("un"), 1, 2, 4},
                                       {*v.find("##want"), 1, 4, 8},
                                       {*v.find("##ed"), 1, 8, 10},
                                       {*v.find(","), 2, 10, 11},
                                       {*v.find("\u535a"), 3, 11, 12},
                                       {*v.find("[MASK]"), 4, 12, 18},
                                       {*v.find("hello"), 5, 20, 25},
                                       {*v.find("[UNK]"), 6, 25, 26}});
    pieces.clear();
    CHECK(tokenizer.encode_with_offsets("\xff"
                                        "a\xe2\x82 x",
                                        pieces) == 2);
    CHECK(pieces == std::vector<Piece>{{*v.find("a"), 0, 1, 2}, {*v.find("x"), 1, 4, 5}});
}

TEST_CASE("plain, cached and offset encodings agree, and each piece is the greedy one, on random text") {
    std::mt19937 random(1);
    const std::vector<std::string> parts = {"a",      "b",        "ab",     "unwanted", "UN",
                                            " ",      " ",        ", ",     "[MASK]",   "[",
                                            "\u00e9", "\u0301",   "\u03a3", "\u535a",   "\u0130",
                                            "\xff",   "\xe2\x82", "\n",     "running",  "aaaaaaaabbbbbbbbaaaaaaaa",
                                            "\x01",   "hello",    ".",      "\u200b",   "\u2260",
                                            "\uac00", "x"};
    const Vocabulary vocabulary = make_vocabulary(kTokens);
    for (const TokenizerMode mode : kModes) {
        for (const bool lowercase : {true, false}) {
            const TokenizerOptions options{.mode = mode, .lowercase = lowercase};
            const Tokenizer tokenizer(vocabulary, options);
            const WordSplitter splitter(options);
            WordCache cache;
            for (int i = 0; i < 4000; ++i) {
                const std::string text = random_text(random, parts);
                std::vector<std::int32_t> plain, cached, from_offsets;
                std::vector<Piece> pieces;
                const std::int64_t invalid = tokenizer.encode(text, plain);
                CHECK(tokenizer.encode(text, cached, cache) == invalid);
                CHECK(tokenizer.encode_with_offsets(text, pieces) == invalid);
                for (const Piece& piece : pieces) from_offsets.push_back(piece.id);
                if (plain != cached || plain != from_offsets || plain != slow_ids(vocabulary, text, splitter, mode))
                    FAIL(text);
            }
        }
    }
}

TEST_CASE("a word cache that meets another tokenizer starts anew") {
    const Tokenizer one(make_vocabulary({"hello", "filler"}));
    const Tokenizer other(make_vocabulary({"filler", "hello"}));
    const std::string text = "hello hello hello hello";
    WordCache cache;
    for (const Tokenizer* tokenizer : {&one, &other, &one}) {
        std::vector<std::int32_t> ids;
        tokenizer->encode(text, ids, cache);
        CHECK(ids == ids_of(*tokenizer, text));
    }
}

TEST_CASE("threads may share a tokenizer") {
    const Tokenizer tokenizer(make_vocabulary(kTokens));
    std::string text;
    for (int i = 0; i < 2000; ++i) text += "unwanted running, hello \u00e9 \u535a ";
    const std::vector<std::int32_t> expected = ids_of(tokenizer, text);
    std::vector<std::vector<std::int32_t>> found(4);
    std::vector<std::thread> threads;
    for (auto& ids : found) {
        threads.emplace_back([&] {
            WordCache cache;
            tokenizer.encode(text, ids, cache);
        });
    }
    for (std::thread& thread : threads) thread.join();
    for (const auto& ids : found) CHECK(ids == expected);
}

TEST_CASE("the piece trie holds exactly the vocabulary") {
    std::mt19937 random(2);
    std::map<std::string, std::int32_t> begins, continues;
    std::vector<std::string> tokens;
    for (int i = 0; i < 20000; ++i) {
        std::string token;
        for (int length = 1 + static_cast<int>(random() % 6); length > 0; --length)
            append_utf8(token, "abcdef\u00e9"[random() % 7] & 0x7F);
        if (random() % 4 == 0) append_utf8(token, 0x4E00 + random() % 500);
        const bool continuation = random() % 2 == 0;
        auto& known = continuation ? continues : begins;
        if (known.try_emplace(token, 5 + static_cast<std::int32_t>(tokens.size())).second) {
            tokens.push_back((continuation ? "##" : "") + token);
        }
    }
    const PieceTrie trie(make_vocabulary(tokens));
    std::array<unsigned char, 256> fold;
    for (std::size_t c = 0; c < 256; ++c) fold[c] = static_cast<unsigned char>(c);
    for (const auto& [known, root] :
         {std::pair{&begins, PieceTrie::begins_word}, std::pair{&continues, PieceTrie::continues_word}}) {
        for (const auto& [token, id] : *known) {
            const auto match = trie.longest(root, token.data(), token.data() + token.size(), fold.data());
            if (match.id != id || match.bytes != static_cast<std::int32_t>(token.size())) FAIL(token);
        }
    }
    const std::string other = "zzz";
    CHECK(trie.longest(PieceTrie::begins_word, other.data(), other.data() + 3, fold.data()).id == -1);
}

TEST_CASE("a short run ends where the first space or punctuation stands, for every byte and place") {
    for (int c = 0; c < 256; ++c) {
        for (int place = 0; place < kShortRun; ++place) {
            std::string text(kShortRun, 'x');
            text[static_cast<std::size_t>(place)] = static_cast<char>(c);
            const ShortRun run = short_run<false>(text.data(), text.data() + kShortRun);
            const bool ends = ends_run(static_cast<char>(c));
            char key[kShortRun];
            std::memcpy(key, &run.low, 8);
            std::memcpy(key + 8, &run.high, 8);
            std::string expected = text.substr(0, static_cast<std::size_t>(ends ? place : kShortRun));
            expected.resize(kShortRun, '\0');
            if (run.bytes != (ends ? place : kShortRun) || expected != std::string(key, kShortRun)) {
                FAIL("byte " << c << " at " << place);
            }
        }
    }
}

TEST_CASE("modes are known by name, and carry what they are frozen to") {
    for (const TokenizerMode mode : kModes) CHECK(parse_tokenizer_mode(to_string(mode)) == mode);
    CHECK(tokenizer_mode_name(TokenizerMode::google) == "google (Unicode 14.0)");
    CHECK_THAT(tokenizer_mode_name(TokenizerMode::hf), Contains("hf (tokenizers 0."));
    CHECK_THROWS_WITH(parse_tokenizer_mode("fast"), Contains("choose google or hf"));
}
