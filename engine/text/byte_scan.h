// Where a run of word bytes ends. A byte ends a run when it is ASCII white space or ASCII punctuation: whatever lies
// between two of them becomes the same pieces wherever it stands (but for the sigma of mode google). Tested by
// tests/text/tokenizer_test.cpp.
#pragma once

#include <array>
#include <bit>
#include <cstdint>

#if defined(__SSSE3__)
#include <tmmintrin.h>
#endif

namespace cloze {

enum class ByteClass : std::uint8_t {
    letter,       // ASCII letter or digit: stands for itself, or its lower case
    other,        // not ASCII, or a control character: part of a run that needs the general path
    space,        // ends a run
    punctuation,  // ends a run and is a word
};

inline constexpr std::array<ByteClass, 256> kByteClass = [] {
    std::array<ByteClass, 256> classes{};
    for (int c = 0; c < 256; ++c) {
        const bool letter = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
        const bool space = c == ' ' || c == '\t' || c == '\n' || c == '\r';
        classes[static_cast<std::size_t>(c)] = letter                ? ByteClass::letter
                                               : space               ? ByteClass::space
                                               : c > ' ' && c < 0x7F ? ByteClass::punctuation
                                                                     : ByteClass::other;
    }
    return classes;
}();

constexpr ByteClass byte_class(char c) {
    return kByteClass[static_cast<unsigned char>(c)];
}

constexpr bool ends_run(char c) {
    return byte_class(c) >= ByteClass::space;
}

inline const char* end_of_run(const char* at, const char* end) {
    while (at != end && !ends_run(*at)) ++at;
    return at;
}

/// The run that 16 readable bytes begin with, as a key: the bytes, zero from its end on.
struct ShortRun {
    std::uint64_t low;
    std::uint64_t high;
    int bytes;  // 16: it may go on
};

inline constexpr int kShortRun = 16;

#if defined(__SSSE3__)

/// Bit b of tables[lo] & tables[hi] is set when the byte ends a run: the ranges are rectangles of nibbles.
inline ShortRun short_run(const char* text) {
    // Bits: 1 = 0x09 0x0A 0x0D, 2 = 0x20-0x2F, 4 = 0x3A-0x3F, 8 = 0x40 0x60, 16 = 0x5B-0x5F, 32 = 0x7B-0x7E.
    const __m128i by_low = _mm_setr_epi8(10, 2, 2, 2, 2, 2, 2, 2, 2, 3, 7, 54, 54, 55, 54, 22);
    const __m128i by_high = _mm_setr_epi8(1, 0, 2, 4, 8, 16, 8, 32, 0, 0, 0, 0, 0, 0, 0, 0);
    const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(text));
    const __m128i nibble = _mm_set1_epi8(0x0F);
    const __m128i low = _mm_shuffle_epi8(by_low, _mm_and_si128(bytes, nibble));
    const __m128i high = _mm_shuffle_epi8(by_high, _mm_and_si128(_mm_srli_epi16(bytes, 4), nibble));
    const __m128i inside = _mm_cmpeq_epi8(_mm_and_si128(low, high), _mm_setzero_si128());
    const auto ends = static_cast<unsigned>(~_mm_movemask_epi8(inside)) & 0xFFFF;
    const int length = std::countr_zero(ends | 0x10000);
    const __m128i index = _mm_setr_epi8(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    const __m128i kept = _mm_and_si128(bytes, _mm_cmplt_epi8(index, _mm_set1_epi8(static_cast<char>(length))));
    return {static_cast<std::uint64_t>(_mm_cvtsi128_si64(kept)),
            static_cast<std::uint64_t>(_mm_cvtsi128_si64(_mm_unpackhi_epi64(kept, kept))), length};
}

#else

inline ShortRun short_run(const char* text) {
    ShortRun run{0, 0, 0};
    while (run.bytes < kShortRun && !ends_run(text[run.bytes])) {
        std::uint64_t& half = run.bytes < 8 ? run.low : run.high;
        half |= static_cast<std::uint64_t>(static_cast<unsigned char>(text[run.bytes])) << (run.bytes % 8 * 8);
        ++run.bytes;
    }
    return run;
}

#endif

}  // namespace cloze
