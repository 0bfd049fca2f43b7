#include "engine/files/temporary_name.h"

#include <atomic>
#include <chrono>
#include <string>
#include <unistd.h>

#include "engine/files/checksum.h"

namespace cloze {

std::filesystem::path name_beside(const std::filesystem::path& path, std::string_view mark) {
    static std::atomic<std::uint64_t> names{0};
    const std::uint64_t parts[] = {
        static_cast<std::uint64_t>(::getpid()), names++,
        static_cast<std::uint64_t>(std::chrono::system_clock::now().time_since_epoch().count())};
    std::filesystem::path result = path;
    result += std::string(mark) + checksum_text(xxh3(std::as_bytes(std::span(parts))));
    return result;
}

std::string_view name_before(std::string_view name, std::string_view mark) {
    const std::size_t tail = mark.size() + 16;
    if (name.size() <= tail) return {};
    const std::string_view front = name.substr(0, name.size() - tail);
    if (name.substr(front.size(), mark.size()) != mark) return {};
    return parse_checksum(name.substr(name.size() - 16)) ? front : std::string_view{};
}

bool is_temporary_name(std::string_view name) {
    return !name_before(name, kWritingMark).empty() || !name_before(name, kAsideMark).empty();
}

std::filesystem::path without_trailing_slash(const std::filesystem::path& path) {
    return path.has_filename() || !path.has_relative_path() ? path : path.parent_path();
}

std::filesystem::path folder_of(const std::filesystem::path& path) {
    const std::filesystem::path parent = path.parent_path();
    return parent.empty() ? std::filesystem::path(".") : parent;
}

}  // namespace cloze
