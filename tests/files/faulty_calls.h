// System calls of which one, chosen by its number, goes wrong: it fails, writes short, or is the last before a crash.
#pragma once

#include <cerrno>
#include <map>
#include <string>
#include <vector>

#include "engine/files/system_calls.h"

namespace cloze::test {

enum class FaultMode {
    none,
    fail,          // the call does nothing and fails with error_number
    short_write,   // a write takes half of its bytes and says so; other calls are left alone
    fill_disk,     // a write takes half of its bytes, and every later write fails with ENOSPC
    crash_before,  // the process dies: this call and all later ones have no effect
    crash_after,   // the process dies right after this call
};

struct FaultPlan {
    int at = -1;  // number of the call that goes wrong
    FaultMode mode = FaultMode::none;
    int error_number = EIO;
};

/// Counts the calls and records those that succeed. Nothing is really brought to the disk (sync), so that thousands of
/// saves are quick.
class FaultyCalls : public SystemCalls {
public:
    explicit FaultyCalls(FaultPlan plan = {}) : plan_(plan) {}

    int calls() const { return count_; }
    /// True when the chosen call was reached.
    bool struck() const { return struck_; }
    bool crashed() const { return dead_; }
    const std::vector<std::string>& trace() const { return trace_; }
    bool exchange_is_supported = true;

    int open(const char* path, int flags, unsigned mode) override {
        const int descriptor = guarded(text("open ", path), [&] { return SystemCalls::open(path, flags, mode); });
        if (descriptor >= 0) names_[descriptor] = path;
        return descriptor;
    }
    int close(int descriptor) override {
        // The end of the process closes everything, so a dead one's files are closed for real.
        const int result = SystemCalls::close(descriptor);
        return guarded(text("close ", names_[descriptor]), [&] { return result; });
    }
    std::int64_t read(int descriptor, void* to, std::size_t bytes) override {
        return guarded("read", [&] { return SystemCalls::read(descriptor, to, bytes); });
    }
    std::int64_t read_at(int descriptor, void* to, std::size_t bytes, std::int64_t offset) override {
        return guarded("read", [&] { return SystemCalls::read_at(descriptor, to, bytes, offset); });
    }
    std::int64_t write(int descriptor, const void* from, std::size_t bytes) override {
        const bool is_short =
            (plan_.mode == FaultMode::short_write || plan_.mode == FaultMode::fill_disk) && count_ == plan_.at;
        if (is_short) {
            bytes = (bytes + 1) / 2;
        } else if (plan_.mode == FaultMode::fill_disk && struck_) {
            ++count_;
            errno = ENOSPC;
            return -1;
        }
        return guarded(text("write ", names_[descriptor]), [&] { return SystemCalls::write(descriptor, from, bytes); });
    }
    int sync(int descriptor) override {
        return guarded(text("sync ", names_[descriptor]), [] { return 0; });
    }
    int truncate(int descriptor, std::int64_t bytes) override {
        return guarded(text("truncate ", names_[descriptor]), [&] { return SystemCalls::truncate(descriptor, bytes); });
    }
    int status(int descriptor, FileStatus& status) override {
        return guarded("status", [&] { return SystemCalls::status(descriptor, status); });
    }
    bool map(int descriptor, std::size_t bytes, void*& address) override {
        return guarded("map", [&] { return SystemCalls::map(descriptor, bytes, address) ? 0 : -1; }) == 0;
    }
    int lock(int descriptor) override {
        return guarded("lock", [&] { return SystemCalls::lock(descriptor); });
    }
    int make_folder(const char* path) override {
        return guarded(text("make_folder ", path), [&] { return SystemCalls::make_folder(path); });
    }
    int list_folder(const char* path, std::vector<std::string>& names) override {
        return guarded("list", [&] { return SystemCalls::list_folder(path, names); });
    }
    int read_link(const char* path, std::string& target) override {
        return guarded("link", [&] { return SystemCalls::read_link(path, target); });
    }
    int remove_file(const char* path) override {
        return guarded(text("remove ", path), [&] { return SystemCalls::remove_file(path); });
    }
    int remove_folder(const char* path) override {
        return guarded(text("remove ", path), [&] { return SystemCalls::remove_folder(path); });
    }
    int rename(const char* from, const char* to) override {
        return guarded(text("rename ", from, " ", to), [&] { return SystemCalls::rename(from, to); });
    }
    int exchange(const char* one, const char* other) override {
        return guarded(text("exchange ", one, " ", other), [&] {
            if (exchange_is_supported) return SystemCalls::exchange(one, other);
            errno = EINVAL;
            return -1;
        });
    }
    int free_bytes(const char* path, std::int64_t& bytes) override {
        return guarded("free", [&] { return SystemCalls::free_bytes(path, bytes); });
    }

private:
    template <typename Call>
    auto guarded(const std::string& name, const Call& call) -> decltype(call()) {
        const bool strikes = count_++ == plan_.at && plan_.mode != FaultMode::none;
        struck_ = struck_ || strikes;
        if (strikes && plan_.mode == FaultMode::crash_before) dead_ = true;
        if (dead_ || (strikes && plan_.mode == FaultMode::fail)) {
            errno = dead_ ? EIO : plan_.error_number;
            return -1;
        }
        const auto result = call();
        const int error_number = errno;
        if (result >= 0) trace_.push_back(name);
        if (strikes && plan_.mode == FaultMode::crash_after) dead_ = true;
        errno = error_number;
        return result;
    }

    FaultPlan plan_;
    int count_ = 0;
    bool struck_ = false;
    bool dead_ = false;
    std::vector<std::string> trace_;
    std::map<int, std::string> names_;
};

}  // namespace cloze::test
