#include "engine/files/mapped_file.h"

#include <algorithm>
#include <cerrno>
#include <fcntl.h>
#include <utility>

#include "engine/files/system_calls.h"

namespace cloze {

namespace {

FileStatus status_of(const Descriptor& descriptor, const std::filesystem::path& file) {
    FileStatus status;
    if (system_calls().status(descriptor.number(), status) < 0) fail_reading("look at", file, errno);
    if (status.is_folder) fail_reading("read", file, EISDIR);
    return status;
}

Descriptor open_for_reading(const std::filesystem::path& file, int flags = 0) {
    Descriptor descriptor(system_calls().open(file.c_str(), O_RDONLY | flags, 0));
    if (!descriptor) fail_reading("open", file, errno);
    return descriptor;
}

}  // namespace

MappedFile::MappedFile(const std::filesystem::path& file, std::int64_t expected_bytes) : path_(file) {
    const Descriptor descriptor = open_for_reading(file, O_NONBLOCK);  // a pipe must be refused, not waited for
    const FileStatus status = status_of(descriptor, file);
    require_input(status.is_regular, "cannot map ", file.string(), ": it is not a regular file; copy it into one");
    require_input(expected_bytes < 0 || status.bytes == expected_bytes, file.string(), ": has ", status.bytes,
                  " bytes, ", expected_bytes, " were expected; the file is ",
                  status.bytes < expected_bytes ? "truncated" : "not the one that was written",
                  ": copy or make it again");
    if (status.bytes == 0) return;
    size_ = static_cast<std::size_t>(status.bytes);
    if (!system_calls().map(descriptor.number(), size_, address_)) {
        size_ = 0;
        fail_reading("map", file, errno);
    }
    FileStatus after;
    if (system_calls().status(descriptor.number(), after) < 0 || after.bytes != status.bytes) {
        system_calls().unmap(std::exchange(address_, nullptr), std::exchange(size_, 0));
        fail(Fault::io, "cannot map ", file.string(), ": its size changes (", status.bytes, " bytes, then ",
             after.bytes, "); wait until whoever writes it is done");
    }
}

MappedFile::~MappedFile() {
    if (address_ != nullptr) system_calls().unmap(address_, size_);
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : path_(std::move(other.path_)),
      address_(std::exchange(other.address_, nullptr)),
      size_(std::exchange(other.size_, 0)) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
    std::swap(path_, other.path_);
    std::swap(address_, other.address_);
    std::swap(size_, other.size_);
    return *this;
}

std::string read_file(const std::filesystem::path& file, std::int64_t limit_bytes) {
    const Descriptor descriptor = open_for_reading(file);
    const FileStatus status = status_of(descriptor, file);
    const auto require_within = [&](std::int64_t bytes) {
        require_input(bytes <= limit_bytes, file.string(), ": is longer than the ", limit_bytes,
                      " bytes allowed here; is it the right file?");
    };
    require_within(status.bytes);
    std::string contents;
    std::size_t used = 0;
    for (;;) {
        // One byte more than there should be shows the end without growing again; pipes say 0 and give more.
        const std::size_t expected = static_cast<std::size_t>(status.bytes) + 1;
        contents.resize(used < expected ? expected : 2 * used);
        const std::int64_t bytes =
            system_calls().read(descriptor.number(), contents.data() + used, contents.size() - used);
        if (bytes < 0) fail_reading("read", file, errno);
        if (bytes == 0) break;
        used += static_cast<std::size_t>(bytes);
        require_within(static_cast<std::int64_t>(used));
    }
    contents.resize(used);
    return contents;
}

}  // namespace cloze
