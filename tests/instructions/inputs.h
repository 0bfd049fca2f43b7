// Inputs of recorded instructions, by rules: a word is a function of random bits (Philox, counted by case and place),
// the case and the place in it. Every rule brings the values at which arithmetic goes wrong: zeros of both signs,
// infinities, NaN, subnormal numbers, ties, the largest and the smallest.
#pragma once

#include <cstdint>

#include "kernels/core/philox.h"

namespace cloze::instructions {

/// Random bits, number of the case, number of the word in it.
using InputRule = std::uint32_t (*)(PhiloxBits random, int case_number, int index);

std::uint32_t any_bits(PhiloxBits random, int case_number, int index);

/// A float: half of them within 2^-8 to 2^8, the others special.
std::uint32_t any_float(PhiloxBits random, int case_number, int index);

/// A float of at most 2^8, or an infinity in one of 64: for sums.
std::uint32_t summand(PhiloxBits random, int case_number, int index);

/// An argument for fast functions: near 0, near 1, within 20 and 110, any bits, and those that are special.
std::uint32_t argument(PhiloxBits random, int case_number, int index);

/// Words of an mma_m16n8k16: for each of 32 lanes four of a, then for each two of b, then for each four of d. What they
/// are like depends on the case: MatrixCase.
inline constexpr int kMatrixAWords = 32 * 4;
inline constexpr int kMatrixBWords = 32 * 2;
inline constexpr int kMatrixDWords = 32 * 4;
std::uint32_t matrix_word(PhiloxBits random, int case_number, int index);

/// Two bf16 that are integers of -8 to 8.
std::uint32_t small_integers(PhiloxBits random, int case_number, int index);

/// Words of a wgmma: 64 rows of a with 16 bf16 each, 32 columns of b with 16 each, 64 rows of d with 32 f32 each.
/// Alike.
inline constexpr int kTallColumns = 32;
inline constexpr int kTallAWords = 64 * 8;
inline constexpr int kTallBWords = kTallColumns * 8;
inline constexpr int kTallDWords = 64 * kTallColumns;
std::uint32_t tall_matrix_word(PhiloxBits random, int case_number, int index);

enum class MatrixCase {
    usual,       // exponents of -4 to 4; three of eight cases
    wide,        // exponents of -55 to 55
    cancelling,  // all of one magnitude, of both signs
    subnormal,   // a and d below the normal numbers
    zeros,       // 0, -0, 1 and -1
    special,     // usual, with an infinity, NaN or zero here and there
};
MatrixCase matrix_case(int case_number);

}  // namespace cloze::instructions
