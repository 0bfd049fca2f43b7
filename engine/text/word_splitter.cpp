#include "engine/text/word_splitter.h"

namespace cloze {

void Word::clear() {
    text_.clear();
    sources_.clear();
    run_.clear();
    characters_ = 0;
}

void Word::append(char32_t code, SourceSpan source) {
    append_utf8(text_, code);
    ++characters_;
    run_.clear();
    if (keeps_sources_) sources_.push_back(source);
}

// The sources stay in place: a character that moves takes the span of the position it moves to, as in HuggingFace's.
void Word::append_ordered(char32_t code, std::uint8_t combining_class, SourceSpan source) {
    char bytes[4];
    const auto length = static_cast<std::size_t>(encode_utf8(bytes, code));
    auto place = run_.end();
    std::size_t byte = text_.size();
    while (place != run_.begin() && std::prev(place)->combining_class > combining_class) {
        --place;
        byte = place->byte;
    }
    text_.insert(byte, bytes, length);
    place = run_.insert(place, {byte, combining_class});
    for (++place; place != run_.end(); ++place) place->byte += length;
    ++characters_;
    if (keeps_sources_) sources_.push_back(source);
}

// The standard's arithmetic: 19 leading consonants, 21 vowels, 27 trailing consonants or none.
void WordSplitter::add_hangul(char32_t syllable, SourceSpan source, Word& word) {
    const char32_t index = syllable - 0xAC00;
    word.append(0x1100 + index / (21 * 28), source);
    word.append(0x1161 + index % (21 * 28) / 28, source);
    if (index % 28 != 0) word.append(0x11A7 + index % 28, source);
}

}  // namespace cloze
