// What one character becomes under given tokenizer options: cleaning, CJK, accents and case folded into one look-up
// that costs two loads. Built in a few milliseconds from the tables of the mode. Tested by
// tests/text/word_splitter_test.cpp.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "engine/text/tokenizer.h"
#include "engine/text/unicode_tables.h"

namespace cloze {

class CharacterMap {
public:
    enum class Kind : std::uint8_t {
        letter,    // part of a word
        dropped,   // leaves nothing behind
        space,     // ends a word
        alone,     // punctuation or CJK: a word of its own
        barrier,   // a stripped mark of combining class 0: leaves nothing, but marks do not move across it
        ordered,   // part of a word, moved before marks of higher combining class
        sequence,  // becomes several characters, each looked up again with of_output()
        hangul,    // a syllable that becomes two or three jamo
        sigma,     // U+03A3, whose lower case depends on its neighbours
    };

    struct Entry {
        Kind kind;
        char32_t code;  // the character it becomes; for a sequence its index
    };

    explicit CharacterMap(const TokenizerOptions& options);

    Entry at(char32_t code) const {
        const std::uint32_t packed = blocks_[pages_[code >> 8] + (code & 0xFF)];
        const char32_t other = packed & 0xFFFFFF;
        return {static_cast<Kind>(packed >> 24), other == 0 ? code : other};
    }

    std::u32string_view sequence(char32_t index) const { return sequences_[index]; }
    /// letter, alone or ordered: what a character is that a sequence ended in.
    Kind of_output(char32_t code) const;
    std::uint8_t combining_class(char32_t code) const;

    /// The lower case of the capital sigma that `before` and `after` enclose up to the ends of the text.
    char32_t lower_sigma(std::string_view before, std::string_view after) const;

private:
    using Packed = std::uint32_t;
    void set(char32_t code, Kind kind, char32_t other);
    void set_ranges(std::span<const CodeRange> ranges, Kind kind);
    void set_outputs(char32_t code, const std::u32string& outputs);
    void set_foldings(const TokenizerOptions& options);
    void compress();

    const UnicodeTables* tables_;
    bool split_cjk_;
    std::vector<Packed> flat_;  // while building
    std::vector<std::uint32_t> pages_;
    std::vector<Packed> blocks_;
    std::vector<std::u32string> sequences_;
};

}  // namespace cloze
