// --device: where to compute. Tested by tests/tools/pretrain_flags_test.cpp.
#pragma once

#include <optional>
#include <string>

#include "engine/device/device.h"

namespace cloze {

/// "cpu": nothing. "cuda" or "cuda:N": the index of a GPU. "auto": GPU 0 where there is one, else nothing. Throws
/// Fault::device where this build commands no GPU, Fault::usage for anything else. Whether the GPU works shows when it
/// is opened (engine/device/device.h).
std::optional<int> device_from(const std::string& device);

/// For commands that compute on the host alone: accepts "auto" and "cpu".
void require_host(const std::string& device);

/// --precision: "f32", "bf16", or "auto": bf16 on a GPU, else f32.
DType precision_from(const std::string& precision, bool on_gpu);

}  // namespace cloze
