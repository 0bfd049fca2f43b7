// bfloat16: the upper half of an IEEE float. Our own type, so that host code needs no vendor header.
// Tested by tests/kernels/core_test.cpp.
#pragma once

#include <cstdint>
#include <cstring>

#include "kernels/core/host_device.h"

namespace cloze {

struct bf16 {
    std::uint16_t bits = 0;

    bf16() = default;
    /// Rounds to nearest even; NaN stays NaN (quiet).
    CLOZE_HD explicit bf16(float value) {
        std::uint32_t word;
        memcpy(&word, &value, sizeof word);
        const bool is_nan = (word & 0x7fffffffu) > 0x7f800000u;
        const std::uint32_t rounded = (word + 0x7fffu + ((word >> 16) & 1u)) >> 16;
        bits = static_cast<std::uint16_t>(is_nan ? ((word >> 16) | 0x40u) : rounded);
    }
    CLOZE_HD explicit bf16(double value) : bf16(static_cast<float>(value)) {}
    CLOZE_HD operator float() const {
        const std::uint32_t word = static_cast<std::uint32_t>(bits) << 16;
        float value;
        memcpy(&value, &word, sizeof value);
        return value;
    }
};

static_assert(sizeof(bf16) == 2);

}  // namespace cloze
