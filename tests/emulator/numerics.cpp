// Approximate instructions: the right result, moved by up to the error that the PTX manual allows, in a direction that
// depends on the argument alone. Subnormal arguments and results are zero (.ftz). And prmt, which is exact.
#include <bit>
#include <cmath>
#include <cstdint>

#include "kernels/device/emulated.h"

namespace cloze::emulated {

namespace {

float flushed(float x) {
    return std::fabs(x) < 0x1p-126f ? std::copysign(0.0f, x) : x;
}

/// `exact` times 1 + e, |e| at most `error`, rounded so that the whole stays within 2 * `error` or so.
float moved(double exact, double error, float argument) {
    const std::uint32_t hash = std::bit_cast<std::uint32_t>(argument) * 0x9E3779B9u;
    const double direction = static_cast<double>(static_cast<std::int32_t>(hash)) * 0x1p-31;
    return flushed(static_cast<float>(exact * (1 + direction * error)));
}

}  // namespace

std::uint32_t permute_bytes(std::uint32_t a, std::uint32_t b, std::uint32_t digits) {
    const std::uint64_t bytes = a | static_cast<std::uint64_t>(b) << 32;
    std::uint32_t result = 0;
    for (std::uint32_t i = 0; i < 4; ++i) {
        const std::uint32_t digit = digits >> (4 * i) & 0xfu;
        const auto byte = static_cast<std::uint32_t>(bytes >> (8 * (digit & 7u)) & 0xffu);
        result |= (digit < 8 ? byte : byte >= 128 ? 0xffu : 0u) << (8 * i);
    }
    return result;
}

float approximate_exp2(float x) {
    x = flushed(x);
    if (x == std::floor(x)) return flushed(std::exp2(x));
    return moved(std::exp2(static_cast<double>(x)), 0x1p-22, x);
}

float approximate_log2(float x) {
    x = flushed(x);
    const double exact = std::log2(static_cast<double>(x));
    const bool near_one = x >= 0.5f && x <= 2.0f;
    const float direction = moved(1, 1, x) - 1.0f;
    return near_one ? static_cast<float>(exact + static_cast<double>(direction) * 0x1p-22) : moved(exact, 0x1p-22, x);
}

float approximate_reciprocal(float x) {
    x = flushed(x);
    return moved(1 / static_cast<double>(x), 0x1p-24, x);
}

float approximate_rsqrt(float x) {
    x = flushed(x);
    return moved(1 / std::sqrt(static_cast<double>(x)), 0x1p-23, x);
}

}  // namespace cloze::emulated
