// bf16 in registers: two to a 32-bit word, the first in the low half. NVIDIA's header is not needed: a float is a bf16
// with 16 zero bits below, and the way back is one instruction. Tested by tests/kernels/device/vocabulary_test.cu.
#pragma once

#include <cstdint>

#include "kernels/core/bf16.h"

#ifdef CLOZE_EMULATED
#include "kernels/device/emulated.h"
#endif

namespace cloze {

__device__ inline std::uint32_t bits_of_float(float value) {
#ifdef CLOZE_EMULATED
    return __builtin_bit_cast(std::uint32_t, value);
#else
    return __float_as_uint(value);
#endif
}

__device__ inline float float_of_bits(std::uint32_t bits) {
#ifdef CLOZE_EMULATED
    return __builtin_bit_cast(float, bits);
#else
    return __uint_as_float(bits);
#endif
}

__device__ inline float low_float(std::uint32_t pair) {
    return float_of_bits(pair << 16);
}
__device__ inline float high_float(std::uint32_t pair) {
    return float_of_bits(pair & 0xffff0000u);
}

/// Both rounded to nearest even; NaN becomes 0x7fff.
__device__ inline std::uint32_t pack_bf16(float low, float high) {
#ifdef CLOZE_EMULATED
    const std::uint32_t low_bits = low != low ? 0x7fffu : bf16(low).bits;
    const std::uint32_t high_bits = high != high ? 0x7fffu : bf16(high).bits;
    return low_bits | high_bits << 16;
#else
    std::uint32_t pair;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
    return pair;
#endif
}

/// The same of what is positive; what is negative becomes 0.
__device__ inline std::uint32_t pack_bf16_positive(float low, float high) {
#ifdef CLOZE_EMULATED
    return pack_bf16(low < 0 ? 0.0f : low, high < 0 ? 0.0f : high);
#else
    std::uint32_t pair;
    asm("cvt.rn.relu.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
    return pair;
#endif
}

}  // namespace cloze
