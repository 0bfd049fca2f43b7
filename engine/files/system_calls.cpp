#include "engine/files/system_calls.h"

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <climits>
#include <cstring>
#include <dirent.h>
#include <fcntl.h>
#include <limits>
#include <linux/fs.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace cloze {

namespace {

/// Repeats a call that a signal interrupted: saving goes on while SIGTERM is being handled.
template <typename Call>
auto repeat_interrupted(const Call& call) {
    for (;;) {
        const auto result = call();
        if (result >= 0 || errno != EINTR) return result;
    }
}

std::atomic<SystemCalls*> calls_in_use{nullptr};

}  // namespace

int SystemCalls::open(const char* path, int flags, unsigned mode) {
    return repeat_interrupted([&] { return ::open(path, flags | O_CLOEXEC, static_cast<mode_t>(mode)); });
}

int SystemCalls::close(int descriptor) {
    const int result = ::close(descriptor);
    return result < 0 && errno == EINTR ? 0 : result;  // Linux has closed it all the same
}

std::int64_t SystemCalls::read(int descriptor, void* to, std::size_t bytes) {
    return repeat_interrupted([&] { return ::read(descriptor, to, bytes); });
}

std::int64_t SystemCalls::read_at(int descriptor, void* to, std::size_t bytes, std::int64_t offset) {
    return repeat_interrupted([&] { return ::pread(descriptor, to, bytes, offset); });
}

std::int64_t SystemCalls::write(int descriptor, const void* from, std::size_t bytes) {
    return repeat_interrupted([&] { return ::write(descriptor, from, bytes); });
}

int SystemCalls::sync(int descriptor) {
    return repeat_interrupted([&] { return ::fsync(descriptor); });
}

int SystemCalls::truncate(int descriptor, std::int64_t bytes) {
    return repeat_interrupted([&] { return ::ftruncate(descriptor, bytes); });
}

int SystemCalls::status(int descriptor, FileStatus& status) {
    struct stat result;
    if (::fstat(descriptor, &result) < 0) return -1;
    status.is_folder = S_ISDIR(result.st_mode);
    status.is_regular = S_ISREG(result.st_mode);
    status.bytes = result.st_size;
    status.modified_seconds = result.st_mtim.tv_sec;
    status.device = result.st_dev;
    struct statx more;
    const bool tells = ::statx(descriptor, "", AT_EMPTY_PATH, STATX_MNT_ID, &more) == 0;
    status.mount = tells && (more.stx_mask & STATX_MNT_ID) != 0 ? more.stx_mnt_id : 0;
    return 0;
}

bool SystemCalls::map(int descriptor, std::size_t bytes, void*& address) {
    void* result = ::mmap(nullptr, bytes, PROT_READ, MAP_SHARED, descriptor, 0);
    if (result == MAP_FAILED) return false;
    address = result;
    return true;
}

void SystemCalls::unmap(void* address, std::size_t bytes) {
    ::munmap(address, bytes);
}

int SystemCalls::lock(int descriptor) {
    return repeat_interrupted([&] { return ::flock(descriptor, LOCK_EX | LOCK_NB); });
}

int SystemCalls::make_folder(const char* path) {
    return ::mkdir(path, 0777);
}

int SystemCalls::list_folder(const char* path, std::vector<std::string>& names) {
    DIR* folder = ::opendir(path);
    if (folder == nullptr) return -1;
    names.clear();
    errno = 0;
    while (const dirent* entry = ::readdir(folder)) {
        const std::string name = entry->d_name;
        if (name != "." && name != "..") names.push_back(name);
        errno = 0;
    }
    const int error_number = errno;
    ::closedir(folder);
    errno = error_number;
    std::sort(names.begin(), names.end());
    return error_number == 0 ? 0 : -1;
}

int SystemCalls::read_link(const char* path, std::string& target) {
    char name[PATH_MAX];
    const ssize_t bytes = ::readlink(path, name, sizeof name);
    if (bytes < 0) return -1;
    target.assign(name, static_cast<std::size_t>(bytes));
    return 0;
}

