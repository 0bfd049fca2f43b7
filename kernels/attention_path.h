// Which kernels compute attention on a device: those of its compute capability, where the build has them.
// Tested by tests/kernels/device/attention_test.cpp.
#pragma once

#include <optional>

namespace cloze {

enum class AttentionPath {
    portable, /* mma.sync and cp.async: compute capability 8.0 and newer */
    hopper,   /* wgmma and the copy engine: 9.0 alone */
};

/// Of a device of this compute capability (80, 90, ...) in this build.
AttentionPath attention_path(int compute_capability);

/// Of the device that this thread commands, unless one is forced.
AttentionPath chosen_attention_path();

/// For tests and benchmarks, which run both: what chosen_attention_path() says from here on, in all threads; nothing
/// undoes it.
void force_attention_path(std::optional<AttentionPath> path);

}  // namespace cloze
