// The four bytes of a word at once, for decisions of 8 bits each: a random byte against a threshold.
// Tested by tests/kernels/device/vocabulary_test.cu.
#pragma once

#include <cstdint>

#ifdef CLOZE_EMULATED
#include "kernels/device/emulated.h"
#endif

namespace cloze {

/// Four of the eight bytes of a (bytes 0 to 3) and b (4 to 7), one named by each hexadecimal digit of `digits`, the
/// last digit for the lowest byte of the result. A digit of 8 + i gives the top bit of byte i, eight times.
__device__ inline std::uint32_t permute_bytes(std::uint32_t a, std::uint32_t b, std::uint32_t digits) {
#ifdef CLOZE_EMULATED
    return emulated::permute_bytes(a, b, digits);
#else
    std::uint32_t result;
    asm("prmt.b32 %0, %1, %2, %3;" : "=r"(result) : "r"(a), "r"(b), "r"(digits));
    return result;
#endif
}

/// A threshold of 0 to 255, made ready for bytes_at_least().
struct ByteThreshold {
    std::uint32_t subtrahend = 0;
    std::uint32_t either = 0;
};

inline ByteThreshold byte_threshold(std::uint32_t threshold) {
    const std::uint32_t every_byte = 0x01010101u;
    return threshold <= 128 ? ByteThreshold{threshold * every_byte, ~0u}
                            : ByteThreshold{(threshold - 128) * every_byte, 0u};
}

/// The top bit of each byte says whether that byte of x is at least the threshold t; the other bits say nothing. Three
/// instructions: with the top bits of x set, no subtraction borrows, and each leaves its top bit set where the low
/// seven bits are at least t (t <= 128) or t - 128.
__device__ inline std::uint32_t bytes_at_least(std::uint32_t x, ByteThreshold threshold) {
    const std::uint32_t difference = (x | 0x80808080u) - threshold.subtrahend;
    return (difference & x) | (threshold.either & (difference | x));
}

}  // namespace cloze
