// Initial weights: N(0, initializer_range) for matrices and tables, 0 for biases, 1 for LayerNorm
// weights. Each value is a function of (seed, parameter name, element), so it depends neither on the layout nor on
// threads. Tested by tests/model/parameters_test.cpp.
#pragma once

#include <cstdint>
#include <string>

#include "engine/model/parameters.h"

namespace cloze {

enum class Initialization : std::uint8_t {
    truncated_normal,  // cut at two sigma and redrawn, as Google's code
    normal,            // as HuggingFace
};

/// "truncated-normal" or "normal"; throws Fault::usage for another name.
Initialization initialization_from(const std::string& name);
const char* name_of(Initialization kind);

/// Fills every row of `weights` (f32 or f64, host); alignment gaps and padding rows become 0.
void initialize(const ParameterView& weights, double initializer_range, std::uint64_t seed, Initialization kind);

/// The same for one row only, for a head that a loaded checkpoint lacks.
void initialize_row(const ParameterView& weights, int index, double initializer_range, std::uint64_t seed,
                    Initialization kind);

}  // namespace cloze
