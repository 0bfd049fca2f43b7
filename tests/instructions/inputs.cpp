#include "tests/instructions/inputs.h"

#include <bit>
#include <cmath>
#include <iterator>

namespace cloze::instructions {

namespace {

constexpr std::uint32_t kSign = 0x80000000u;
constexpr std::uint32_t kMantissa = 0x007fffffu;
constexpr std::uint32_t kInfinity = 0x7f800000u;
constexpr std::uint32_t kQuietNan = 0x7fc00000u;

/// A float with the sign and the mantissa of `bits`.
std::uint32_t with_exponent(std::uint32_t bits, int exponent) {
    return (bits & (kSign | kMantissa)) | static_cast<std::uint32_t>(127 + exponent) << 23;
}

/// `low` to `high`, both included.
int in_range(std::uint32_t bits, int low, int high) {
    return low + static_cast<int>(bits % static_cast<std::uint32_t>(high - low + 1));
}

/// Uniform in [-size, size).
std::uint32_t uniform(std::uint32_t bits, double size) {
    return std::bit_cast<std::uint32_t>(static_cast<float>((bits * 0x1p-31 - 1) * size));
}

/// A float in [2^-8, 2^9) or its negative.
std::uint32_t usual_float(PhiloxBits random) {
    return with_exponent(random.word[0], in_range(random.word[2], -8, 8));
}

std::uint32_t special_argument(std::uint32_t choice) {
    constexpr std::uint32_t kValues[] = {0x00000000, 0x3f800000, kInfinity,  kQuietNan,  0x00000001, 0x007fffff,
                                         0x00800000, 0x7f7fffff, 0x3f000000, 0x40000000, 0x7e800000, 0x7e800001,
                                         0x7f000000, 0x42fc0000, 0x43000000, 0x3f7fffff, 0x7f800001, 0x42b17218,
                                         0x42aeac50, 0x3f800001, 0x41880000, 0x3fb8aa3b, 0x00ffffff, 0x34000000};
    return kValues[choice / 2 % std::size(kValues)] ^ (choice & 1u) << 31;
}

/// The exponents of a, b and d in one kind of case.
struct Exponents {
    int operand_low, operand_high, sum_low, sum_high;
};

Exponents exponents_of(MatrixCase kind) {
    switch (kind) {
        case MatrixCase::wide: return {-55, 55, -110, 110};
        case MatrixCase::cancelling: return {0, 0, 2, 4};
        default: return {-4, 4, -4, 8};
    }
}

std::uint32_t special_float(std::uint32_t bits) {
    switch (bits >> 8 & 3u) {
        case 0: return kQuietNan;
        case 1: return bits & kSign;
        default: return kInfinity | (bits & kSign);
    }
}

/// The upper half of a float: an element of a or b.
std::uint32_t matrix_element(std::uint32_t bits, std::uint32_t choice, MatrixCase kind, bool of_a) {
    if (kind == MatrixCase::zeros) return ((bits & kSign) | (choice & 1u) * 0x3f800000u) >> 16;
    if (kind == MatrixCase::subnormal && of_a) return (bits & (kSign | kMantissa)) >> 16;
    if (kind == MatrixCase::special && choice % 64 == 0) return special_float(choice) >> 16;
    const Exponents range = exponents_of(kind);
    return with_exponent(bits, in_range(choice >> 6, range.operand_low, range.operand_high)) >> 16;
}

std::uint32_t matrix_sum(std::uint32_t bits, std::uint32_t choice, MatrixCase kind) {
    if (kind == MatrixCase::zeros) return (bits & kSign) | (choice & 1u) * 0x3f800000u;
    if (kind == MatrixCase::subnormal) return bits & (kSign | kMantissa);
    if (kind == MatrixCase::special && choice % 16 == 0) return special_float(choice);
    const Exponents range = exponents_of(kind);
    return with_exponent(bits, in_range(choice >> 6, range.sum_low, range.sum_high));
}

}  // namespace

std::uint32_t any_bits(PhiloxBits random, int, int) {
    return random.word[0];
}

std::uint32_t any_float(PhiloxBits random, int, int) {
    const std::uint32_t bits = random.word[0];
    switch (random.word[1] % 16) {
        case 0: return bits & kSign;
        case 1: return (bits & kSign) | kInfinity;
        case 2: return bits | kInfinity | 1u;                                      // NaN of any payload
        case 3: return bits & (kSign | kMantissa);                                 // subnormal
        case 4: return (bits & 0xffff0000u) | 0x8000u;                             // between two bf16
        case 5: return (bits & kSign) | 0x7f7f0000u | (random.word[2] & 0xffffu);  // about the largest bf16
        case 6:
        case 7: return bits;
        default: return usual_float(random);
    }
}

std::uint32_t summand(PhiloxBits random, int, int) {
    return random.word[1] % 64 == 0 ? (random.word[0] & kSign) | kInfinity : usual_float(random);
}

std::uint32_t argument(PhiloxBits random, int, int) {
    const std::uint32_t bits = random.word[0];
    switch (random.word[1] % 8) {
        case 0: return bits;
        case 1: return special_argument(random.word[2]);
        case 2: return uniform(bits, 1);
        case 3: return uniform(bits, 110);
        case 4: return with_exponent(bits, in_range(random.word[2], -126, -1));
        case 5: return 0x3f800000u + static_cast<std::uint32_t>(in_range(bits, -(1 << 16), 1 << 16));  // near 1
        case 6: return std::bit_cast<std::uint32_t>(static_cast<float>(in_range(bits, -130, 130)));
        default: return uniform(bits, 20);
    }
}

MatrixCase matrix_case(int case_number) {
    constexpr MatrixCase kKinds[] = {MatrixCase::usual, MatrixCase::usual,      MatrixCase::usual,
                                     MatrixCase::wide,  MatrixCase::cancelling, MatrixCase::subnormal,
                                     MatrixCase::zeros, MatrixCase::special};
    return kKinds[static_cast<std::size_t>(case_number) % std::size(kKinds)];
}

namespace {

std::uint32_t word_of_product(PhiloxBits random, int case_number, bool of_a, bool of_d) {
    const MatrixCase kind = matrix_case(case_number);
    if (of_d) return matrix_sum(random.word[0], random.word[1], kind);
    return matrix_element(random.word[0], random.word[2], kind, of_a) |
           matrix_element(random.word[1], random.word[3], kind, of_a) << 16;
}

}  // namespace

std::uint32_t matrix_word(PhiloxBits random, int case_number, int index) {
    return word_of_product(random, case_number, index < kMatrixAWords, index >= kMatrixAWords + kMatrixBWords);
}

std::uint32_t tall_matrix_word(PhiloxBits random, int case_number, int index) {
    return word_of_product(random, case_number, index < kTallAWords, index >= kTallAWords + kTallBWords);
}

std::uint32_t small_integers(PhiloxBits random, int, int) {
    const auto half = [](std::uint32_t bits) {
        return std::bit_cast<std::uint32_t>(static_cast<float>(in_range(bits, -8, 8))) >> 16;
    };
    return half(random.word[0]) | half(random.word[1]) << 16;
}

}  // namespace cloze::instructions
