// Eight Philox calls at once, for host loops that draw many: their counters are (c0 + lane, c1, c2, c3). The bits are
// those of philox(), in the order the caller reads them: word by word, or call by call. Two bodies with the same
// results: AVX2 instructions (16 ns for eight calls on a 2.4 GHz core), and plain loops for other processors (50 ns).
// Left to the compiler, vectors of 32-bit words took 100 ns: the high halves of products cost it shuffles. Both bodies
// are tested against philox() by tests/kernels/philox_lanes_test.cpp.
#pragma once

#include <cstdint>
#ifdef __AVX2__
#include <immintrin.h>
#endif

#include "kernels/core/philox.h"

namespace cloze {

inline constexpr std::uint32_t kPhiloxLanes = 8;

namespace philox_plain {

/// words[w][lane]
inline void by_word(std::uint32_t words[4][kPhiloxLanes], const PhiloxCounter& first, PhiloxKey key) {
#pragma omp simd
    for (std::uint32_t lane = 0; lane < kPhiloxLanes; ++lane) {
        const PhiloxBits bits = philox(first.c0 + lane, first.c1, first.c2, first.c3, key);
        for (int w = 0; w < 4; ++w) words[w][lane] = bits.word[w];
    }
}

/// words[lane][w]
inline void by_call(std::uint32_t words[kPhiloxLanes][4], const PhiloxCounter& first, PhiloxKey key) {
#pragma omp simd
    for (std::uint32_t lane = 0; lane < kPhiloxLanes; ++lane) {
        const PhiloxBits bits = philox(first.c0 + lane, first.c1, first.c2, first.c3, key);
        for (int w = 0; w < 4; ++w) words[lane][w] = bits.word[w];
    }
}

}  // namespace philox_plain

#ifdef __AVX2__

namespace philox_avx2 {

/// Four calls: a word of each in the low half of a 64-bit lane, where one instruction gives the full product. The high
/// halves hold leftovers that no product reads.
struct FourCalls {
    __m256i word[4];
};

/// `c0`: the first words of the four counters, whose other words are those of `first`.
inline FourCalls four_calls(__m256i c0, const PhiloxCounter& first, PhiloxKey key) {
    const __m256i multiplier0 = _mm256_set1_epi64x(0xD2511F53);
    const __m256i multiplier1 = _mm256_set1_epi64x(0xCD9E8D57);
    __m256i c1 = _mm256_set1_epi64x(first.c1);
    __m256i c2 = _mm256_set1_epi64x(first.c2);
    __m256i c3 = _mm256_set1_epi64x(first.c3);
    for (int round = 0; round < 10; ++round) {
        const __m256i product0 = _mm256_mul_epu32(multiplier0, c0);
        const __m256i product1 = _mm256_mul_epu32(multiplier1, c2);
        c0 = _mm256_xor_si256(_mm256_xor_si256(_mm256_srli_epi64(product1, 32), c1), _mm256_set1_epi64x(key.low));
        c2 = _mm256_xor_si256(_mm256_xor_si256(_mm256_srli_epi64(product0, 32), c3), _mm256_set1_epi64x(key.high));
        c1 = product1;
        c3 = product0;
        key.low += 0x9E3779B9u;
        key.high += 0xBB67AE85u;
    }
    return {{c0, c1, c2, c3}};
}

/// First words c0 + a, c0 + b, c0 + c, c0 + d, from the lowest lane up.
inline __m256i first_words(std::uint32_t c0, std::uint32_t a, std::uint32_t b, std::uint32_t c, std::uint32_t d) {
    return _mm256_set_epi64x(c0 + d, c0 + c, c0 + b, c0 + a);
}

inline void by_word(std::uint32_t words[4][kPhiloxLanes], const PhiloxCounter& first, PhiloxKey key) {
    // Shuffling takes the low halves of two lanes of `low`, then of `high`, in each half of the vector.
    const FourCalls low = four_calls(first_words(first.c0, 0, 1, 4, 5), first, key);
    const FourCalls high = four_calls(first_words(first.c0, 2, 3, 6, 7), first, key);
    for (int w = 0; w < 4; ++w) {
        const __m256 lanes = _mm256_shuffle_ps(_mm256_castsi256_ps(low.word[w]), _mm256_castsi256_ps(high.word[w]),
                                               _MM_SHUFFLE(2, 0, 2, 0));
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(words[w]), _mm256_castps_si256(lanes));
    }
}

inline void by_call(std::uint32_t words[kPhiloxLanes][4], const PhiloxCounter& first, PhiloxKey key) {
    for (std::uint32_t lane = 0; lane < kPhiloxLanes; lane += 4) {
        // Calls 0, 2, 1, 3, so that the unpacking below leaves them in order.
        const FourCalls calls = four_calls(first_words(first.c0 + lane, 0, 2, 1, 3), first, key);
        const __m256i words01 = _mm256_blend_epi32(calls.word[0], _mm256_slli_epi64(calls.word[1], 32), 0b10101010);
        const __m256i words23 = _mm256_blend_epi32(calls.word[2], _mm256_slli_epi64(calls.word[3], 32), 0b10101010);
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(words[lane]), _mm256_unpacklo_epi64(words01, words23));
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(words[lane + 2]), _mm256_unpackhi_epi64(words01, words23));
    }
}

}  // namespace philox_avx2

namespace philox_lanes = philox_avx2;

#else

namespace philox_lanes = philox_plain;

#endif

}  // namespace cloze
