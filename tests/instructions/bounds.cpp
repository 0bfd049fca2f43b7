#include "tests/instructions/bounds.h"

#include <bit>
#include <cmath>
#include <limits>

#include "kernels/core/error.h"

namespace cloze::instructions {

namespace {

double float_of(std::uint32_t bits) {
    return static_cast<double>(std::bit_cast<float>(bits));
}

/// Arguments of instructions with .ftz.
double flushed(double x) {
    return std::fabs(x) < 0x1p-126 ? std::copysign(0.0, x) : x;
}

/// The product with log2(e), and log2(e) itself, are rounded.
double error_of_exponent(double x) {
    return 1.25 * 0x1p-24 * std::fabs(x);
}

Bound relative(double exact, double error) {
    return {exact, std::isfinite(exact) ? std::fabs(exact) * error : 0};
}

Bound bound_of_function(const std::string& name, double x) {
    if (name == "fast_exp2") return relative(std::exp2(flushed(x)), 0x1p-22);
    if (name == "fast_log2") {
        const double exact = std::log2(flushed(x));
        return x >= 0.5 && x <= 2 ? Bound{exact, 0x1p-22} : relative(exact, 0x1p-22);
    }
    if (name == "fast_reciprocal") return relative(1 / flushed(x), 0x1p-23);
    if (name == "fast_rsqrt") return relative(1 / std::sqrt(flushed(x)), std::exp2(-22.4));
    if (name == "fast_exp") return relative(std::exp(x), 0x1p-22 + error_of_exponent(x));
    if (name == "fast_sigmoid") return relative(1 / (1 + std::exp(-x)), 0x1p-21 + error_of_exponent(x));
    if (name == "fast_tanh") return {std::tanh(x), 5e-7};
    fail(Fault::internal, name, " has no bound");
}

double half_of(std::uint32_t word, int half) {
    return float_of(half == 0 ? word << 16 : word & 0xffff0000u);
}

/// Element (row, column) of a [16, 16] in the fragments of kernels/device/mma.h.
double a_element(const std::uint32_t* words, int row, int column) {
    const int lane = row % 8 * 4 + column % 8 / 2, word = row / 8 + column / 8 * 2;
    return half_of(words[4 * lane + word], column % 2);
}
double b_element(const std::uint32_t* words, int row, int column) {
    const int lane = column * 4 + row % 8 / 2, word = row / 8;
    return half_of(words[2 * lane + word], row % 2);
}

/// `before` plus 16 products.
template <typename Product>
Bound bound_of_sum(double before, Product product) {
    double exact = before, size = std::fabs(exact);
    for (int k = 0; k < 16; ++k) {
        exact += product(k);
        size += std::fabs(product(k));
    }
    constexpr double kSmallest = 17 * 0x1p-149;  // each term may end below the smallest float
    return {exact, std::isfinite(exact) ? 0x1p-20 * size + kSmallest : 0};
}

void append_bounds_of_product(std::vector<Bound>& bounds, const std::uint32_t* a) {
    const std::uint32_t* b = a + kMatrixAWords;
    const std::uint32_t* d = b + kMatrixBWords;
    for (int i = 0; i < kMatrixDWords; ++i) {
        const int lane = i / 4, row = lane / 4 + i % 4 / 2 * 8, column = 2 * (lane % 4) + i % 2;
        bounds.push_back(
            bound_of_sum(float_of(d[i]), [&](int k) { return a_element(a, row, k) * b_element(b, k, column); }));
    }
}

void append_bounds_of_tall_product(std::vector<Bound>& bounds, const std::uint32_t* a) {
    const std::uint32_t* b = a + kTallAWords;
    const std::uint32_t* d = b + kTallBWords;
    const auto element = [](const std::uint32_t* rows, int row, int k) {
        return half_of(rows[row * 8 + k / 2], k % 2);
    };
    for (int i = 0; i < kTallDWords; ++i) {
        const int row = i / kTallColumns, column = i % kTallColumns;
        bounds.push_back(
            bound_of_sum(float_of(d[i]), [&](int k) { return element(a, row, k) * element(b, column, k); }));
    }
}

}  // namespace

bool Bound::holds(float result) const {
    const double r = static_cast<double>(result);
    if (std::isnan(exact)) return std::isnan(r);
    if (r == exact) return true;
    if (std::isinf(r)) {  // near the largest float
        return std::signbit(r) == std::signbit(exact) &&
               std::fabs(exact) + allowed >= static_cast<double>(std::numeric_limits<float>::max());
    }
    if (r == 0 && std::fabs(exact) - allowed < 0x1p-126) return true;
    return std::fabs(r - exact) <= allowed;
}

std::vector<Bound> bounds_of(const Instruction& instruction, const std::vector<std::uint32_t>& inputs,
                             double rounding) {
    std::vector<Bound> bounds;
    if (instruction.outputs == Outputs::function) {
        for (const std::uint32_t input : inputs) bounds.push_back(bound_of_function(instruction.name, float_of(input)));
    } else {
        const auto append =
            instruction.outputs == Outputs::product ? append_bounds_of_product : append_bounds_of_tall_product;
        for (std::size_t at = 0; at < inputs.size(); at += static_cast<std::size_t>(instruction.input_words)) {
            append(bounds, inputs.data() + at);
        }
    }
    for (Bound& bound : bounds) {
        if (std::isfinite(bound.exact)) bound.allowed += rounding * std::fabs(bound.exact);
    }
    return bounds;
}

}  // namespace cloze::instructions
