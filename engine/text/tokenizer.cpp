#include "engine/text/tokenizer.h"

#include <algorithm>
#include <array>
#include <atomic>

#include "engine/text/byte_scan.h"
#include "engine/text/whole_words.h"
#include "engine/text/word_piece.h"
#include "engine/text/word_splitter.h"
#include "kernels/core/error.h"

namespace cloze {

// Note [word cache]
// Running text repeats a few thousand short words, so the ids of a run of up to 15 bytes are remembered under its bytes
// (in lower case if the tokenizer folds case): a hit needs no decoding and no trie. Direct-mapped, because a lost word
// costs one trie walk; 32-byte entries, so that one never straddles a cache line; sized so that 7 % of the words of
// English miss it (13 bits: 16 %), for its busy part stays in a second-level cache.
struct WordCache::Table {
    static constexpr int kIds = 3;  // 99 % of English words have no more pieces
    static constexpr int kIndexBits = 15;

    struct alignas(32) Entry {
        std::uint64_t low = 0;
        std::uint64_t high = 0;  // both zero: empty, for a run has at least one byte that is not NUL
        std::array<std::int32_t, kIds> ids{};
        std::int32_t count = 0;
    };

    std::uint64_t tokenizer = 0;  // serial of the one it was filled by
    std::vector<Entry> entries = std::vector<Entry>(std::size_t{1} << kIndexBits);

    Entry& entry(const ShortRun& run) { return entries[hash_of(run) >> (64 - kIndexBits)]; }
};

WordCache::WordCache() : table_(std::make_unique<Table>()) {}
WordCache::~WordCache() = default;
WordCache::WordCache(WordCache&&) noexcept = default;
WordCache& WordCache::operator=(WordCache&&) noexcept = default;

namespace {

/// Appends ids through a pointer: a vector's own push_back is half the time of a cache hit.
class IdWriter {
public:
    IdWriter(std::vector<std::int32_t>& ids, std::size_t expected) : ids_(ids), expected_(expected) {
        grow(ids.size(), expected);
    }
    ~IdWriter() { ids_.resize(size()); }
    IdWriter(const IdWriter&) = delete;
    IdWriter& operator=(const IdWriter&) = delete;

    /// Where `count` ids may be written; advance() says how many were.
    std::int32_t* room(std::ptrdiff_t count) {
        if (limit_ - at_ < count) [[unlikely]] {
            grow(size(), expected_ + static_cast<std::size_t>(count));
        }
        return at_;
    }
    void advance(std::ptrdiff_t count) { at_ += count; }
    void push(std::int32_t id) {
        *room(1) = id;
        ++at_;
    }
    std::size_t size() const { return static_cast<std::size_t>(at_ - ids_.data()); }
    void shrink(std::size_t size) { at_ = ids_.data() + size; }
    const std::int32_t* from(std::size_t index) const { return ids_.data() + index; }

private:
    void grow(std::size_t used, std::size_t more) {
        ids_.resize(used + more);
        at_ = ids_.data() + used;
        limit_ = ids_.data() + ids_.size();
    }

    std::vector<std::int32_t>& ids_;
    std::size_t expected_;
    std::int32_t* at_ = nullptr;
    std::int32_t* limit_ = nullptr;
};

}  // namespace

struct Tokenizer::Tables {
    struct Special {
        std::string_view text;
        std::int32_t id;
    };

    Tables(const Vocabulary& vocabulary, const TokenizerOptions& options);

    std::int64_t encode(std::string_view text, std::vector<std::int32_t>& ids, WordCache::Table* cache) const;
    template <bool kLower>
    std::int64_t encode_text(std::string_view text, std::vector<std::int32_t>& result, WordCache::Table* cache) const;
    std::int64_t encode_run(std::string_view text, std::size_t first, std::size_t last, Word& word, IdWriter& ids,
                            bool& context) const;
    const char* encode_alone(const char* at, const char* end, IdWriter& ids) const;
    void append_pieces(const Word& word, std::int32_t index, std::vector<Piece>& found) const;
    /// The special token that `text` begins with, or null; never in mode google.
    const Special* special_at(std::string_view text) const;

