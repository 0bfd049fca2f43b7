#include "engine/text/word_splitter.h"

#include <catch2/catch.hpp>

#include "tests/text/fixtures.h"

using namespace cloze;
using test::kModes;
using test::words_of;
using Words = std::vector<std::string>;

namespace {

constexpr TokenizerMode google = TokenizerMode::google;
constexpr TokenizerMode hf = TokenizerMode::hf;

Words lower(TokenizerMode mode, std::string_view text) {
    return words_of(text, {.mode = mode});
}
Words cased(TokenizerMode mode, std::string_view text) {
    return words_of(text, {.mode = mode, .lowercase = false});
}

}  // namespace

TEST_CASE("words are cut at white space and around punctuation, in both modes") {
    for (const TokenizerMode mode : kModes) {
        CHECK(lower(mode, " \tHeLLo!how  \n Are yoU?  ") == Words{"hello", "!", "how", "are", "you", "?"});
        CHECK(cased(mode, " \tHeLLo!how  \n Are yoU?  ") == Words{"HeLLo", "!", "how", "Are", "yoU", "?"});
        CHECK(lower(mode, "$5+`x`^~|<=>") == Words{"$", "5", "+", "`", "x", "`", "^", "~", "|", "<", "=", ">"});
        CHECK(lower(mode, "a\u2014b\u00bfc\u3002") == Words{"a", "\u2014", "b", "\u00bf", "c", "\u3002"});
        CHECK(lower(mode, "") == Words{});
        CHECK(lower(mode, " \u3000\u00a0\u2003\r\n") == Words{});
        CHECK(lower(mode, "a\u2028b\u2029c") == Words{"a", "b", "c"});
    }
}

TEST_CASE("control and format characters vanish without cutting the word") {
    for (const TokenizerMode mode : kModes) {
        CHECK(lower(mode, std::string_view("a\0b\x01"
                                           "c\x7f"
                                           "d",
                                           7)) == Words{"abcd"});
        CHECK(lower(mode, "a\u00adb\u200bc\u200dd\ufeffe\ufffdf\u0085g\x0bh") == Words{"abcdefgh"});
    }
}

TEST_CASE("private use vanishes in mode hf and stays in mode google, and unassigned characters stay in both") {
    CHECK(lower(hf, "a\ue000b") == Words{"ab"});
    CHECK(lower(google, "a\ue000b") == Words{"a\ue000b"});
    for (const TokenizerMode mode : kModes) CHECK(lower(mode, "a\u0b78b") == Words{"a\u0b78b"});
}

TEST_CASE("accents go with case, and on their own when asked") {
    for (const TokenizerMode mode : kModes) {
        CHECK(lower(mode, "H\u00e9llo na\u0308h \u1ec7") == Words{"hello", "nah", "e"});
        CHECK(cased(mode, "H\u00e9llo") == Words{"H\u00e9llo"});
        CHECK(words_of("H\u00e9LLO", {.mode = mode, .strip_accents = false}) == Words{"h\u00e9llo"});
        CHECK(words_of("H\u00e9LLO", {.mode = mode, .lowercase = false, .strip_accents = true}) == Words{"HeLLO"});
        CHECK(lower(mode, "\u0301") == Words{});
        CHECK(lower(mode, "\u0130") == Words{"i"});
        CHECK(words_of("\u0130", {.mode = mode, .strip_accents = false}) == Words{"i\u0307"});
        CHECK(lower(mode, "\ud55c\uae00") == Words{"\u1112\u1161\u11ab\u1100\u1173\u11af"});
        CHECK(cased(mode, "\ud55c\uae00") == Words{"\ud55c\uae00"});
    }
}

TEST_CASE("punctuation is judged after folding: a struck equals sign and the Greek question mark cut words") {
    for (const TokenizerMode mode : kModes) {
        CHECK(lower(mode, "a\u2260b") == Words{"a", "=", "b"});
        CHECK(lower(mode, "a\u037eb") == Words{"a", ";", "b"});
        CHECK(cased(mode, "a\u2260b") == Words{"a\u2260b"});
    }
}

