// A WordPiece vocabulary: one token a line, id = line number from 0, UTF-8, LF. Immutable and cheap to copy. Reading
// costs one pass and one hash table. Tested by tests/text/vocabulary_test.cpp.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

namespace cloze {

/// Names of the special tokens, in the order a trained vocabulary begins with.
inline constexpr std::string_view kPadToken = "[PAD]";
inline constexpr std::string_view kUnknownToken = "[UNK]";
inline constexpr std::string_view kClsToken = "[CLS]";
inline constexpr std::string_view kSepToken = "[SEP]";
inline constexpr std::string_view kMaskToken = "[MASK]";
inline constexpr std::string_view kSpecialTokens[] = {kPadToken, kUnknownToken, kClsToken, kSepToken, kMaskToken};

/// What every piece but the first of a word begins with.
inline constexpr std::string_view kContinuationPrefix = "##";

/// Ids of the special tokens, found by name: released vocabularies have them at 0, 100, 101, 102, 103.
struct SpecialIds {
    std::int32_t pad;
    std::int32_t unknown;
    std::int32_t cls;
    std::int32_t sep;
    std::int32_t mask;
};

class Vocabulary {
public:
    /// Refuses a file that is missing, empty, longer than 64 MiB, not UTF-8, has an empty or repeated line, or lacks a
    /// special token, with Fault::input. Throws Fault::io for one that cannot be read.
    static Vocabulary read(const std::filesystem::path& file);

    /// The same from memory; `source` is what messages call it. Lines end at LF alone (a token may be U+2028); one CR
    /// before it is removed; the last line may lack its LF.
    static Vocabulary parse(std::string_view contents, const std::string& source);

    std::int32_t size() const;
    std::optional<std::int32_t> find(std::string_view token) const;
    const std::string& token(std::int32_t id) const;
    const SpecialIds& special() const;
    bool is_special(std::int32_t id) const;
    /// Whether the token continues a word (begins with ## and has more). Whole-word masking follows it.
    bool is_continuation(std::int32_t id) const;

    /// XXH3 of contents(). Shards and checkpoints carry it, so that a wrong vocabulary is refused.
    std::uint64_t hash() const;
    /// One token a line, LF after each: what vocab.txt of a checkpoint holds.
    std::string contents() const;

private:
    struct Table;
    explicit Vocabulary(std::shared_ptr<const Table> table) : table_(std::move(table)) {}
    std::shared_ptr<const Table> table_;
};

}  // namespace cloze
