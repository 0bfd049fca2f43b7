#include "engine/text/sentences.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <string>

#include "engine/text/utf8.h"

// The rules, in the order they are asked at every run of full stops:
//  1. CJK full stops (。！？｡) end a sentence wherever they stand, with the closing quotes and brackets behind them.
//  2. Every other stop (. ! ? … and the full stops of Arabic, Urdu, Armenian, Devanagari, Ethiopic), with the closing
//     quotes and brackets behind it, needs white space or the end of the paragraph after it. So nothing is cut inside
//     3.14, U.S.A, example.com or "Yahoo!'s".
//  3. What follows must be able to begin a sentence: after opening quotes and brackets, anything but a lower-case
//  letter.
//     In a paragraph without any capital (lower-cased text), lower-case letters may begin one too.
//  4. A single full stop belongs to the word before it when that is
//     - a title or an abbreviation that needs a continuation (Dr. Mr. vs. e.g.): never the end;
//     - an abbreviation of a number (No. Fig. pp.) and a digit follows: not the end;
//     - an initial (J.), letters with stops (U.S., p.m.) or an abbreviation that may end a sentence (Inc. etc.): the
//     end
//       only before one of the commonest words that begin sentences (The, He, It, But ...);
//     - a number that opens the sentence (1. Introduction): not the end.
namespace cloze {
namespace {

using Words = std::string_view;

// Each list is one string, words between spaces, lower-case.
constexpr Words kNeedsContinuation =
    " mr mrs ms messrs mme mlle dr prof rev hon gen col maj capt cmdr lt sgt cpl pvt adm sen rep gov pres supt insp st"
    " mt ft vs cf e.g i.e viz al ed eds trans est approx dept univ assn bros ave blvd rd jan feb mar apr jun jul aug"
    " sep sept oct nov dec mon tue tues wed thu thurs fri ";
constexpr Words kBeforeNumber = " no nos fig figs eq eqs p pp vol vols ch chap sec art vs ver ca c ";
constexpr Words kMayEndSentence = " inc ltd co corp jr sr etc esq bros ph.d m.d b.a m.a ";
constexpr Words kBeginsSentences =
    " a an the this that these those there he she it they we you i his her its their our my in on at by from of for to"
    " with and but or so yet if when while as after before since because although though however then thus what who"
    " why how where no not one some many most all each every another other such both ";

bool contains(Words list, const std::string& word) {
    return !word.empty() && list.find(" " + word + " ") != Words::npos;
}

bool is_one_of(char32_t code, std::u32string_view set) {
    return set.find(code) != std::u32string_view::npos;
}

bool is_space(char32_t code) {
    return code == ' ' || (code >= '\t' && code <= '\r') || code == 0x85 || code == 0xA0 || code == 0x1680 ||
           (code >= 0x2000 && code <= 0x200A) || code == 0x2028 || code == 0x2029 || code == 0x202F || code == 0x205F ||
           code == 0x3000;
}
bool is_cjk_stop(char32_t code) {
    return is_one_of(code, U"\u3002\uFF01\uFF1F\uFF61");
}
bool is_stop(char32_t code) {
    return is_one_of(code, U".!?\u2026\u203C\u2047\u2048\u2049\u061F\u06D4\u0589\u0964\u0965\u1362\u1367");
}
bool is_closing(char32_t code) {
    return is_one_of(code, U"\"')]}\u201D\u2019\u00BB\u203A\u300D\u300F\uFF09\u3011\u3009\u300B\uFF63");
}
bool is_opening(char32_t code) {
    return is_one_of(code, U"\"'([{\u201C\u2018\u00AB\u2039\u201E\u00BF\u00A1\u300C\u300E\uFF08\u3010\u3008\u300A");
}
bool is_digit(char32_t code) {
    return code >= '0' && code <= '9';
}

// Latin, Greek and Cyrillic capitals and small letters, roughly: all that rule 3 needs.
bool is_upper(char32_t code) {
    return (code >= 'A' && code <= 'Z') || (code >= 0xC0 && code <= 0xDE && code != 0xD7) ||
           (code >= 0x100 && code <= 0x17F && code % 2 == 0) || (code >= 0x391 && code <= 0x3A9) ||
           (code >= 0x400 && code <= 0x42F);
}
bool is_lower(char32_t code) {
    return (code >= 'a' && code <= 'z') || (code >= 0xDF && code <= 0xFF && code != 0xF7) ||
           (code >= 0x100 && code <= 0x17F && code % 2 == 1) || (code >= 0x3B1 && code <= 0x3C9) ||
           (code >= 0x430 && code <= 0x45F);
}

class Splitter {
public:
    Splitter(std::string_view text, std::vector<std::string_view>& sentences) : text_(text), sentences_(sentences) {
        for (std::size_t at = 0; at < text_.size() && !has_capitals_; at = next(at)) has_capitals_ = is_upper(code(at));
    }

