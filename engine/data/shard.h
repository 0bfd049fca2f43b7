// Token shards: files of token ids with sentence and document offsets, mapped into memory and read in place. A file is
// written from start to end: preamble, sections, and last a table that says where they lie (docs/formats.md). Opening
// checks preamble, table, bounds and the order of the offsets (it reads the offset sections once); verify() reads
// everything: checksums, padding and the range of the ids, at memory speed, and finds any changed byte.
// Tested by tests/data/shard_test.cpp and fuzzed by tests/fuzz/shard_fuzz.cpp.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>

#include "engine/data/token_store.h"
#include "engine/files/write.h"

namespace cloze {

inline constexpr std::uint32_t kShardVersion = 1;
inline constexpr std::int64_t kShardAlignment = 64;

/// The first 64 bytes of a shard.
struct ShardPreamble {
    std::array<char, 8> magic;
    std::uint32_t version;
    std::uint32_t token_bytes;              // 2 or 4
    std::array<std::uint64_t, 6> reserved;  // zero
};
static_assert(sizeof(ShardPreamble) == 64);

enum class ShardSection : std::uint32_t { tokens = 1, sentence_offsets = 2, document_offsets = 3 };

/// The last 192 bytes.
struct ShardTable {
    struct Section {
        ShardSection kind;
        std::uint32_t item_bytes;
        std::uint64_t offset;  // from the start of the file, a multiple of kShardAlignment
        std::uint64_t bytes;
        std::uint64_t checksum;  // xxh3
    };
    std::array<Section, 3> sections;  // in the order of ShardSection
    std::uint64_t vocabulary_hash;
    std::uint64_t vocabulary_size;
    std::uint64_t documents;
    std::uint64_t sentences;
    std::uint64_t tokens;
    std::uint64_t file_bytes;
    std::array<std::uint64_t, 3> reserved;  // zero
    std::uint64_t preamble_checksum;        // xxh3
    std::uint64_t checksum;                 // xxh3 of the table up to here: stands for the shard's whole contents
    std::array<char, 8> magic;              // again: a shard that was cut off does not end with it
};
static_assert(sizeof(ShardTable) == 192);

/// A mapped shard. Immutable; shared by threads.
class Shard {
public:
    /// Throws Fault::input naming file and section, or Fault::io, with the remedy. `expected_bytes` as in MappedFile.
    static std::shared_ptr<const Shard> open(const std::filesystem::path& file, std::int64_t expected_bytes = -1);
    /// The same over bytes in memory, 64-byte aligned, which must stay; `source` names them in messages.
    static std::shared_ptr<const Shard> from_bytes(std::span<const std::byte> bytes, const std::string& source);

    const ShardTable& table() const { return table_; }
    const TokenPart& part() const { return part_; }
    const std::string& source() const { return source_; }

    /// Reads everything. Throws Fault::input naming the section that is damaged.
    void verify() const;

private:
    Shard() = default;
    void parse();

    std::shared_ptr<const void> file_;  // keeps the mapping
    std::span<const std::byte> bytes_;
    std::string source_;
    ShardTable table_{};
    TokenPart part_;
};

/// Writes one shard: tokens straight to the file, offsets kept in memory until finish(), 4 bytes a sentence.
class ShardWriter {
public:
    /// `file` is fresh. Ids take 2 bytes where the vocabulary has at most 65,536 entries.
    ShardWriter(OutputFile file, std::int64_t vocabulary_size, std::uint64_t vocabulary_hash);

    void add_sentence(std::span<const std::int32_t> ids);  // without tokens: dropped
    void end_document();                                   // without sentences: dropped

    std::int64_t tokens() const { return static_cast<std::int64_t>(sentence_offset_.back()); }
    std::int64_t sentences() const { return static_cast<std::int64_t>(sentence_offset_.size()) - 1; }
    std::int64_t documents() const { return static_cast<std::int64_t>(document_offset_.size()) - 1; }
    /// Room for a sentence of this many tokens: offsets have 32 bits.
    bool holds(std::int64_t sentence_tokens) const { return tokens() + sentence_tokens < std::int64_t{1} << 32; }

    /// Ends the document, writes offsets and table, and gives the file back for its owner to finish.
    OutputFile finish();
    /// After finish().
    const ShardTable& table() const { return table_; }

private:
    void add_section(ShardSection kind, std::uint32_t item_bytes, std::uint64_t offset, std::uint64_t bytes,
                     std::uint64_t checksum);
    void write_offsets(ShardSection kind, const std::vector<std::uint32_t>& offsets);
    void pad();

    OutputFile file_;
    std::uint32_t token_bytes_;
    Xxh3 token_checksum_;
    std::vector<std::uint32_t> sentence_offset_ = {0};
    std::vector<std::uint32_t> document_offset_ = {0};
    std::vector<std::uint16_t> narrow_;  // one sentence
    ShardTable table_{};
};

}  // namespace cloze
