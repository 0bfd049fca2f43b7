#include "engine/files/write.h"

#include <algorithm>
#include <cerrno>
#include <fcntl.h>
#include <utility>

#include "engine/files/temporary_name.h"

namespace cloze {

namespace {

constexpr std::size_t kBufferBytes = 1 << 20;
constexpr std::size_t kPieceBytes = 4 << 20;  // hashed, then written, while still in the cache
constexpr std::int64_t kTailBytes = 64 << 10;

/// Writes all of it, however little each call takes. False with errno set on failure.
bool write_all(int descriptor, std::span<const std::byte> bytes) {
    while (!bytes.empty()) {
        const std::int64_t written = system_calls().write(descriptor, bytes.data(), bytes.size());
        if (written < 0) return false;
        if (written == 0) {
            errno = EIO;
            return false;
        }
        bytes = bytes.subspan(static_cast<std::size_t>(written));
    }
    return true;
}

void read_exactly(const Descriptor& descriptor, const std::filesystem::path& file, std::span<char> to,
                  std::int64_t offset) {
    while (!to.empty()) {
        const std::int64_t bytes = system_calls().read_at(descriptor.number(), to.data(), to.size(), offset);
        if (bytes <= 0) fail_system("read", file, bytes < 0 ? errno : EIO);
        to = to.subspan(static_cast<std::size_t>(bytes));
        offset += bytes;
    }
}

}  // namespace

OutputFile::OutputFile(const std::filesystem::path& file, std::string consequence)
    : path_(file),
      consequence_(std::move(consequence)),
      descriptor_(system_calls().open(file.c_str(), O_WRONLY | O_CREAT | O_EXCL, 0666)) {
    if (!descriptor_) fail_system("create", file, errno, consequence_);
    // Tells remove_leftovers that the file is being written. Where the file system has no locks, its age does.
    system_calls().lock(descriptor_.number());
    buffer_.reserve(kBufferBytes);
}

OutputFile::~OutputFile() {
    if (!unfinished_) return;
    descriptor_.close();
    system_calls().remove_file(path_.c_str());
}

OutputFile::OutputFile(OutputFile&& other) noexcept
    : path_(std::move(other.path_)),
      consequence_(std::move(other.consequence_)),
      descriptor_(std::move(other.descriptor_)),
      buffer_(std::move(other.buffer_)),
      checksum_(std::move(other.checksum_)),
      bytes_(other.bytes_),
      unfinished_(std::exchange(other.unfinished_, false)) {}

void OutputFile::require_open() const {
    require(static_cast<bool>(descriptor_), "output file ", path_.string(), ": used after its end or a failure");
}

void OutputFile::write(std::span<const std::byte> bytes) {
    require_open();
    bytes_ += static_cast<std::int64_t>(bytes.size());
    if (buffer_.size() + bytes.size() > kBufferBytes) flush();
    if (bytes.size() > kBufferBytes) {
        write_through(bytes);
    } else {
        buffer_.insert(buffer_.end(), bytes.begin(), bytes.end());
    }
}

void OutputFile::write_through(std::span<const std::byte> bytes) {
    while (!bytes.empty()) {
        const auto piece = bytes.first(std::min(bytes.size(), kPieceBytes));
        checksum_.update(piece);
        if (!write_all(descriptor_.number(), piece)) {
            const int error_number = errno;
            descriptor_.close();
            fail_system("write", path_, error_number, consequence_);
        }
        bytes = bytes.subspan(piece.size());
    }
}

void OutputFile::flush() {
    write_through(buffer_);
    buffer_.clear();
}

FileChecksum OutputFile::finish() {
    require_open();
    flush();
    if (system_calls().sync(descriptor_.number()) < 0) fail_system("bring to the disk", path_, errno, consequence_);
    // Network file systems tell of a full disk only here.
    if (descriptor_.close() < 0) fail_system("close", path_, errno, consequence_);
    unfinished_ = false;
    return {bytes_, checksum_.digest()};
}

void write_file_atomic(const std::filesystem::path& file, std::string_view contents) {
    const std::filesystem::path folder = folder_of(file);
    const std::string consequence = file.string() + " is unchanged";
    make_folders(folder, consequence);
    const std::filesystem::path temporary = name_beside(file, kWritingMark);
    OutputFile output(temporary, consequence);
    output.write(contents);
    output.finish();
    if (system_calls().rename(temporary.c_str(), file.c_str()) < 0) {
        const int error_number = errno;
        system_calls().remove_file(temporary.c_str());
        fail_system("replace", file, error_number, consequence);
    }
    sync_folder(folder, file.string() + " is in place, but a power failure may bring the old one back");
}

void try_write(const std::filesystem::path& file) {
    require(!Descriptor(system_calls().open(file.c_str(), O_PATH | O_DIRECTORY, 0)), file.string(),
            ": this is a folder; give the name of a file");
    const std::string consequence = file.string() + " is unchanged";
    make_folders(folder_of(file), consequence);
    const OutputFile trial(name_beside(file, kWritingMark), consequence);
}

LineLog::LineLog(const std::filesystem::path& file)
    : path_(file), descriptor_(system_calls().open(file.c_str(), O_RDWR | O_CREAT | O_APPEND, 0666)) {
    if (!descriptor_) fail_system("open", file, errno);
    FileStatus status;
    if (system_calls().status(descriptor_.number(), status) < 0) fail_system("look at", file, errno);
    // Looks for the last line end, a piece at a time from the back.
    bytes_ = status.bytes;
    std::vector<char> piece;
    while (bytes_ > 0) {
        piece.resize(static_cast<std::size_t>(std::min(bytes_, kTailBytes)));
        const std::int64_t start = bytes_ - static_cast<std::int64_t>(piece.size());
        read_exactly(descriptor_, file, piece, start);
        const auto last_end = std::find(piece.rbegin(), piece.rend(), '\n');
        bytes_ = start + (piece.rend() - last_end);
        if (last_end != piece.rend()) break;
    }
    if (bytes_ < status.bytes && system_calls().truncate(descriptor_.number(), bytes_) < 0) {
        fail_system("cut the incomplete last line of", file, errno);
    }
}

void LineLog::append(std::string_view line) {
    require(line.find('\n') == std::string_view::npos, "append to ", path_.string(), ": the line holds a line end");
    std::string whole(line);
    whole += '\n';
    if (!write_all(descriptor_.number(), std::as_bytes(std::span(whole)))) {
        const int error_number = errno;
        system_calls().truncate(descriptor_.number(), bytes_);
        fail_system("append to", path_, error_number, "its lines so far are kept");
    }
    bytes_ += static_cast<std::int64_t>(whole.size());
}

void LineLog::sync() {
    if (system_calls().sync(descriptor_.number()) < 0) fail_system("bring to the disk", path_, errno);
}

std::vector<std::string> read_last_lines(const std::filesystem::path& file, std::int64_t count) {
    const Descriptor descriptor(system_calls().open(file.c_str(), O_RDONLY, 0));
    if (!descriptor && errno == ENOENT) return {};
    if (!descriptor) fail_system("open", file, errno);
    FileStatus status;
    if (system_calls().status(descriptor.number(), status) < 0) fail_system("look at", file, errno);

    // The tail grows, doubling, until it holds the line end before the first line asked for, or the whole file.
    std::string tail;
    for (std::int64_t size = std::min(status.bytes, kTailBytes);; size = std::min(status.bytes, 2 * size)) {
        tail.resize(static_cast<std::size_t>(size));
        read_exactly(descriptor, file, tail, status.bytes - size);
        if (size == status.bytes || std::count(tail.begin(), tail.end(), '\n') > count) break;
    }
    std::vector<std::string> lines;
    std::size_t end = tail.rfind('\n');
    while (end != std::string::npos && static_cast<std::int64_t>(lines.size()) < count) {
        const std::size_t before = end == 0 ? std::string::npos : tail.rfind('\n', end - 1);
        const std::size_t start = before == std::string::npos ? 0 : before + 1;
        lines.push_back(tail.substr(start, end - start));
        end = before;
    }
    std::reverse(lines.begin(), lines.end());
    return lines;
}

std::int64_t free_space(const std::filesystem::path& path) {
    std::filesystem::path folder = without_trailing_slash(path);
    for (;;) {
        if (folder.empty()) folder = ".";
        std::int64_t bytes = 0;
        if (system_calls().free_bytes(folder.c_str(), bytes) == 0) return bytes;
        const bool may_be_above = errno == ENOENT && folder != "." && folder.has_relative_path();
        if (!may_be_above) fail_system("ask for the free space at", folder, errno);
        folder = folder.parent_path();
    }
}

void make_folders(const std::filesystem::path& folder, const std::string& consequence) {
    const std::filesystem::path path = without_trailing_slash(folder);
    if (path.empty()) return;
    if (Descriptor(system_calls().open(path.c_str(), O_PATH | O_DIRECTORY, 0))) return;
    if (errno != ENOENT) fail_system("use as a folder", path, errno, consequence);
    make_folders(path.parent_path(), consequence);
    if (system_calls().make_folder(path.c_str()) < 0 && errno != EEXIST) {
        fail_system("make the folder", path, errno, consequence);
    }
    sync_folder(folder_of(path), consequence);
}

void remove_tree(const std::filesystem::path& path) {
    SystemCalls& system = system_calls();
    if (system.remove_file(path.c_str()) == 0 || errno == ENOENT) return;
    if (errno != EISDIR && errno != EPERM) fail_system("remove", path, errno);
    std::vector<std::string> names;
    if (system.list_folder(path.c_str(), names) < 0) fail_system("remove", path, errno);
    for (const std::string& name : names) remove_tree(path / name);
    if (system.remove_folder(path.c_str()) < 0 && errno != ENOENT) fail_system("remove", path, errno);
}

void sync_folder(const std::filesystem::path& folder, const std::string& consequence) {
    const Descriptor descriptor(system_calls().open(folder.c_str(), O_RDONLY | O_DIRECTORY, 0));
    if (!descriptor) fail_system("open the folder", folder, errno, consequence);
    // EINVAL: a file system that has no such thing as bringing a folder to the disk.
    if (system_calls().sync(descriptor.number()) < 0 && errno != EINVAL) {
        fail_system("bring to the disk the folder", folder, errno, consequence);
    }
}

}  // namespace cloze
