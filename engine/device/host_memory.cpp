#include "engine/device/host_memory.h"

#include <algorithm>
#include <fstream>
#include <limits>
#include <optional>
#include <string>

namespace cloze {
namespace {

namespace fs = std::filesystem;

std::optional<std::int64_t> number_in(const fs::path& file) {
    std::ifstream in(file);
    std::int64_t value = 0;
    if (in >> value) return value;
    return std::nullopt;  // no such file, or "max"
}

std::optional<std::int64_t> available_by_kernel(const fs::path& root) {
    std::ifstream in(root / "proc/meminfo");
    for (std::string name; in >> name;) {
        std::int64_t kibibytes = 0;
        if (name == "MemAvailable:" && in >> kibibytes) return kibibytes * 1024;
    }
    return std::nullopt;
}

/// The second version's unified tree. Inside a container its own group is the root; limits of groups above a nested one
/// are not looked for.
std::optional<std::int64_t> left_in_group(const fs::path& root) {
    std::string group;
    std::ifstream in(root / "proc/self/cgroup");
    for (std::string line; std::getline(in, line);) {
        if (line.starts_with("0::/")) group = line.substr(4);
    }
    const fs::path folder = root / "sys/fs/cgroup" / group;
    const auto limit = number_in(folder / "memory.max"), used = number_in(folder / "memory.current");
    if (!limit || !used) return std::nullopt;
    return std::max<std::int64_t>(0, *limit - *used);
}

}  // namespace

std::int64_t available_host_bytes(const fs::path& root) {
    constexpr std::int64_t kUnknown = std::numeric_limits<std::int64_t>::max();
    return std::min(available_by_kernel(root).value_or(kUnknown), left_in_group(root).value_or(kUnknown));
}

}  // namespace cloze
