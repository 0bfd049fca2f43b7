#include "engine/text/character_map.h"

#include <algorithm>
#include <unordered_map>

#include "engine/text/utf8.h"

namespace cloze {
namespace {

constexpr char32_t kCapitalSigma = 0x3A3;
constexpr char32_t kCapitalDottedI = 0x130;
constexpr CodeRange kHangul = {0xAC00, 0xD7A3};

bool contains(std::span<const CodeRange> ranges, char32_t code) {
    const auto after = std::upper_bound(ranges.begin(), ranges.end(), code,
                                        [](char32_t c, const CodeRange& range) { return c < range.first; });
    return after != ranges.begin() && code <= std::prev(after)->last;
}

/// The two foldings of a mode as maps; a character that is not in them stays as it is.
struct Foldings {
    std::unordered_map<char32_t, std::u32string> stripped, lower;

    explicit Foldings(const UnicodeTables& tables) {
        for (const auto letters : {kSharedTables.stripped_letters, tables.stripped_letters}) {
            for (const CodePair& pair : letters) stripped[pair.from].assign(1, pair.to);
        }
        for (const auto sequences : {kSharedTables.stripped_sequences, tables.stripped_sequences}) {
            for (const CodeSequence& sequence : sequences) stripped[sequence.from] = sequence.to;
        }
        for (const CodeRange& range : tables.marks) {
            for (char32_t c = range.first; c <= range.last; ++c) stripped[c] = {};
        }
        for (const auto shifts : {kSharedTables.lower, tables.lower}) {
            for (const CodeShift& shift : shifts) {
                for (char32_t c = shift.first; c <= shift.last; c += static_cast<char32_t>(shift.step)) {
                    lower[c].assign(1, c + static_cast<char32_t>(shift.delta));
                }
            }
        }
        lower[kCapitalDottedI] = U"i\u0307";
    }

