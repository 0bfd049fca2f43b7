// Text to normalised words: cleaning, CJK, accents, case, punctuation (BERT's basic tokenization). One implementation
// for the tokenizer's general path, its offsets, and vocabulary training. About 20 ns per character that is not ASCII.
// Tested by tests/text/word_splitter_test.cpp.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "engine/text/character_map.h"
#include "engine/text/utf8.h"

namespace cloze {

/// Characters of the original text, end exclusive.
struct SourceSpan {
    std::int64_t begin;
    std::int64_t end;
};

/// A normalised word while it is built and when it is handed over.
class Word {
public:
    explicit Word(bool keeps_sources = false) : keeps_sources_(keeps_sources) {}

    const std::string& text() const { return text_; }
    std::int64_t characters() const { return characters_; }
    /// One per character, where they are kept.
    const std::vector<SourceSpan>& sources() const { return sources_; }

    bool empty() const { return text_.empty(); }
    void clear();
    void append(char32_t code, SourceSpan source);
    /// Canonical ordering: `code` moves before the marks of a higher class that precede it.
    void append_ordered(char32_t code, std::uint8_t combining_class, SourceSpan source);
    void end_run() { run_.clear(); }

private:
    struct Mark {
        std::size_t byte;
        std::uint8_t combining_class;
    };

    bool keeps_sources_;
    std::int64_t characters_ = 0;
    std::string text_;
    std::vector<SourceSpan> sources_;
    std::vector<Mark> run_;  // the ordered marks at the end of the word
};

class WordSplitter {
public:
    explicit WordSplitter(const TokenizerOptions& options) : map_(options) {}

    struct Counts {
        std::int64_t characters = 0;  // of the original text
        std::int64_t invalid = 0;     // invalid UTF-8 sequences
        bool context = false;         // the outcome depended on what surrounds the part
    };

    /// Calls emit(const Word&) for every word of text[first, last). The rest of `text` is only context. `word` is
    /// scratch; sources count from `first_character`.
    template <typename Emit>
    Counts split(std::string_view text, std::size_t first, std::size_t last, std::int64_t first_character, Word& word,
                 const Emit& emit) const;

    template <typename Emit>
    Counts split(std::string_view text, Word& word, const Emit& emit) const {
        return split(text, 0, text.size(), 0, word, emit);
    }

    const CharacterMap& characters() const { return map_; }

private:
    template <typename Emit>
    void add(CharacterMap::Kind kind, char32_t code, SourceSpan source, Word& word, const Emit& emit) const;
    template <typename Emit>
    void add_alone(char32_t code, SourceSpan source, Word& word, const Emit& emit) const;
    template <typename Emit>
    static void flush(Word& word, const Emit& emit);
    static void add_hangul(char32_t syllable, SourceSpan source, Word& word);

    CharacterMap map_;
};

template <typename Emit>
void WordSplitter::flush(Word& word, const Emit& emit) {
    if (!word.empty()) emit(static_cast<const Word&>(word));
    word.clear();
}

template <typename Emit>
void WordSplitter::add_alone(char32_t code, SourceSpan source, Word& word, const Emit& emit) const {
    flush(word, emit);
    word.append(code, source);
    flush(word, emit);
}

template <typename Emit>
void WordSplitter::add(CharacterMap::Kind kind, char32_t code, SourceSpan source, Word& word, const Emit& emit) const {
    using Kind = CharacterMap::Kind;
    switch (kind) {
        case Kind::dropped: return;
        case Kind::barrier: word.end_run(); return;
        case Kind::space: flush(word, emit); return;
        case Kind::alone: add_alone(code, source, word, emit); return;
        case Kind::ordered: word.append_ordered(code, map_.combining_class(code), source); return;
        case Kind::hangul: add_hangul(code, source, word); return;
        case Kind::sequence:
            for (const char32_t part : map_.sequence(code)) add(map_.of_output(part), part, source, word, emit);
            return;
        case Kind::letter:
        case Kind::sigma: word.append(code, source); return;
    }
}

template <typename Emit>
WordSplitter::Counts WordSplitter::split(std::string_view text, std::size_t first, std::size_t last,
                                         std::int64_t first_character, Word& word, const Emit& emit) const {
    Counts counts;
    word.clear();
    for (std::size_t at = first; at < last;) {
        const Utf8Character c = decode_utf8(text.data() + at, static_cast<std::int64_t>(last - at));
        const std::int64_t position = first_character + counts.characters++;
        counts.invalid += c.valid ? 0 : 1;
        CharacterMap::Entry entry = map_.at(c.code);
        if (entry.kind == CharacterMap::Kind::sigma) {
            entry.code = map_.lower_sigma(text.substr(0, at), text.substr(at + static_cast<std::size_t>(c.bytes)));
            counts.context = true;
        }
        add(entry.kind, entry.code, {position, position + 1}, word, emit);
        at += static_cast<std::size_t>(c.bytes);
    }
    flush(word, emit);
    return counts;
}

}  // namespace cloze
