// Text to WordPiece ids, in the two ways that exist (the references differ; README, docs/formats.md):
//   google  Google's Python BasicTokenizer and WordpieceTokenizer: words of up to 200 characters, special tokens in the
//           text are split at their brackets, lower-casing by word with the rule of the final sigma;
//   hf      HuggingFace's Rust tokenizers: words of up to 100 characters, special tokens in the text are matched before
//           anything else, its own Unicode tables and its CJK block E that begins at U+2B920.
// Both are frozen to the Unicode tables they were measured against (tokenizer_mode_name), so ids never change with a
// library on the machine. Cost: one pass; see benchmarks/tokenizer.cpp. Tested by tests/text/tokenizer_test.cpp and,
// against the references, by tests/differential/tokenizer.py.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/text/vocabulary.h"

namespace cloze {

enum class TokenizerMode { google, hf };

/// "google" or "hf".
TokenizerMode parse_tokenizer_mode(std::string_view name);
std::string to_string(TokenizerMode mode);
/// With what it is frozen to, for logs and files: "google (Unicode 14.0)".
std::string tokenizer_mode_name(TokenizerMode mode);
/// A longer word is [UNK].
std::int64_t max_word_characters(TokenizerMode mode);

struct TokenizerOptions {
    TokenizerMode mode = TokenizerMode::hf;
    bool lowercase = true;
    std::optional<bool> strip_accents = std::nullopt;  // unset: follows `lowercase`, as both references do
    bool tokenize_chinese_chars = true;                // every CJK character is a word of its own

    bool strips_accents() const { return strip_accents.value_or(lowercase); }
    bool operator==(const TokenizerOptions&) const = default;
};

/// A piece and where it came from. Offsets count characters (code points) of the original text, end exclusive, as
/// HuggingFace's do; a replaced invalid sequence counts as one character.
struct Piece {
    std::int32_t id;
    std::int32_t word;  // index of the word the piece belongs to
    std::int64_t begin;
    std::int64_t end;

    bool operator==(const Piece&) const = default;
};

/// Remembers the ids of short words. Owned by one thread and used with one Tokenizer; 1 MiB.
class WordCache {
public:
    WordCache();
    ~WordCache();
    WordCache(WordCache&&) noexcept;
    WordCache& operator=(WordCache&&) noexcept;

private:
    friend class Tokenizer;
    struct Table;
    std::unique_ptr<Table> table_;
};

/// Immutable after construction: any number of threads may share one.
class Tokenizer {
public:
    explicit Tokenizer(const Vocabulary& vocabulary, const TokenizerOptions& options = {});
    ~Tokenizer();
    Tokenizer(Tokenizer&&) noexcept;
    Tokenizer& operator=(Tokenizer&&) noexcept;

    /// Appends the ids of `utf8` without [CLS] and [SEP]. Returns how many invalid UTF-8 sequences were replaced (by
    /// U+FFFD, which both references then drop).
    std::int64_t encode(std::string_view utf8, std::vector<std::int32_t>& ids) const;
    /// The same ids, several times faster on running text.
    std::int64_t encode(std::string_view utf8, std::vector<std::int32_t>& ids, WordCache& cache) const;

    /// Appends the same pieces with their offsets.
    std::int64_t encode_with_offsets(std::string_view utf8, std::vector<Piece>& pieces) const;

    const TokenizerOptions& options() const;
    const Vocabulary& vocabulary() const;

private:
    struct Tables;
    std::unique_ptr<const Tables> tables_;
};

}  // namespace cloze
