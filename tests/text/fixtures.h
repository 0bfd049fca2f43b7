// A small vocabulary and short ways to tokenize with it, for every test of the text room.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "engine/text/tokenizer.h"
#include "engine/text/word_splitter.h"

namespace cloze::test {

/// Lines joined by LF, after the five special tokens.
inline std::string vocabulary_text(const std::vector<std::string>& tokens) {
    std::string contents = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n";
    for (const std::string& token : tokens) contents += token + "\n";
    return contents;
}

inline Vocabulary make_vocabulary(const std::vector<std::string>& tokens) {
    return Vocabulary::parse(vocabulary_text(tokens), "test");
}

inline std::vector<std::string> words_of(std::string_view text, const WordSplitter& splitter) {
    std::vector<std::string> words;
    Word scratch;
    splitter.split(text, scratch, [&](const Word& word) { words.push_back(word.text()); });
    return words;
}

inline std::vector<std::string> words_of(std::string_view text, const TokenizerOptions& options) {
    return words_of(text, WordSplitter(options));
}

inline std::vector<std::int32_t> ids_of(const Tokenizer& tokenizer, std::string_view text) {
    std::vector<std::int32_t> ids;
    tokenizer.encode(text, ids);
    return ids;
}

inline std::vector<std::string> tokens_of(const Tokenizer& tokenizer, std::string_view text) {
    std::vector<std::string> tokens;
    for (const std::int32_t id : ids_of(tokenizer, text)) tokens.push_back(tokenizer.vocabulary().token(id));
    return tokens;
}

inline constexpr TokenizerMode kModes[] = {TokenizerMode::google, TokenizerMode::hf};

}  // namespace cloze::test
