// Where a run of word bytes ends. A byte ends a run when it is ASCII white space or ASCII punctuation: whatever lies
// between two of them becomes the same pieces wherever it stands (but for the sigma of mode google). Tested by
// tests/text/tokenizer_test.cpp.
#pragma once

#include <algorithm>
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

/// The beginning of a run as a key: its bytes, zero from its end on.
struct ShortRun {
    std::uint64_t low;
    std::uint64_t high;
    int bytes;  // kShortRun: it may go on
};

inline constexpr int kShortRun = 16;

/// Spreads keys over a table: the upper bits are the good ones.
inline std::uint64_t hash_of(const ShortRun& run) {
    return (run.low ^ (run.high * 0x9E3779B97F4A7C15u)) * 0xD6E8FEB86659FD93u;
}

#if defined(__SSSE3__)

/// The run at the beginning of 16 readable bytes, ASCII capitals made small with `kLower`. A byte ends it when the
/// tables of its two nibbles share a bit: each bit is a rectangle of nibbles.
template <bool kLower>
ShortRun short_run_of_16(const char* text) {
    // Bits: 1 = 0x09 0x0A 0x0D, 2 = 0x20-0x2F, 4 = 0x3A-0x3F, 8 = 0x40 0x60, 16 = 0x5B-0x5F, 32 = 0x7B-0x7E.
    const __m128i by_low = _mm_setr_epi8(10, 2, 2, 2, 2, 2, 2, 2, 2, 3, 7, 54, 54, 55, 54, 22);
    const __m128i by_high = _mm_setr_epi8(1, 0, 2, 4, 8, 16, 8, 32, 0, 0, 0, 0, 0, 0, 0, 0);
    const __m128i index = _mm_setr_epi8(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    const __m128i nibble = _mm_set1_epi8(0x0F);
    __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(text));
    const __m128i low = _mm_shuffle_epi8(by_low, _mm_and_si128(bytes, nibble));
    const __m128i high = _mm_shuffle_epi8(by_high, _mm_and_si128(_mm_srli_epi16(bytes, 4), nibble));
    const __m128i inside = _mm_cmpeq_epi8(_mm_and_si128(low, high), _mm_setzero_si128());
    const auto ends = static_cast<unsigned>(~_mm_movemask_epi8(inside)) & 0xFFFF;
    const int length = std::countr_zero(ends | 0x10000);
    if constexpr (kLower) {
        const __m128i capital =
            _mm_and_si128(_mm_cmpgt_epi8(bytes, _mm_set1_epi8('A' - 1)), _mm_cmplt_epi8(bytes, _mm_set1_epi8('Z' + 1)));
        bytes = _mm_or_si128(bytes, _mm_and_si128(capital, _mm_set1_epi8('a' - 'A')));
    }
    bytes = _mm_and_si128(bytes, _mm_cmplt_epi8(index, _mm_set1_epi8(static_cast<char>(length))));
    return {static_cast<std::uint64_t>(_mm_cvtsi128_si64(bytes)),
            static_cast<std::uint64_t>(_mm_cvtsi128_si64(_mm_unpackhi_epi64(bytes, bytes))), length};
}

#else

template <bool kLower>
ShortRun short_run_of_16(const char* text) {
    ShortRun run{0, 0, 0};
    for (; run.bytes < kShortRun && !ends_run(text[run.bytes]); ++run.bytes) {
        const auto byte = static_cast<unsigned char>(text[run.bytes]);
        const auto small = static_cast<unsigned char>(kLower && byte >= 'A' && byte <= 'Z' ? byte - 'A' + 'a' : byte);
        std::uint64_t& half = run.bytes < 8 ? run.low : run.high;
        half |= static_cast<std::uint64_t>(small) << (run.bytes % 8 * 8);
    }
    return run;
}

#endif

/// The run that `at` begins, of which at most 16 bytes are looked at.
template <bool kLower>
ShortRun short_run(const char* at, const char* end) {
    if (end - at >= kShortRun) [[likely]] {
        return short_run_of_16<kLower>(at);
    }
    std::array<char, kShortRun> padded;
    padded.fill(' ');
    std::copy(at, end, padded.begin());
    return short_run_of_16<kLower>(padded.data());
}

}  // namespace cloze
