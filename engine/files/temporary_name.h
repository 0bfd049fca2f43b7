// Names of files and folders that are not finished: NAME.tmp-<16 hex digits> while it is written, NAME.old-<16 hex
// digits> for a folder moved aside. Tested by tests/files/atomic_folder_test.cpp.
#pragma once

#include <filesystem>
#include <string_view>

namespace cloze {

inline constexpr std::string_view kWritingMark = ".tmp-";
inline constexpr std::string_view kAsideMark = ".old-";

/// A name beside `path` that nobody uses.
std::filesystem::path name_beside(const std::filesystem::path& path, std::string_view mark);

/// The name in front of the mark and the digits; empty when `name` is not of this form.
std::string_view name_before(std::string_view name, std::string_view mark);

/// True for both kinds of names: whoever lists a folder passes over these.
bool is_temporary_name(std::string_view name);

/// "out" for "out/", so that a name beside it is not one inside it.
std::filesystem::path without_trailing_slash(const std::filesystem::path& path);

/// The folder that holds `path`; "." for a bare name.
std::filesystem::path folder_of(const std::filesystem::path& path);

}  // namespace cloze