    static std::u32string apply(const std::unordered_map<char32_t, std::u32string>& folding, std::u32string_view text) {
        std::u32string result;
        for (const char32_t c : text) {
            const auto found = folding.find(c);
            if (found == folding.end()) {
                result += c;
            } else {
                result += found->second;
            }
        }
        return result;
    }
};

}  // namespace

CharacterMap::CharacterMap(const TokenizerOptions& options)
    : tables_(options.mode == TokenizerMode::google ? &kGoogleTables : &kHuggingFaceTables),
      split_cjk_(options.tokenize_chinese_chars),
      flat_(kCodePoints, 0) {
    if (split_cjk_) set_ranges(tables_->cjk, Kind::alone);
    set_ranges(tables_->punctuation, Kind::alone);
    set_foldings(options);
    set_ranges(tables_->dropped, Kind::dropped);
    set_ranges(tables_->space, Kind::space);
    compress();
}

void CharacterMap::set(char32_t code, Kind kind, char32_t other) {
    flat_[code] = static_cast<Packed>(kind) << 24 | (other == code ? 0 : other);
}

void CharacterMap::set_ranges(std::span<const CodeRange> ranges, Kind kind) {
    for (const CodeRange& range : ranges) {
        for (char32_t c = range.first; c <= range.last; ++c) set(c, kind, c);
    }
}

void CharacterMap::set_outputs(char32_t code, const std::u32string& outputs) {
    if (outputs.size() > 1) {
        sequences_.push_back(outputs);
        set(code, Kind::sequence, static_cast<char32_t>(sequences_.size() - 1));
    } else if (outputs.empty()) {
        set(code, contains(tables_->marks_of_class_zero, code) ? Kind::barrier : Kind::dropped, code);
    } else if (split_cjk_ && contains(tables_->cjk, code)) {
        set(code, Kind::alone, outputs[0]);
    } else {
        set(code, of_output(outputs[0]), outputs[0]);
    }
}

void CharacterMap::set_foldings(const TokenizerOptions& options) {
    const Foldings foldings(*tables_);
    const bool strip = options.strips_accents();
    const bool google = options.mode == TokenizerMode::google;
    sequences_.emplace_back();  // index 0 would read as "itself"
    const auto fold = [&](char32_t code) {
        std::u32string outputs(1, code);
        // Google lower-cases first, HuggingFace strips first.
        if (options.lowercase && google) outputs = Foldings::apply(foldings.lower, outputs);
        if (strip) outputs = Foldings::apply(foldings.stripped, outputs);
        if (options.lowercase && !google) outputs = Foldings::apply(foldings.lower, outputs);
        set_outputs(code, outputs);
    };
    if (strip) {
        for (const CodePair& mark : tables_->kept_marks) set(mark.from, Kind::ordered, mark.from);
        for (const auto& entry : foldings.stripped) fold(entry.first);
        set_ranges({&kHangul, 1}, Kind::hangul);
    }
    if (options.lowercase) {
        for (const auto& entry : foldings.lower) fold(entry.first);
        if (google) set(kCapitalSigma, Kind::sigma, kCapitalSigma);
    }
}

CharacterMap::Kind CharacterMap::of_output(char32_t code) const {
    if (contains(tables_->punctuation, code)) return Kind::alone;
    return combining_class(code) != 0 ? Kind::ordered : Kind::letter;
}

std::uint8_t CharacterMap::combining_class(char32_t code) const {
    const auto marks = tables_->kept_marks;
    const auto found = std::lower_bound(marks.begin(), marks.end(), code,
                                        [](const CodePair& mark, char32_t c) { return mark.from < c; });
    return found != marks.end() && found->from == code ? static_cast<std::uint8_t>(found->to) : 0;
}

/// Equal pages of 256 characters are kept once.
void CharacterMap::compress() {
    std::unordered_map<std::string_view, std::uint32_t> known;  // views of flat_
    for (char32_t page = 0; page < kCodePoints; page += 256) {
        const Packed* block = flat_.data() + page;
        const std::string_view bytes(reinterpret_cast<const char*>(block), 256 * sizeof(Packed));
        const auto [at, is_new] = known.try_emplace(bytes, static_cast<std::uint32_t>(blocks_.size()));
        if (is_new) blocks_.insert(blocks_.end(), block, block + 256);
        pages_.push_back(at->second);
    }
    flat_ = {};
}

// Python's rule: a sigma is final when a cased character stands before it and none after it, ignorable ones aside. What
// cleaning drops is not there; white space and CJK end the text, because Python sees one word at a time.
char32_t CharacterMap::lower_sigma(std::string_view before, std::string_view after) const {
    enum class Seen { ignorable, cased, other };
    const auto look = [&](char32_t code) {
        const Kind kind = at(code).kind;
        if (kind == Kind::space || (split_cjk_ && contains(tables_->cjk, code))) return Seen::other;
        if (contains(tables_->dropped, code) || contains(tables_->ignorable, code)) return Seen::ignorable;
        return contains(tables_->cased, code) ? Seen::cased : Seen::other;
    };
    Seen seen = Seen::ignorable;
    while (!before.empty() && seen == Seen::ignorable) {
        std::size_t start = before.size() - 1;
        while (start > 0 && before.size() - start < 4 && (before[start] & 0xC0) == 0x80) --start;
        const Utf8Character c = decode_utf8(before.data() + start, static_cast<std::int64_t>(before.size() - start));
        const bool whole = c.valid && c.bytes == static_cast<std::int32_t>(before.size() - start);
        seen = whole ? look(c.code) : Seen::ignorable;  // invalid bytes are dropped, one at a time will do
        before.remove_suffix(whole ? before.size() - start : 1);
    }
    if (seen != Seen::cased) return 0x3C3;
    seen = Seen::ignorable;
    while (!after.empty() && seen == Seen::ignorable) {
        const Utf8Character c = decode_utf8(after.data(), static_cast<std::int64_t>(after.size()));
        seen = look(c.code);
        after.remove_prefix(static_cast<std::size_t>(c.bytes));
    }
    return seen == Seen::cased ? 0x3C3 : 0x3C2;
}

}  // namespace cloze
