// Files for reading: a read-only memory map for the large ones, read_file() for the small ones.
//
// A mapped file that another program shortens while it is mapped ends this process with SIGBUS: that is the price of
// reading without copying. Our own files are never written in place (see atomic_folder.h and write.h), so it takes a
// foreign hand. Tested by tests/files/mapped_file_test.cpp.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>

namespace cloze {

/// The bytes of a file, shared with the page cache. Movable; views of it live as long as it does.
class MappedFile {
public:
    /// No file: zero bytes.
    MappedFile() = default;
    /// Throws Fault::input when it is missing, a folder or not a regular file, and Fault::io when it is unreadable or
    /// changing while it is opened. With `expected_bytes` >= 0, throws Fault::input when the size is another one (a
    /// truncated copy). An empty file is allowed: zero bytes.
    explicit MappedFile(const std::filesystem::path& file, std::int64_t expected_bytes = -1);
    ~MappedFile();
    MappedFile(MappedFile&& other) noexcept;
    MappedFile& operator=(MappedFile&& other) noexcept;

    const std::filesystem::path& path() const { return path_; }
    std::int64_t size() const { return static_cast<std::int64_t>(size_); }
    std::span<const std::byte> bytes() const { return {static_cast<const std::byte*>(address_), size_}; }
    std::string_view text() const { return {static_cast<const char*>(address_), size_}; }

private:
    std::filesystem::path path_;
    void* address_ = nullptr;
    std::size_t size_ = 0;
};

/// The whole file as text, read to its end (pipes and /proc too). Throws Fault::input when it is missing, a folder or
/// longer than `limit_bytes`, and Fault::io when it cannot be read.
std::string read_file(const std::filesystem::path& file, std::int64_t limit_bytes = std::int64_t{1} << 30);

}  // namespace cloze
