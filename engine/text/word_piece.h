// The greedy longest match of a word's pieces: the same for the tokenizer and for the statistics of a new vocabulary.
// Tested by tests/text/tokenizer_test.cpp.
#pragma once

#include <array>
#include <cstdint>

#include "engine/text/piece_trie.h"
#include "engine/text/tokenizer.h"

namespace cloze {

class WordPiece {
public:
    WordPiece(const Vocabulary& vocabulary, const TokenizerOptions& options)
        : trie_(vocabulary),
          unknown_(vocabulary.special().unknown),
          max_characters_(max_word_characters(options.mode)) {
        for (int c = 0; c < 256; ++c) {
            const bool upper = options.lowercase && c >= 'A' && c <= 'Z';
            fold_[static_cast<std::size_t>(c)] = static_cast<unsigned char>(upper ? c - 'A' + 'a' : c);
        }
    }

    /// Calls emit(id, first byte, end byte, replaces_word) for the pieces of a word. With `replaces_word` the whole
    /// word is [UNK], and pieces that were emitted before are void. Case of ASCII letters need not have been folded.
    template <typename Emit>
    void match(const char* first, const char* end, std::int64_t characters, const Emit& emit) const {
        const auto whole = static_cast<std::int32_t>(end - first);
        if (characters > max_characters_) return emit(unknown_, 0, whole, true);
        PieceTrie::Root root = PieceTrie::begins_word;
        for (const char* at = first; at != end; root = PieceTrie::continues_word) {
            const PieceTrie::Match match = trie_.longest(root, at, end, fold_.data());
            if (match.id < 0) return emit(unknown_, 0, whole, true);
            const auto begin = static_cast<std::int32_t>(at - first);
            emit(match.id, begin, begin + match.bytes, false);
            at += match.bytes;
        }
    }

private:
    PieceTrie trie_;
    std::int32_t unknown_;
    std::int64_t max_characters_;            // of a word; a longer one is [UNK]
    std::array<unsigned char, 256> fold_{};  // every byte but an ASCII capital is itself
};

}  // namespace cloze
