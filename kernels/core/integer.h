// Whole quotients and multiples of non-negative integers. Tested by tests/kernels/core_test.cpp.
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

}  // namespace cloze
