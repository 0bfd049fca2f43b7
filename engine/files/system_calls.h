// Every call to the operating system that this room makes, behind one small interface: tests replace it and let any
// single call fail, write short, or be the last one before a crash, and so prove what a save leaves behind at every
// point. The real ones add nothing to the cost of the call. Tested by tests/files/fault_test.cpp.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "kernels/core/error.h"

namespace cloze {

/// What the file system says about an open file.
struct FileStatus {
    bool is_folder = false;
    bool is_regular = false;
    std::int64_t bytes = 0;
    std::int64_t modified_seconds = 0;
    std::uint64_t device = 0;  // of the file system it lies on
    std::uint64_t mount = 0;   // tells a folder mounted elsewhere on the same device; 0 before Linux 5.8
};

/// The calls as the operating system offers them: a negative result (or false) means failure with errno set. Paths are
/// C strings; descriptors are the system's.
class SystemCalls {
public:
    virtual ~SystemCalls() = default;

    virtual int open(const char* path, int flags, unsigned mode);
    virtual int close(int descriptor);
    virtual std::int64_t read(int descriptor, void* to, std::size_t bytes);
    virtual std::int64_t read_at(int descriptor, void* to, std::size_t bytes, std::int64_t offset);
    virtual std::int64_t write(int descriptor, const void* from, std::size_t bytes);
    virtual int sync(int descriptor);
    virtual int truncate(int descriptor, std::int64_t bytes);
    virtual int status(int descriptor, FileStatus& status);
    /// True, and the pages at `address`; or false.
    virtual bool map(int descriptor, std::size_t bytes, void*& address);
    virtual void unmap(void* address, std::size_t bytes);
    /// Exclusive lock of an open file or folder without waiting; it ends with the descriptor or the process.
    virtual int lock(int descriptor);

    virtual int make_folder(const char* path);
    /// Names in a folder, without "." and "..", sorted.
    virtual int list_folder(const char* path, std::vector<std::string>& names);
    /// Where a symbolic link leads; EINVAL for what is none.
    virtual int read_link(const char* path, std::string& target);
    virtual int remove_file(const char* path);
    virtual int remove_folder(const char* path);
    virtual int rename(const char* from, const char* to);
    /// Swaps two names in one step; EINVAL or ENOSYS where the file system cannot.
    virtual int exchange(const char* one, const char* other);
    /// Network file systems may claim more than 63 bits hold: then the most of these.
    virtual int free_bytes(const char* path, std::int64_t& bytes);
};

/// The calls in use.
SystemCalls& system_calls();

/// Replaces the calls in use while it lives. For tests; one at a time.
class SystemCallsReplacement {
public:
    explicit SystemCallsReplacement(SystemCalls& calls);
    ~SystemCallsReplacement();
    SystemCallsReplacement(const SystemCallsReplacement&) = delete;
    SystemCallsReplacement& operator=(const SystemCallsReplacement&) = delete;

private:
    SystemCalls* previous_;
};

/// Throws Fault::io: "cannot DOING FILE: No space left on device; free space or choose another --output; CONSEQUENCE".
/// The remedy follows from `error_number`; the consequence may be empty.
[[noreturn]] void fail_system(const std::string& doing, const std::filesystem::path& file, int error_number,
                              const std::string& consequence = "");

/// The same for a file that is only read. Where there is none of that name, or no file, the input is wrong and not the
/// machine: Fault::input.
[[noreturn]] void fail_reading(const std::string& doing, const std::filesystem::path& file, int error_number);

/// A descriptor that closes itself. close() reports failure, the destructor does not.
class Descriptor {
public:
    Descriptor() = default;
    explicit Descriptor(int number) : number_(number) {}
    Descriptor(Descriptor&& other) noexcept : number_(other.number_) { other.number_ = -1; }
    Descriptor& operator=(Descriptor&& other) noexcept;
    ~Descriptor();

    explicit operator bool() const { return number_ >= 0; }
    int number() const { return number_; }
    /// Result of the system's close; the descriptor is gone whatever it is.
    int close();

private:
    int number_ = -1;
};

}  // namespace cloze