TEST_CASE("every CJK character is a word, but for the gap of mode hf in block E, and kana and hangul are not") {
    for (const TokenizerMode mode : kModes) {
        CHECK(lower(mode, "ah\u535a\u63a8zz") == Words{"ah", "\u535a", "\u63a8", "zz"});
        CHECK(lower(mode, "\uf900") == Words{"\u8c48"});
        CHECK(cased(mode, "\uf900") == Words{"\uf900"});
        CHECK(lower(mode, "\u3042\u3044") == Words{"\u3042\u3044"});
        CHECK(words_of("a\u535ab", {.mode = mode, .tokenize_chinese_chars = false}) == Words{"a\u535ab"});
        CHECK(lower(mode, "a\U0002b920b") == Words{"a", "\U0002b920", "b"});
    }
    CHECK(lower(google, "a\U0002b820b") == Words{"a", "\U0002b820", "b"});
    CHECK(lower(hf, "a\U0002b820b") == Words{"a\U0002b820b"});
}

TEST_CASE("a capital sigma is final in mode google by what stands around it, and never in mode hf") {
    CHECK(lower(google, "\u039f\u0394\u039f\u03a3 \u03a3\u0391 \u03a3") ==
          Words{"\u03bf\u03b4\u03bf\u03c2", "\u03c3\u03b1", "\u03c3"});
    CHECK(lower(hf, "\u039f\u0394\u039f\u03a3") == Words{"\u03bf\u03b4\u03bf\u03c3"});
    // Ignorable characters are looked through, dropped ones are not there, CJK ends the word.
    CHECK(lower(google, "A\u03a3'b") == Words{"a\u03c3", "'", "b"});
    CHECK(lower(google, "A\u03a3'5") == Words{"a\u03c2", "'", "5"});
    CHECK(lower(google, "A\u03a3\u200bb") == Words{"a\u03c3b"});
    CHECK(lower(google, "A\u0301\u03a3") == Words{"a\u03c2"});
    CHECK(lower(google, "A\u03a3\u535ab") == Words{"a\u03c2", "\u535a", "b"});
    CHECK(lower(google, "A\u535a\u03a3") == Words{"a", "\u535a", "\u03c3"});
    CHECK(lower(google,
                "A\x80\u03a3\xff"
                "b") == Words{"a\u03c3b"});
}

TEST_CASE("marks that stay are put into canonical order, and marks of class zero are not crossed") {
    // U+302E (class 224) and U+1D165 (class 216) are spacing marks, so stripping keeps them.
    for (const TokenizerMode mode : kModes) {
        CHECK(lower(mode, "a\u302e\U0001d165") == Words{"a\U0001d165\u302e"});
        CHECK(lower(mode, "a\u302e\u0301\U0001d165") == Words{"a\U0001d165\u302e"});
        CHECK(lower(mode, "a\u302e\u0901\U0001d165") == Words{"a\u302e\U0001d165"});  // U+0901: nonspacing, class 0
        CHECK(lower(mode, "a\u302eb\U0001d165") == Words{"a\u302eb\U0001d165"});
        CHECK(cased(mode, "a\u302e\U0001d165") == Words{"a\u302e\U0001d165"});
    }
}

TEST_CASE("invalid UTF-8 is dropped and counted by sequence, as Python's replacement cuts it") {
    const auto invalid = [](std::string_view text) {
        Word scratch;
        return WordSplitter({}).split(text, scratch, [](const Word&) {}).invalid;
    };
    CHECK(invalid("caf\u00e9 \U0001f600") == 0);
    CHECK(invalid("\xff") == 1);
    CHECK(invalid("\x80\x80") == 2);
    CHECK(invalid("\xe2\x82") == 1);  // the beginning of a character
    CHECK(invalid("\xe2\x82"
                  "a") == 1);
    CHECK(invalid("\xf0\x9f\x98") == 1);
    CHECK(invalid("\xed\xa0\x80") == 3);      // a surrogate
    CHECK(invalid("\xc0\xaf") == 2);          // overlong
    CHECK(invalid("\xf4\x90\x80\x80") == 4);  // beyond U+10FFFF
    CHECK(invalid("\xf5\x80") == 2);
    CHECK(words_of("a\xff"
                   "b \xe2\x82"
                   "c",
                   {}) == Words{"ab", "c"});
}

TEST_CASE("UTF-8 is written as it is read, for every code point") {
    for (char32_t c = 0; c < kCodePoints; ++c) {
        if (c >= 0xD800 && c < 0xE000) continue;
        char bytes[4];
        const int length = encode_utf8(bytes, c);
        const Utf8Character read = decode_utf8(bytes, length);
        if (read.code != c || read.bytes != length || !read.valid) FAIL("code point " << static_cast<std::uint32_t>(c));
        if (length > 1 && decode_utf8(bytes, length - 1).valid)
            FAIL("cut code point " << static_cast<std::uint32_t>(c));
    }
}
