// What is wrong with a recording. Tested by tests/instructions/instructions_test.cpp.
#pragma once

#include <string>
#include <vector>

#include "tests/instructions/recording.h"

namespace cloze::instructions {

/// Functions and products that leave their bounds: a line for each instruction. `rounding` as in bounds_of().
std::vector<std::string> broken_bounds(const Recordings& recordings, double rounding);

/// Instructions that the recorded device has and this one too, and that are not recorded: added since.
std::vector<std::string> not_recorded(const Recordings& recorded, const Recordings& here);

/// Exact instructions whose bits differ, and instructions that were computed from other inputs.
std::vector<std::string> differing_bits(const Recordings& recorded, const Recordings& here);

}  // namespace cloze::instructions
