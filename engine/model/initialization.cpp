#include "engine/model/initialization.h"

#include <cmath>
#include <numbers>

#include "kernels/cast.h"
#include "kernels/core/parallel.h"
#include "kernels/core/philox.h"

namespace cloze {
namespace {

constexpr std::int64_t kElementsPerChunk = 1 << 14;

/// FNV-1a: gives each parameter its own part of the counter space.
std::uint32_t hash_name(const std::string& name) {
    std::uint32_t hash = 2166136261u;
    for (const char c : name) hash = (hash ^ static_cast<unsigned char>(c)) * 16777619u;
    return hash;
}

/// The two normal numbers of one counter (Box and Muller 1958). The uniform under the logarithm is never 0.
struct NormalPair {
    double first, second;
};
NormalPair normal_pair(const PhiloxBits& bits) {
    const double u = (bits.word[0] + 0.5) * 0x1p-32;
    const double angle = 2 * std::numbers::pi * (bits.word[1] * 0x1p-32);
    const double radius = std::sqrt(-2 * std::log(u));
    return {radius * std::cos(angle), radius * std::sin(angle)};
}

double draw(std::uint64_t element, std::uint32_t name, PhiloxKey key, Initialization kind) {
    const auto purpose = static_cast<std::uint32_t>(RandomPurpose::initialization) << 24;
    for (std::uint32_t attempt = 0;; ++attempt) {
        const auto low = static_cast<std::uint32_t>(element);
        const auto high = static_cast<std::uint32_t>(element >> 32) & 0xffffu;
        const NormalPair pair = normal_pair(philox(low, (attempt << 16) | high, name, purpose, key));
        if (kind == Initialization::normal || std::abs(pair.first) <= 2) return pair.first;
        if (std::abs(pair.second) <= 2) return pair.second;
    }
}

template <typename T>
void fill_random(T* values, std::int64_t count, double sigma, PhiloxKey key, std::uint32_t name, Initialization kind) {
    parallel_chunks(count, kElementsPerChunk, [&](std::int64_t first, std::int64_t last, std::int64_t) {
        for (std::int64_t i = first; i < last; ++i) {
            values[i] = static_cast<T>(sigma * draw(static_cast<std::uint64_t>(i), name, key, kind));
        }
    });
}

}  // namespace

Initialization initialization_from(const std::string& name) {
    if (name == "truncated-normal") return Initialization::truncated_normal;
    if (name == "normal") return Initialization::normal;
    fail(Fault::usage, "initialization '", name, "' is unknown; use truncated-normal or normal");
}

const char* name_of(Initialization kind) {
    return kind == Initialization::truncated_normal ? "truncated-normal" : "normal";
}

void initialize_row(const ParameterView& weights, int index, double initializer_range, std::uint64_t seed,
                    Initialization kind) {
    const Parameter& row = weights.table->rows[static_cast<std::size_t>(index)];
    const Tensor all = weights.flat.column_range(row.offset, row.padded_rows * row.cols);
    fill({.y = all, .value = 0}, {});
    const Tensor values = weights.flat.column_range(row.offset, row.count());
    if (row.initial == InitialValue::one) fill({.y = values, .value = 1}, {});
    if (row.initial != InitialValue::random) return;
    const PhiloxKey key = philox_key(seed);
    const std::uint32_t name = hash_name(row.name);
    visit_float(values.dtype, [&]<typename T>() {
        fill_random(values.data<T>(), values.count(), initializer_range, key, name, kind);
    });
}

void initialize(const ParameterView& weights, double initializer_range, std::uint64_t seed, Initialization kind) {
    fill({.y = weights.flat, .value = 0}, {});
    for (std::size_t i = 0; i < weights.table->rows.size(); ++i) {
        initialize_row(weights, static_cast<int>(i), initializer_range, seed, kind);
    }
}

}  // namespace cloze
