// Learns a WordPiece vocabulary from text: byte-pair merging over characters with ##, as BertWordPieceTokenizer.train
// of HuggingFace does. The same bytes at any number of threads and in any order of the text.
//
// Memory: every distinct word of the text is counted, none is dropped: about 100 bytes each, so 1 GB of English (some
// 2 million distinct words) needs 0.2 GB, and merging about as much again. Tested by
// tests/text/vocabulary_trainer_test.cpp.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "engine/text/tokenizer.h"

namespace cloze {

struct VocabularyOptions {
    std::int64_t vocab_size = 30522;
    std::int64_t min_frequency = 2;             // a pair seen less often is not merged
    std::int64_t limit_alphabet = 1000;         // the most frequent characters that may become pieces
    TokenizerOptions tokenizer = {};            // words are cut as this tokenizer will cut them
    std::vector<std::string> user_tokens = {};  // follow the special tokens, whatever the text
    std::int64_t unused = 0;                    // [unused0] ... for later use, after the user tokens
    int threads = 0;                            // that count words; 0: all cores. The result is the same
};

struct VocabularyTraining {
    std::string contents;               // vocab.txt
    std::int64_t size = 0;              // tokens; less than asked for when the text has no more pairs
    std::int64_t alphabet = 0;          // distinct characters kept
    std::int64_t alphabet_dropped = 0;  // distinct characters beyond limit_alphabet
    std::int64_t words = 0;             // running words of the text
    std::int64_t distinct_words = 0;
    std::int64_t pieces = 0;             // of the text under the new vocabulary
    std::int64_t unknown_words = 0;      // running words that become [UNK]
    std::int64_t invalid_sequences = 0;  // invalid UTF-8 replaced

    double pieces_per_word() const { return words > 0 ? static_cast<double>(pieces) / static_cast<double>(words) : 0; }
    double unknown_rate() const {
        return words > 0 ? static_cast<double>(unknown_words) / static_cast<double>(words) : 0;
    }
};

class VocabularyTrainer {
public:
    explicit VocabularyTrainer(const VocabularyOptions& options);
    ~VocabularyTrainer();

    /// Counts the words of `utf8`; no word spans two calls. Large chunks (megabytes) are counted in parallel.
    void add_text(std::string_view utf8);

    /// Merges until vocab_size or until no pair is frequent enough. `progress(done, wanted)` is called now and then.
    VocabularyTraining train(const std::function<void(std::int64_t, std::int64_t)>& progress = {}) const;

private:
    struct State;
    std::unique_ptr<State> state_;
};

}  // namespace cloze
