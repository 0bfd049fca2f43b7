// Whole quotients and multiples of non-negative integers, and ranges of them. Tested by tests/kernels/core_test.cpp.
#pragma once

#include <cstdint>

namespace cloze {

/// value / unit, rounded up: how many parts of `unit` cover `value`.
constexpr std::int64_t divide_up(std::int64_t value, std::int64_t unit) {
    return (value + unit - 1) / unit;
}

/// The least multiple of `unit` that is not below `value`.
constexpr std::int64_t round_up(std::int64_t value, std::int64_t unit) {
    return divide_up(value, unit) * unit;
}

/// Whether [first, first + count) lies in [0, size), whatever the numbers: the end is not computed, which may not fit.
constexpr bool lies_within(std::int64_t first, std::int64_t count, std::int64_t size) {
    return first >= 0 && count >= 0 && count <= size && first <= size - count;
}

}  // namespace cloze
