// UTF-8, a character at a time. Invalid bytes are cut into sequences as Python's errors="replace" cuts them (the
// maximal part that could have begun a character is one sequence). Tested by tests/text/tokenizer_test.cpp.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace cloze {

inline constexpr char32_t kReplacement = 0xFFFD;
inline constexpr char32_t kCodePoints = 0x110000;

struct Utf8Character {
    char32_t code;  // kReplacement where invalid
    std::int32_t bytes;
    bool valid;
};

/// The character at `text`, of which `size` > 0 bytes follow.
inline Utf8Character decode_utf8(const char* text, std::int64_t size) {
    const auto at = [&](int i) { return static_cast<unsigned char>(text[i]); };
    const unsigned char lead = at(0);
    if (lead < 0x80) return {lead, 1, true};
    if (lead < 0xC2 || lead > 0xF4) return {kReplacement, 1, false};
    const int length = lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
    // The second byte excludes overlong forms, surrogates and what lies beyond U+10FFFF.
    const unsigned char low = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
    const unsigned char high = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
    char32_t code = lead & (0xFF >> (length + 1));
    for (int i = 1; i < length; ++i) {
        if (i >= size || at(i) < (i == 1 ? low : 0x80) || at(i) > (i == 1 ? high : 0xBF)) {
            return {kReplacement, i, false};
        }
        code = code << 6 | (at(i) & 0x3F);
    }
    return {code, length, true};
}

/// Writes `code` at `out`, which has room for 4 bytes. Returns the bytes written.
inline int encode_utf8(char* out, char32_t code) {
    if (code < 0x80) {
        out[0] = static_cast<char>(code);
        return 1;
    }
    if (code < 0x800) {
        out[0] = static_cast<char>(0xC0 | code >> 6);
        out[1] = static_cast<char>(0x80 | (code & 0x3F));
        return 2;
    }
    if (code < 0x10000) {
        out[0] = static_cast<char>(0xE0 | code >> 12);
        out[1] = static_cast<char>(0x80 | (code >> 6 & 0x3F));
        out[2] = static_cast<char>(0x80 | (code & 0x3F));
        return 3;
    }
    out[0] = static_cast<char>(0xF0 | code >> 18);
    out[1] = static_cast<char>(0x80 | (code >> 12 & 0x3F));
    out[2] = static_cast<char>(0x80 | (code >> 6 & 0x3F));
    out[3] = static_cast<char>(0x80 | (code & 0x3F));
    return 4;
}

inline void append_utf8(std::string& out, char32_t code) {
    char bytes[4];
    out.append(bytes, static_cast<std::size_t>(encode_utf8(bytes, code)));
}

/// The byte where the first invalid sequence begins, or -1.
inline std::int64_t first_invalid_utf8(std::string_view text) {
    const auto size = static_cast<std::int64_t>(text.size());
    for (std::int64_t at = 0; at < size;) {
        const Utf8Character c = decode_utf8(text.data() + at, size - at);
        if (!c.valid) return at;
        at += c.bytes;
    }
    return -1;
}

}  // namespace cloze
