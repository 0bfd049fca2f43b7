// exp, erf and tanh of host loops. In float: branch-free, so that a loop over them vectorises (0.5 to 0.9 ns a value on
// one 2.4 GHz core with AVX2; std::erf takes 9). In double: the standard library, since double judges the kernels. One
// name for both, so that an op is one template on its arithmetic type.
//
// The coefficients are minimax fits of this project (Lawson iteration in 40 digits). Largest errors, against double:
//
//   exp   1.1 units in the last place, subnormal results included; overflow gives infinity
//   erf   1.5 units, 9.0e-8 absolute; exactly +-1 far out, so that GELU is exactly 0 or x there
//   tanh  2.3 units, 1.4e-7 absolute; exactly +-1 far out
//
// NaN gives NaN. A rational erf (degree 5 over 5) was a third faster, but its rounding error near 1 four times as
// large.
//
// Tested by tests/kernels/host_math_test.cpp.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>

namespace cloze::math {

inline double exp(double x) {
    return std::exp(x);
}
inline double erf(double x) {
    return std::erf(x);
}
inline double tanh(double x) {
    return std::tanh(x);
}

namespace detail {

// 1.5 * 2^23: adding it leaves the rounded integer in the low bits of the sum.
inline constexpr float kRound = 12582912.0f;

/// e^x = 2^exponent * fraction, fraction in [0.7, 1.5].
struct ExpParts {
    float fraction;
    std::int32_t exponent;
};

inline ExpParts split_exp(float x) {
    const float shifted = x * 1.44269504f + kRound;
    const float n = shifted - kRound;
    // ln 2 in two parts; the first has few enough bits that its product with n is exact.
    float r = x - n * 0.693145752f;
    r = r - n * 1.42860677e-6f;
    float p = 0.00138366538f;
    p = p * r + 0.00837485254f;
    p = p * r + 0.0416682309f;
    p = p * r + 0.166664197f;
    p = p * r + 0.499999921f;
    p = p * r + 1.00000004f;
    p = p * r + 1.0f;
    return {p, std::bit_cast<std::int32_t>(shifted) - std::bit_cast<std::int32_t>(kRound)};
}

}  // namespace detail

inline float exp(float x) {
    // Past these bounds the result is 0 or infinity anyhow. Comparisons are false for NaN, which passes through.
    x = x < -104.0f ? -104.0f : x;
    x = x > 89.0f ? 89.0f : x;
    const detail::ExpParts e = detail::split_exp(x);
    // In two factors, since the exponent reaches 128 and -150, where 2^n is no normal float.
    const std::int32_t half = e.exponent >> 1;
    const float scale1 = std::bit_cast<float>(static_cast<std::uint32_t>(half + 127) << 23);
    const float scale2 = std::bit_cast<float>(static_cast<std::uint32_t>(e.exponent - half + 127) << 23);
    return e.fraction * scale1 * scale2;
}

namespace detail {

/// e^x for |x| <= 40, relative error 3e-7: for results that are then added to something larger, erf and tanh below.
inline float rough_exp(float x) {
    const float shifted = x * 1.44269504f + kRound;
    const float r = x - (shifted - kRound) * 0.693147181f;
    float p = 0.00829758588f;
    p = p * r + 0.0419156306f;
    p = p * r + 0.166675771f;
    p = p * r + 0.499988926f;
    p = p * r + 0.999999691f;
    p = p * r + 1.00000007f;
    // Adds n to the exponent: all of kRound's bits leave by the shift.
    return std::bit_cast<float>(std::bit_cast<std::uint32_t>(p) + (std::bit_cast<std::uint32_t>(shifted) << 23));
}

}  // namespace detail

/// Near 0, x times a polynomial in x^2; beyond 0.92, 1 - erfc(x) with a polynomial for log erfc, so that the error of
/// the exponential shrinks with erfc.
inline float erf(float x) {
    const float size = std::fabs(x);
    const float s = x * x;
    float near = 8.38205346e-5f;
    near = near * s - 0.000814551121f;
    near = near * s + 0.00520127778f;
    near = near * s - 0.0268594964f;
    near = near * s + 0.112836973f;
    near = near * s - 0.376126338f;
    near = near * s + 0.128379167f;
    near = near * x + x;

    const float inside = size > 3.95f ? 3.95f : size;
    float log_erfc = 0.000195099118f;
    log_erfc = log_erfc * inside - 0.00303518237f;
    log_erfc = log_erfc * inside + 0.0221956879f;
    log_erfc = log_erfc * inside - 0.103868555f;
    log_erfc = log_erfc * inside - 0.637251997f;
    log_erfc = log_erfc * inside - 1.12763548f;
    log_erfc = log_erfc * inside - 0.000205078491f;
    const float far = 1.0f - detail::rough_exp(log_erfc);
    return size > 0.92f ? std::copysign(far, x) : near;
}

/// Near 0, x plus x^3 times a polynomial in x^2; beyond 0.55, 1 - 2 / (e^2x + 1).
inline float tanh(float x) {
    const float size = std::fabs(x);
    const float s = x * x;
    float near = -0.00628231679f;
    near = near * s + 0.0210776393f;
    near = near * s - 0.0538538263f;
    near = near * s + 0.133326013f;
    near = near * s - 0.333333180f;
    near = near * s * x + x;

    const float inside = size > 9.1f ? 9.1f : size;
    const float far = 1.0f - 2.0f / (detail::rough_exp(inside + inside) + 1.0f);
    return size > 0.55f ? std::copysign(far, x) : near;
}

}  // namespace cloze::math
