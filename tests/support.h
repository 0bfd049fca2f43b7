// What tests of every room share: counted skips, test data, temporary folders.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>

namespace cloze::test {

/// Marks the running test case as skipped in ctest's count. The case returns right after.
void skip(const std::string& reason);

/// `object` lives until the running case ends. (A static would outlive what it needs, such as the GPU's runtime.)
void keep_until_case_ends(std::shared_ptr<const void> object);

/// The folder of external corpora, from CLOZE_TEST_DATA; nothing when it is not set. Cases that need it skip without
/// it.
std::optional<std::filesystem::path> test_data();

/// A folder of its own, removed with its contents at the end.
class TemporaryFolder {
public:
    TemporaryFolder();
    ~TemporaryFolder();
    TemporaryFolder(const TemporaryFolder&) = delete;
    TemporaryFolder& operator=(const TemporaryFolder&) = delete;
    const std::filesystem::path& path() const { return path_; }

private:
    std::filesystem::path path_;
};

/// Writes `contents` to `file`, making its folders.
void write_file(const std::filesystem::path& file, const std::string& contents);
std::string read_file(const std::filesystem::path& file);

}  // namespace cloze::test
