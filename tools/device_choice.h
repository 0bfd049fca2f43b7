// --device: what this build can compute on. Tested by tests/tools/pretrain_flags_test.cpp.
#pragma once

#include <string>

namespace cloze {

/// Accepts "auto" and "cpu". Throws Fault::device for "cuda", which this build does not have, and Fault::usage for
/// anything else.
void require_device(const std::string& device);

}  // namespace cloze
