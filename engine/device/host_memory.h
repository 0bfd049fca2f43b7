// What the host's memory can still take, so that a run that will not fit is refused before it starts and not killed in
// the middle. Tested by tests/device/host_memory_test.cpp.
#pragma once

#include <cstdint>
#include <filesystem>

namespace cloze {

/// Bytes this process may still take: what the kernel counts as available, or less where a control group (a container,
/// a batch system) sets a limit. `root` is the file system's, another one in tests. Without such information: the
/// largest integer.
std::int64_t available_host_bytes(const std::filesystem::path& root = "/");

}  // namespace cloze
