#include "engine/text/tokenizer.h"

#include <array>
#include <atomic>

#include "engine/text/byte_scan.h"
#include "engine/text/piece_trie.h"
#include "engine/text/word_splitter.h"
#include "kernels/core/error.h"

namespace cloze {

// Note [word cache]
// Running text repeats a few thousand short words, so the ids of a run of up to 15 bytes are remembered under its raw
// bytes: a hit needs no decoding, no case folding and no trie. Direct-mapped, because a lost word costs one trie walk;
// 32-byte entries, so that one never straddles a cache line; sized to stay in a second-level cache.
struct WordCache::Table {
    static constexpr int kIds = 3;  // 99 % of English words have no more pieces
    static constexpr int kIndexBits = 13;

    struct alignas(32) Entry {
        std::uint64_t low = 0;
        std::uint64_t high = 0;  // both zero: empty, for a run has at least one byte that is not NUL
        std::array<std::int32_t, kIds> ids{};
        std::int32_t count = 0;
    };

    std::uint64_t tokenizer = 0;  // serial of the one it was filled by
    std::vector<Entry> entries = std::vector<Entry>(std::size_t{1} << kIndexBits);

    Entry& entry(const ShortRun& run) {
        const std::uint64_t mixed = (run.low ^ (run.high * 0x9E3779B97F4A7C15u)) * 0xD6E8FEB86659FD93u;
        return entries[mixed >> (64 - kIndexBits)];
    }
};

WordCache::WordCache() : table_(std::make_unique<Table>()) {}
WordCache::~WordCache() = default;
WordCache::WordCache(WordCache&&) noexcept = default;
WordCache& WordCache::operator=(WordCache&&) noexcept = default;

struct Tokenizer::Tables {
    struct Special {
        std::string_view text;
        std::int32_t id;
    };

    Tables(const Vocabulary& vocabulary, const TokenizerOptions& options);

    std::int64_t encode(std::string_view text, std::vector<std::int32_t>& ids, WordCache::Table* cache) const;
    std::int64_t encode_run(std::string_view text, const char* first, const char* last, bool plain, Word& word,
                            std::vector<std::int32_t>& ids, bool& context) const;
    /// Calls emit(id, first byte, last byte) for the pieces of a word.
    template <typename Emit>
    void match_word(const char* first, const char* last, std::int64_t characters, const Emit& emit) const;
    void append_pieces(const Word& word, std::int32_t index, std::vector<Piece>& pieces) const;
    /// The special token that `text` begins with, or null; never in mode google.
    const Special* special_at(std::string_view text) const;