int SystemCalls::remove_file(const char* path) {
    return ::unlink(path);
}

int SystemCalls::remove_folder(const char* path) {
    return ::rmdir(path);
}

int SystemCalls::rename(const char* from, const char* to) {
    return ::rename(from, to);
}

int SystemCalls::exchange(const char* one, const char* other) {
    return static_cast<int>(::syscall(SYS_renameat2, AT_FDCWD, one, AT_FDCWD, other, RENAME_EXCHANGE));
}

int SystemCalls::free_bytes(const char* path, std::int64_t& bytes) {
    struct statvfs result;
    if (repeat_interrupted([&] { return ::statvfs(path, &result); }) < 0) return -1;
    if (__builtin_mul_overflow(result.f_bavail, result.f_frsize, &bytes)) {
        bytes = std::numeric_limits<std::int64_t>::max();
    }
    return 0;
}

SystemCalls& system_calls() {
    static SystemCalls real;
    SystemCalls* replaced = calls_in_use.load(std::memory_order_acquire);
    return replaced != nullptr ? *replaced : real;
}

SystemCallsReplacement::SystemCallsReplacement(SystemCalls& calls) : previous_(calls_in_use.exchange(&calls)) {}

SystemCallsReplacement::~SystemCallsReplacement() {
    calls_in_use.store(previous_, std::memory_order_release);
}

namespace {

const char* remedy_for(int error_number) {
    switch (error_number) {
        case ENOSPC:
        case EDQUOT: return "free space or choose another --output";
        case EACCES:
        case EPERM: return "check its permissions and its owner";
        case EROFS: return "the file system is read-only: choose another --output";
        case ENOENT: return "check the path";
        case ENOTDIR: return "a part of the path is a file: check the path";
        case EISDIR: return "this is a folder: give a file";
        case EEXIST: return "it exists already: remove it or choose another name";
        case ENOTEMPTY: return "something else writes there: stop it and try again";
        case EBUSY: return "a file system is mounted there: give a path inside it";
        case EXDEV: return "it lies on another file system, or on another layer of one: choose another --output";
        case ENAMETOOLONG: return "choose a shorter path";
        case ELOOP: return "its symbolic links go in a circle";
        case EMFILE:
        case ENFILE: return "too many files are open: raise the limit (ulimit -n)";
        case EFBIG: return "the file system or a limit (ulimit -f) forbids files of this size: choose another --output";
        case EIO: return "the disk reports a fault: look at dmesg and try another disk";
        case ESTALE: return "the network file system lost the file: try again";
        case ENOMEM: return "there is too little memory: close other programs";
        default: return "check the disk and the path, then try again";
    }
}

std::string system_message(const std::string& doing, const std::filesystem::path& file, int error_number) {
    return text("cannot ", doing, " ", file.string(), ": ", std::strerror(error_number), "; ",
                remedy_for(error_number));
}

}  // namespace

void fail_system(const std::string& doing, const std::filesystem::path& file, int error_number,
                 const std::string& consequence) {
    fail(Fault::io, system_message(doing, file, error_number), consequence.empty() ? "" : "; ", consequence);
}

void fail_reading(const std::string& doing, const std::filesystem::path& file, int error_number) {
    const bool is_no_file = error_number == ENOENT || error_number == ENOTDIR || error_number == EISDIR;
    fail(is_no_file ? Fault::input : Fault::io, system_message(doing, file, error_number));
}

Descriptor& Descriptor::operator=(Descriptor&& other) noexcept {
    if (this != &other) {
        close();
        number_ = other.number_;
        other.number_ = -1;
    }
    return *this;
}

Descriptor::~Descriptor() {
    close();
}

int Descriptor::close() {
    if (number_ < 0) return 0;
    const int number = number_;
    number_ = -1;
    return system_calls().close(number);
}

}  // namespace cloze
