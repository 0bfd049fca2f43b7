#include "engine/data/shard.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <utility>

#include "engine/files/mapped_file.h"
#include "engine/files/reader.h"
#include "kernels/core/error.h"

namespace cloze {

namespace {

constexpr std::array<char, 8> kMagic = {'C', 'L', 'Z', 'S', 'H', 'A', 'R', 'D'};
constexpr const char* kRemedy = "run cloze prepare again";
constexpr const char* kSectionNames[] = {"tokens", "sentence offsets", "document offsets"};

template <typename T>
std::span<const std::byte> bytes_of(const T& value) {
    return std::as_bytes(std::span(&value, 1));
}

std::uint64_t table_checksum(const ShardTable& table) {
    return xxh3(bytes_of(table).first(offsetof(ShardTable, checksum)));
}

template <typename T>
T read_struct(const BoundedReader& reader, std::int64_t offset, std::string_view what) {
    T value;
    std::memcpy(&value, reader.section(offset, sizeof(T), what).data(), sizeof(T));
    return value;
}

template <typename Id>
void require_ids_below(std::span<const Id> ids, std::uint64_t vocabulary_size, const BoundedReader& reader) {
    const auto largest = ids.empty() ? ids.end() : std::ranges::max_element(ids);
    reader.check(largest == ids.end() || *largest < vocabulary_size, "tokens: id ",
                 largest == ids.end() ? Id{0} : *largest, " is outside the vocabulary of ", vocabulary_size);
}

}  // namespace

std::shared_ptr<const Shard> Shard::open(const std::filesystem::path& file, std::int64_t expected_bytes) {
    auto mapped = std::make_shared<const MappedFile>(file, expected_bytes);
    std::shared_ptr<Shard> shard(new Shard);
    shard->bytes_ = mapped->bytes();
    shard->source_ = file.string();
    shard->file_ = std::move(mapped);
    shard->parse();
    return shard;
}

std::shared_ptr<const Shard> Shard::from_bytes(std::span<const std::byte> bytes, const std::string& source) {
    std::shared_ptr<Shard> shard(new Shard);
    shard->bytes_ = bytes;
    shard->source_ = source;
    shard->parse();
    return shard;
}

void Shard::parse() {
    const BoundedReader reader(source_, kRemedy, bytes_);
    const auto preamble = read_struct<ShardPreamble>(reader, 0, "preamble");
    reader.check(preamble.magic == kMagic, "this is not a token shard");
    reader.check(preamble.version == kShardVersion, "shard version ", preamble.version, ", this program reads version ",
                 kShardVersion);
    reader.check(preamble.token_bytes == 2 || preamble.token_bytes == 4, "token ids of ", preamble.token_bytes,
                 " bytes, not 2 or 4");
    const std::int64_t table_offset = reader.size() - static_cast<std::int64_t>(sizeof(ShardTable));
    reader.check(table_offset >= static_cast<std::int64_t>(sizeof(ShardPreamble)), "the file is truncated to ",
                 reader.size(), " bytes");
    table_ = read_struct<ShardTable>(reader, table_offset, "table");
    reader.check(table_.magic == kMagic, "the file does not end as a shard does, it is truncated");
    reader.check(table_.checksum == table_checksum(table_), "the table's checksum does not match, it is damaged");
    reader.check(table_.preamble_checksum == xxh3(bytes_of(preamble)), "the preamble's checksum does not match");
    reader.check(table_.file_bytes == bytes_.size(), "the file has ", bytes_.size(), " bytes, ", table_.file_bytes,
                 " were written");

    const std::uint64_t limit = std::numeric_limits<std::uint32_t>::max();
    reader.check(table_.tokens <= limit && table_.sentences < limit && table_.documents < limit, "counts of ",
                 table_.tokens, " tokens, ", table_.sentences, " sentences and ", table_.documents,
                 " documents do not fit 32-bit offsets");
    reader.check(table_.vocabulary_size >= 1 && table_.vocabulary_size <= std::uint64_t{1} << 31, "a vocabulary of ",
                 table_.vocabulary_size, " entries is not possible");
    const std::uint64_t items[] = {table_.tokens, table_.sentences + 1, table_.documents + 1};
    const std::uint32_t item_bytes[] = {preamble.token_bytes, 4, 4};
    for (std::size_t i = 0; i < 3; ++i) {
        const ShardTable::Section& section = table_.sections[i];
        reader.check(section.kind == static_cast<ShardSection>(i + 1) && section.item_bytes == item_bytes[i] &&
                         section.bytes == items[i] * item_bytes[i],
                     kSectionNames[i], ": the section table does not fit the counts");
        reader.check(section.offset % kShardAlignment == 0 && section.offset <= bytes_.size(), kSectionNames[i],
                     ": begins at ", section.offset, ", which is outside the file or not a multiple of ",
                     kShardAlignment);
    }
    const auto offset = [&](std::size_t i) { return static_cast<std::int64_t>(table_.sections[i].offset); };
    const auto count = [&](std::size_t i) { return static_cast<std::int64_t>(items[i]); };
    if (preamble.token_bytes == 2) {
        part_.narrow = reader.array<std::uint16_t>(offset(0), count(0), kSectionNames[0]);
    } else {
        part_.wide = reader.array<std::uint32_t>(offset(0), count(0), kSectionNames[0]);
    }
    part_.sentence_offset = reader.array<std::uint32_t>(offset(1), count(1), kSectionNames[1]);
    part_.document_offset = reader.array<std::uint32_t>(offset(2), count(2), kSectionNames[2]);
    require_consistent(part_, source_);
}

void Shard::verify() const {
    const BoundedReader reader(source_, kRemedy, bytes_);
    std::uint64_t covered = sizeof(ShardPreamble);
    const auto require_zeros = [&](std::uint64_t from, std::uint64_t to) {
        for (std::uint64_t i = from; i < to; ++i) {
            reader.check(bytes_[i] == std::byte{0}, "byte ", i, " between two sections is not zero");
        }
    };
    for (std::size_t i = 0; i < 3; ++i) {
        const ShardTable::Section& section = table_.sections[i];
        reader.check(section.offset >= covered && section.offset - covered < kShardAlignment, kSectionNames[i],
                     ": does not follow what comes before it");
        require_zeros(covered, section.offset);
        covered = section.offset + section.bytes;
        reader.check(xxh3(bytes_.subspan(section.offset, section.bytes)) == section.checksum, kSectionNames[i],
                     ": the checksum does not match, the section is damaged");
    }
    const std::uint64_t table_offset = bytes_.size() - sizeof(ShardTable);
    reader.check(table_offset >= covered, "the table overlaps the document offsets");
    require_zeros(covered, table_offset);
    require_ids_below(part_.narrow, table_.vocabulary_size, reader);
    require_ids_below(part_.wide, table_.vocabulary_size, reader);
}

ShardWriter::ShardWriter(OutputFile file, std::int64_t vocabulary_size, std::uint64_t vocabulary_hash)
    : file_(std::move(file)), token_bytes_(vocabulary_size <= 65536 ? 2 : 4) {
    table_.vocabulary_size = static_cast<std::uint64_t>(vocabulary_size);
    table_.vocabulary_hash = vocabulary_hash;
    const ShardPreamble preamble{
        .magic = kMagic, .version = kShardVersion, .token_bytes = token_bytes_, .reserved = {}};
    table_.preamble_checksum = xxh3(bytes_of(preamble));
    file_.write(bytes_of(preamble));
}

void ShardWriter::add_sentence(std::span<const std::int32_t> ids) {
    if (ids.empty()) return;
    require(holds(static_cast<std::int64_t>(ids.size())), "ShardWriter: a sentence of ", ids.size(),
            " tokens does not fit behind ", tokens(), " of 32-bit offsets");
    std::span<const std::byte> bytes = std::as_bytes(ids);
    if (token_bytes_ == 2) {
        narrow_.assign(ids.begin(), ids.end());
        bytes = std::as_bytes(std::span(narrow_));
    }
    file_.write(bytes);
    token_checksum_.update(bytes);
    sentence_offset_.push_back(sentence_offset_.back() + static_cast<std::uint32_t>(ids.size()));
}

void ShardWriter::end_document() {
    const auto sentences = static_cast<std::uint32_t>(sentence_offset_.size() - 1);
    if (sentences > document_offset_.back()) document_offset_.push_back(sentences);
}

void ShardWriter::pad() {
    const std::array<std::byte, kShardAlignment> zeros{};
    const std::int64_t beyond = file_.bytes_written() % kShardAlignment;
    if (beyond != 0) file_.write(std::span(zeros).first(static_cast<std::size_t>(kShardAlignment - beyond)));
}

void ShardWriter::add_section(ShardSection kind, std::uint32_t item_bytes, std::uint64_t offset, std::uint64_t bytes,
                              std::uint64_t checksum) {
    table_.sections[static_cast<std::size_t>(kind) - 1] = {kind, item_bytes, offset, bytes, checksum};
}

void ShardWriter::write_offsets(ShardSection kind, const std::vector<std::uint32_t>& offsets) {
    pad();
    const std::span<const std::byte> bytes = std::as_bytes(std::span(offsets));
    add_section(kind, 4, static_cast<std::uint64_t>(file_.bytes_written()), bytes.size(), xxh3(bytes));
    file_.write(bytes);
}

OutputFile ShardWriter::finish() {
    end_document();
    add_section(ShardSection::tokens, token_bytes_, sizeof(ShardPreamble),
                static_cast<std::uint64_t>(tokens()) * token_bytes_, token_checksum_.digest());
    write_offsets(ShardSection::sentence_offsets, sentence_offset_);
    write_offsets(ShardSection::document_offsets, document_offset_);
    pad();
    table_.documents = static_cast<std::uint64_t>(documents());
    table_.sentences = static_cast<std::uint64_t>(sentences());
    table_.tokens = static_cast<std::uint64_t>(tokens());
    table_.file_bytes = static_cast<std::uint64_t>(file_.bytes_written()) + sizeof(ShardTable);
    table_.magic = kMagic;
    table_.checksum = table_checksum(table_);
    file_.write(bytes_of(table_));
    return std::move(file_);
}

}  // namespace cloze
