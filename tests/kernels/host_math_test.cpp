#include "kernels/core/host_math.h"

#include <bit>
#include <limits>

#include "tests/kernels/op_testing.h"

using namespace cloze;

namespace {

// Calls body for every 1021st float (a prime, so that all exponents and mantissas are visited), both signs.
template <typename Body>
void for_floats(const Body& body) {
    for (std::uint64_t bits = 0; bits < 0x100000000ull; bits += 1021) {
        body(std::bit_cast<float>(static_cast<std::uint32_t>(bits)));
    }
}

// |got - exact| in units in the last place of the exact value as a float.
double ulps(float got, double exact) {
    int exponent = 0;
    std::frexp(exact, &exponent);
    const double unit = std::ldexp(1.0, std::max(exponent - 24, -149));
    return std::abs(static_cast<double>(got) - exact) / unit;
}

constexpr float kInfinity = std::numeric_limits<float>::infinity();

/// The errors are those of release builds, which fuse multiply-adds. Sanitizer builds, at -O1, do so in fewer places.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr double kUnfused = 1.2;
#else
constexpr double kUnfused = 1;
#endif

}  // namespace

TEST_CASE("float exp is within 1.1 units in the last place everywhere") {
    double worst = 0;
    for_floats([&](float x) {
        const double exact = std::exp(static_cast<double>(x));
        const float got = math::exp(x);
        if (std::isnan(x)) {
            if (!std::isnan(got)) worst = INFINITY;
        } else if (exact > static_cast<double>(std::numeric_limits<float>::max())) {
            if (!std::isinf(got)) worst = INFINITY;
        } else {
            worst = std::max(worst, ulps(got, exact));
        }
    });
    CHECK(worst < 1.1 * kUnfused);
    CHECK(math::exp(0.0f) == 1.0f);
    CHECK(math::exp(kInfinity) == kInfinity);
    CHECK(math::exp(-kInfinity) == 0.0f);
}

TEST_CASE("float erf is within 1.5 units and 9e-8 everywhere, and exact far out") {
    double worst = 0, absolute = 0;
    for_floats([&](float x) {
        const float got = math::erf(x);
        if (std::isnan(x)) {
            if (!std::isnan(got)) worst = INFINITY;
            return;
        }
        const double exact = std::erf(static_cast<double>(x));
        worst = std::max(worst, ulps(got, exact));
        absolute = std::max(absolute, std::abs(static_cast<double>(got) - exact));
        if (std::abs(x) >= 3.93f && std::abs(got) != 1.0f) worst = INFINITY;
    });
    CHECK(worst < 1.51 * kUnfused);
    CHECK(absolute < 9.0e-8 * kUnfused);
    CHECK(math::erf(kInfinity) == 1.0f);
    CHECK(std::signbit(math::erf(-0.0f)));
}

TEST_CASE("float tanh is within 2.3 units and 1.4e-7 everywhere, and exact far out") {
    double worst = 0, absolute = 0;
    for_floats([&](float x) {
        const float got = math::tanh(x);
        if (std::isnan(x)) {
            if (!std::isnan(got)) worst = INFINITY;
            return;
        }
        const double exact = std::tanh(static_cast<double>(x));
        worst = std::max(worst, ulps(got, exact));
        absolute = std::max(absolute, std::abs(static_cast<double>(got) - exact));
        if (std::abs(x) >= 9.02f && std::abs(got) != 1.0f) worst = INFINITY;
    });
    CHECK(worst < 2.3);
    CHECK(absolute < 1.4e-7);
    CHECK(math::tanh(-kInfinity) == -1.0f);
}

TEST_CASE("double math is the standard library's") {
    for (const double x : {-3.0, -0.5, 0.0, 0.7, 20.0}) {
        CHECK(math::exp(x) == std::exp(x));
        CHECK(math::erf(x) == std::erf(x));
        CHECK(math::tanh(x) == std::tanh(x));
    }
}