    void run() {
        for (std::size_t at = 0; at < text_.size();) {
            if (!is_stop(code(at)) && !is_cjk_stop(code(at))) {
                at = next(at);
                continue;
            }
            const std::size_t stop = at;
            bool cjk = false;
            std::size_t stops = 0;
            for (; at < text_.size() && (is_stop(code(at)) || is_cjk_stop(code(at))); at = next(at), ++stops) {
                cjk |= is_cjk_stop(code(at));
            }
            while (at < text_.size() && is_closing(code(at))) at = next(at);
            if (cjk || ends_sentence(stop, stops, at)) cut(at);
        }
        cut(text_.size());
    }

private:
    char32_t code(std::size_t at) const { return decode(at).code; }
    std::size_t next(std::size_t at) const { return at + static_cast<std::size_t>(decode(at).bytes); }
    Utf8Character decode(std::size_t at) const {
        return decode_utf8(text_.data() + at, static_cast<std::int64_t>(text_.size() - at));
    }

    /// Rules 2 to 4 for the `stops` stops at `stop`, behind whose closing quotes `after` stands.
    bool ends_sentence(std::size_t stop, std::size_t stops, std::size_t after) const {
        if (after == text_.size()) return true;
        if (!is_space(code(after))) return false;
        while (after < text_.size() && (is_space(code(after)) || is_opening(code(after)))) after = next(after);
        if (after == text_.size()) return true;
        const char32_t following = code(after);
        if (has_capitals_ && is_lower(following)) return false;
        return stops > 1 || text_[stop] != '.' || !belongs_to_word(stop, after);
    }

    /// Rule 4.
    bool belongs_to_word(std::size_t stop, std::size_t after) const {
        std::size_t first = stop;
        while (first > start_ && !is_ascii_boundary(text_[first - 1])) --first;
        const std::string word = lower(text_.substr(first, stop - first));
        if (word.empty()) return false;
        if (contains(kNeedsContinuation, word)) return true;
        if (contains(kBeforeNumber, word) && is_digit(code(after))) return true;
        const bool number =
            std::all_of(word.begin(), word.end(), [](char c) { return is_digit(static_cast<char32_t>(c)); });
        if (number) return only_space_before(first);
        const bool initial = next(first) == stop && is_upper(code(first));
        const bool dotted = word.size() >= 3 && word[1] == '.' && word[word.size() - 2] == '.';
        if (!initial && !dotted && !contains(kMayEndSentence, word)) return false;
        std::size_t end = after;
        while (end < text_.size() && !is_ascii_boundary(text_[end]) && text_[end] != ',') ++end;
        return !contains(kBeginsSentences, lower(text_.substr(after, end - after)));
    }

    bool only_space_before(std::size_t at) const {
        const std::string_view before = text_.substr(start_, at - start_);
        return std::all_of(before.begin(), before.end(), [](char c) { return is_ascii_boundary(c); });
    }

    static bool is_ascii_boundary(char c) {
        const auto code = static_cast<unsigned char>(c);
        return code < 0x80 && (is_space(code) || is_opening(code));
    }

    static std::string lower(std::string_view word) {
        std::string result(word);
        for (char& c : result) c = static_cast<char>(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
        return result;
    }

    void cut(std::size_t end) {
        while (start_ < end && is_space(code(start_))) start_ = next(start_);
        std::size_t last = start_;
        for (std::size_t at = start_; at < end; at = next(at)) {
            if (!is_space(code(at))) last = next(at);
        }
        if (last > start_) sentences_.push_back(text_.substr(start_, last - start_));
        start_ = end;
    }

    std::string_view text_;
    std::vector<std::string_view>& sentences_;
    std::size_t start_ = 0;  // of the sentence being read
    bool has_capitals_ = false;
};

}  // namespace

void split_sentences(std::string_view paragraph, std::vector<std::string_view>& sentences) {
    Splitter(paragraph, sentences).run();
}

}  // namespace cloze