    Vocabulary vocabulary;
    TokenizerOptions options;
    std::uint64_t serial;
    WordSplitter splitter;
    WholeWords words;
    WordPiece pieces;
    std::array<std::int32_t, 128> alone_id;  // of ASCII punctuation
    std::vector<Special> specials;           // those matched in the text
};

Tokenizer::Tables::Tables(const Vocabulary& from, const TokenizerOptions& chosen)
    : vocabulary(from), options(chosen), splitter(chosen), words(vocabulary), pieces(vocabulary, chosen) {
    static std::atomic<std::uint64_t> last_serial = 0;
    serial = ++last_serial;
    for (std::size_t c = 0; c < alone_id.size(); ++c) {
        const char text = static_cast<char>(c);
        alone_id[c] = vocabulary.find({&text, 1}).value_or(vocabulary.special().unknown);
    }
    if (options.mode == TokenizerMode::google) return;
    for (const std::string_view token : kSpecialTokens) specials.push_back({token, *vocabulary.find(token)});
}

const Tokenizer::Tables::Special* Tokenizer::Tables::special_at(std::string_view text) const {
    for (const Special& special : specials) {
        if (text.starts_with(special.text)) return &special;
    }
    return nullptr;
}

/// Appends the ids of the run text[first, last); `context` if they depend on what is around it.
std::int64_t Tokenizer::Tables::encode_run(std::string_view text, std::size_t first, std::size_t last, Word& word,
                                           IdWriter& ids, bool& context) const {
    std::size_t start = ids.size();
    const auto emit = [&](std::int32_t id, std::int32_t, std::int32_t, bool replaces_word) {
        if (replaces_word) ids.shrink(start);
        ids.push(id);
    };
    const auto is_letter = [](char c) { return byte_class(c) == ByteClass::letter; };
    const std::string_view run = text.substr(first, last - first);
    if (std::all_of(run.begin(), run.end(), is_letter)) {
        pieces.match(run.data(), run.data() + run.size(), static_cast<std::int64_t>(run.size()), emit);
        return 0;
    }
    const auto counts = splitter.split(text, first, last, 0, word, [&](const Word& found) {
        start = ids.size();
        const char* bytes = found.text().data();
        pieces.match(bytes, bytes + found.text().size(), found.characters(), emit);
    });
    context = counts.context;
    return counts.invalid;
}

/// Appends the id of the special token or punctuation at `at`. Returns what follows it.
const char* Tokenizer::Tables::encode_alone(const char* at, const char* end, IdWriter& ids) const {
    const Special* special = *at == '[' ? special_at({at, static_cast<std::size_t>(end - at)}) : nullptr;
    ids.push(special != nullptr ? special->id : alone_id[static_cast<unsigned char>(*at)]);
    return at + (special != nullptr ? special->text.size() : 1);
}

/// The loop that meets every word: a look at 16 bytes gives its end and its key.
template <bool kLower>
std::int64_t Tokenizer::Tables::encode_text(std::string_view text, std::vector<std::int32_t>& result,
                                            WordCache::Table* cache) const {
    IdWriter ids(result, text.size() / 4 + 8);
    Word word;
    std::int64_t invalid = 0;
    const char* const end = text.data() + text.size();
    for (const char* at = text.data(); at != end; at += at != end && *at == ' ' ? 1 : 0) {
        const ShortRun run = short_run<kLower>(at, end);
        if (run.bytes == 0) {
            at = byte_class(*at) == ByteClass::space ? at + 1 : encode_alone(at, end, ids);
            continue;
        }
        WordCache::Table::Entry* entry = nullptr;
        if (run.bytes < kShortRun && cache != nullptr) {
            entry = &cache->entry(run);
            if (entry->low == run.low && entry->high == run.high) [[likely]] {
                // All are written, the true number counts: no branch on it.
                std::copy_n(entry->ids.data(), WordCache::Table::kIds, ids.room(WordCache::Table::kIds));
                ids.advance(entry->count);
                at += run.bytes;
                continue;
            }
        }
        const std::size_t before = ids.size();
        const std::int32_t whole = run.bytes < kShortRun ? words.find(run) : -1;
        bool context = false;
        std::int64_t replaced = 0;
        if (whole >= 0) {
            ids.push(whole);
            at += run.bytes;
        } else {
            const char* const stop = run.bytes < kShortRun ? at + run.bytes : end_of_run(at, end);
            replaced = encode_run(text, static_cast<std::size_t>(at - text.data()),
                                  static_cast<std::size_t>(stop - text.data()), word, ids, context);
            invalid += replaced;
            at = stop;
        }
        const std::size_t added = ids.size() - before;
        if (entry != nullptr && added <= WordCache::Table::kIds && !context && replaced == 0) {
            *entry = {.low = run.low, .high = run.high, .ids = {}, .count = static_cast<std::int32_t>(added)};
            std::copy_n(ids.from(before), added, entry->ids.begin());
        }
    }
    return invalid;
}

std::int64_t Tokenizer::Tables::encode(std::string_view text, std::vector<std::int32_t>& ids,
                                       WordCache::Table* cache) const {
    return options.lowercase ? encode_text<true>(text, ids, cache) : encode_text<false>(text, ids, cache);
}

void Tokenizer::Tables::append_pieces(const Word& word, std::int32_t index, std::vector<Piece>& found) const {
    const std::size_t start = found.size();
    const char* bytes = word.text().data();
    std::size_t character = 0;
    const auto emit = [&](std::int32_t id, std::int32_t first, std::int32_t last, bool replaces_word) {
        if (replaces_word) {
            found.resize(start);
            character = 0;
        }
        const std::size_t begin = character;
        for (std::int32_t i = first; i < last; ++i) character += (bytes[i] & 0xC0) == 0x80 ? 0 : 1;
        found.push_back({id, index, word.sources()[begin].begin, word.sources()[character - 1].end});
    };
    pieces.match(bytes, bytes + word.text().size(), word.characters(), emit);
}

Tokenizer::Tokenizer(const Vocabulary& vocabulary, const TokenizerOptions& options)
    : tables_(std::make_unique<const Tables>(vocabulary, options)) {}
Tokenizer::~Tokenizer() = default;
Tokenizer::Tokenizer(Tokenizer&&) noexcept = default;
Tokenizer& Tokenizer::operator=(Tokenizer&&) noexcept = default;

std::int64_t Tokenizer::encode(std::string_view utf8, std::vector<std::int32_t>& ids) const {
    return tables_->encode(utf8, ids, nullptr);
}

std::int64_t Tokenizer::encode(std::string_view utf8, std::vector<std::int32_t>& ids, WordCache& cache) const {
    if (cache.table_->tokenizer != tables_->serial) {
        *cache.table_ = {};
        cache.table_->tokenizer = tables_->serial;
    }
    return tables_->encode(utf8, ids, cache.table_.get());
}

std::int64_t Tokenizer::encode_with_offsets(std::string_view utf8, std::vector<Piece>& pieces) const {
    Word word(true);
    std::int32_t index = 0;
    std::int64_t character = 0;
    std::int64_t invalid = 0;
    std::size_t first = 0;
    const auto split = [&](std::size_t last) {
        const auto counts = tables_->splitter.split(utf8, first, last, character, word, [&](const Word& found) {
            tables_->append_pieces(found, index++, pieces);
        });
        character += counts.characters;
        invalid += counts.invalid;
        first = last;
    };
    for (std::size_t at = utf8.find('['); at != std::string_view::npos; at = utf8.find('[', at)) {
        const Tables::Special* special = tables_->special_at(utf8.substr(at));
        if (special == nullptr) {
            ++at;
            continue;
        }
        split(at);
        const auto length = static_cast<std::int64_t>(special->text.size());
        pieces.push_back({special->id, index++, character, character + length});
        character += length;
        first = at += special->text.size();
    }
    split(utf8.size());
    return invalid;
}

const TokenizerOptions& Tokenizer::options() const {
    return tables_->options;
}

const Vocabulary& Tokenizer::vocabulary() const {
    return tables_->vocabulary;
}

TokenizerMode parse_tokenizer_mode(std::string_view name) {
    if (name == "google") return TokenizerMode::google;
    if (name == "hf") return TokenizerMode::hf;
    fail(Fault::usage, "tokenizer mode '", name, "': choose google or hf");
}

std::string to_string(TokenizerMode mode) {
    return mode == TokenizerMode::google ? "google" : "hf";
}

std::string tokenizer_mode_name(TokenizerMode mode) {
    const UnicodeTables& tables = mode == TokenizerMode::google ? kGoogleTables : kHuggingFaceTables;
    return text(to_string(mode), " (", tables.version, ")");
}

std::int64_t max_word_characters(TokenizerMode mode) {
    return mode == TokenizerMode::google ? 200 : 100;
}

}  // namespace cloze
