// Files for writing: a streaming file that knows its checksum, small files replaced in one step, and a log of complete
// lines. Everything is on the disk (fsync) before it is called written. Tested by tests/files/write_test.cpp and, with
// every system call failing once, by tests/files/fault_test.cpp.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/files/checksum.h"
#include "engine/files/system_calls.h"

namespace cloze {

/// A new file, written from start to end. Buffers 1 MiB; a failed write throws Fault::io with a remedy. Without
/// finish() the file is removed again.
class OutputFile {
public:
    /// The file must not exist. `consequence` ends every error message: what the failure did not touch.
    explicit OutputFile(const std::filesystem::path& file, std::string consequence = "");
    ~OutputFile();
    OutputFile(OutputFile&&) noexcept;
    OutputFile& operator=(OutputFile&&) = delete;

    const std::filesystem::path& path() const { return path_; }
    std::int64_t bytes_written() const { return bytes_; }
    void write(std::span<const std::byte> bytes);
    void write(std::string_view text) { write(std::as_bytes(std::span(text.data(), text.size()))); }
    /// Writes what is buffered, brings it to the disk, closes.
    FileChecksum finish();

private:
    void write_through(std::span<const std::byte> bytes);
    void flush();
    void require_open() const;

    std::filesystem::path path_;
    std::string consequence_;
    Descriptor descriptor_;
    std::vector<std::byte> buffer_;
    Xxh3 checksum_;
    std::int64_t bytes_ = 0;
    bool unfinished_ = true;
};

/// Replaces `file` by `contents` in one step: a reader, or a crash, sees the old or the new contents, never a mixture.
/// Makes the folders on the way. A symbolic link is replaced, not followed.
void write_file_atomic(const std::filesystem::path& file, std::string_view contents);

/// Throws at once what write_file_atomic would throw after hours of work: makes the folders on the way, and writes a
/// file there that is gone again.
void try_write(const std::filesystem::path& file);

/// A text file that grows by complete lines (metrics.jsonl). Opening it drops an incomplete last line, which a crash
/// may have left; a failed append takes back what it wrote of its line. Lines are in the page cache, not on the disk,
/// until sync().
class LineLog {
public:
    explicit LineLog(const std::filesystem::path& file);
    /// `line` without its end; must not hold a line end.
    void append(std::string_view line);
    void sync();

private:
    std::filesystem::path path_;
    Descriptor descriptor_;
    std::int64_t bytes_ = 0;  // of complete lines
};

/// The last `count` complete lines, oldest first, without their ends; reads only the tail of the file. A missing file
/// has none.
std::vector<std::string> read_last_lines(const std::filesystem::path& file, std::int64_t count);

/// Bytes a user may still write where `path` is or will be (its nearest existing folder counts).
std::int64_t free_space(const std::filesystem::path& path);

/// Makes the folder and its parents, as far as they are missing, durably.
void make_folders(const std::filesystem::path& folder, const std::string& consequence = "");

/// Removes a file or folder and everything in it. Links are removed, not followed. Missing is fine.
void remove_tree(const std::filesystem::path& path);

/// Brings a folder's list of names to the disk.
void sync_folder(const std::filesystem::path& folder, const std::string& consequence = "");

}  // namespace cloze
