// How far a device's results may lie from the truth, which is computed in double.
//
//   functions   the error that kernels/device/math.h states; results below 2^-126 may be 0
//   products    2^-20 of the sum of the magnitudes of the 16 products and of d: both a loop in float and a tensor core,
//               which aligns the 17 terms to the largest and truncates them, stay within it
//
// An infinite or undefined result is the same in every device. Where two devices each keep the bound, they agree within
// twice of it. Tested by tests/instructions/instructions_test.cpp.
#pragma once

#include <cstdint>
#include <vector>

#include "tests/instructions/instructions.h"

namespace cloze::instructions {

/// The truth, and what a result may lie away from it.
struct Bound {
    double exact;
    double allowed;
    bool holds(float result) const;
};

/// For each output of a function or product, given all inputs. `rounding`: what is allowed besides, relative to the
/// result.
std::vector<Bound> bounds_of(const Instruction& instruction, const std::vector<std::uint32_t>& inputs, double rounding);

}  // namespace cloze::instructions