    Vocabulary vocabulary;
    TokenizerOptions options;
    std::uint64_t serial;
    std::int64_t max_characters;  // of a word; a longer one is [UNK]
    WordSplitter splitter;
    PieceTrie trie;
    std::array<unsigned char, 256> fold;     // case of ASCII letters; every other byte is itself
    std::array<std::int32_t, 128> alone_id;  // of ASCII punctuation
    std::vector<Special> specials;           // those matched in the text
};

Tokenizer::Tables::Tables(const Vocabulary& from, const TokenizerOptions& chosen)
    : vocabulary(from),
      options(chosen),
      max_characters(max_word_characters(chosen.mode)),
      splitter(chosen),
      trie(vocabulary) {
    static std::atomic<std::uint64_t> last_serial = 0;
    serial = ++last_serial;
    for (int c = 0; c < 256; ++c) {
        const bool upper = options.lowercase && c >= 'A' && c <= 'Z';
        fold[static_cast<std::size_t>(c)] = static_cast<unsigned char>(upper ? c - 'A' + 'a' : c);
    }
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

template <typename Emit>
void Tokenizer::Tables::match_word(const char* first, const char* last, std::int64_t characters,
                                   const Emit& emit) const {
    const auto whole = static_cast<std::int32_t>(last - first);
    if (characters > max_characters) return emit(vocabulary.special().unknown, 0, whole, true);
    PieceTrie::Root root = PieceTrie::begins_word;
    for (const char* at = first; at != last; root = PieceTrie::continues_word) {
        const PieceTrie::Match match = trie.longest(root, at, last, fold.data());
        if (match.id < 0) return emit(vocabulary.special().unknown, 0, whole, true);
        const auto begin = static_cast<std::int32_t>(at - first);
        emit(match.id, begin, begin + match.bytes, false);
        at += match.bytes;
    }
}

/// Appends the ids of text[first, last), which no character outside influences unless `context` is set. `plain`: it
/// holds ASCII letters and digits alone.
std::int64_t Tokenizer::Tables::encode_run(std::string_view text, const char* first, const char* last, bool plain,
                                           Word& word, std::vector<std::int32_t>& ids, bool& context) const {
    std::size_t start = ids.size();
    const auto emit = [&](std::int32_t id, std::int32_t, std::int32_t, bool replaces_word) {
        if (replaces_word) ids.resize(start);
        ids.push_back(id);
    };
    if (plain) {
        match_word(first, last, last - first, emit);
        return 0;
    }
    const auto counts = splitter.split(text, static_cast<std::size_t>(first - text.data()),
                                       static_cast<std::size_t>(last - text.data()), 0, word, [&](const Word& found) {
                                           start = ids.size();
                                           const char* bytes = found.text().data();
                                           match_word(bytes, bytes + found.text().size(), found.characters(), emit);
                                       });
    context = counts.context;
    return counts.invalid;
}

std::int64_t Tokenizer::Tables::encode(std::string_view text, std::vector<std::int32_t>& ids,
                                       WordCache::Table* cache) const {
    Word word;
    std::int64_t invalid = 0;
    const char* const end = text.data() + text.size();
    for (const char* at = text.data(); at != end;) {
        const ByteClass kind = byte_class(*at);
        if (kind == ByteClass::space) {
            ++at;
            continue;
        }
        if (kind == ByteClass::punctuation) {
            const Special* special = *at == '[' ? special_at({at, static_cast<std::size_t>(end - at)}) : nullptr;
            ids.push_back(special != nullptr ? special->id : alone_id[static_cast<std::size_t>(*at)]);
            at += special != nullptr ? special->text.size() : 1;
            continue;
        }
        WordCache::Table::Entry* entry = nullptr;
        ShortRun run{};
        if (cache != nullptr && end - at >= kShortRun) {
            run = short_run(at);
            if (run.bytes < kShortRun) {
                entry = &cache->entry(run);
                if (entry->low == run.low && entry->high == run.high) {
                    ids.insert(ids.end(), entry->ids.data(), entry->ids.data() + entry->count);
                    at += run.bytes;
                    continue;
                }
            }
        }
        const char* stop = at;
        bool plain = true;
        for (; stop != end && !ends_run(*stop); ++stop) plain &= byte_class(*stop) == ByteClass::letter;
        const std::size_t before = ids.size();
        bool context = false;
        const std::int64_t replaced = encode_run(text, at, stop, plain, word, ids, context);
        const std::size_t added = ids.size() - before;
        if (entry != nullptr && added <= WordCache::Table::kIds && !context && replaced == 0) {
            *entry = {.low = run.low, .high = run.high, .ids = {}, .count = static_cast<std::int32_t>(added)};
            std::copy(ids.begin() + static_cast<std::ptrdiff_t>(before), ids.end(), entry->ids.begin());
        }
        invalid += replaced;
        at = stop;
    }
    return invalid;
}

void Tokenizer::Tables::append_pieces(const Word& word, std::int32_t index, std::vector<Piece>& pieces) const {
    const std::size_t start = pieces.size();
    const char* bytes = word.text().data();
    std::size_t character = 0;
    const auto emit = [&](std::int32_t id, std::int32_t first, std::int32_t last, bool replaces_word) {
        if (replaces_word) {
            pieces.resize(start);
            character = 0;
        }
        const std::size_t begin = character;
        for (std::int32_t i = first; i < last; ++i) character += (bytes[i] & 0xC0) == 0x80 ? 0 : 1;
        pieces.push_back({id, index, word.sources()[begin].begin, word.sources()[character - 1].end});
    };
    match_word(bytes, bytes + word.text().size(), word.characters(), emit);
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
