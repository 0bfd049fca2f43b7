// Bytes that end exactly at an unreadable page: reading one too many ends the test.
#pragma once

#include <cstddef>
#include <cstring>
#include <span>
#include <stdexcept>
#include <string_view>
#include <sys/mman.h>
#include <unistd.h>

namespace cloze::test {

class GuardedBytes {
public:
    explicit GuardedBytes(std::size_t capacity) {
        const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
        readable_ = (capacity + page - 1) / page * page;
        mapped_ = readable_ + page;
        void* address = mmap(nullptr, mapped_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (address == MAP_FAILED) throw std::runtime_error("no memory for guarded bytes");
        start_ = static_cast<std::byte*>(address);
        mprotect(start_ + readable_, page, PROT_NONE);
    }
    ~GuardedBytes() { munmap(start_, mapped_); }
    GuardedBytes(const GuardedBytes&) = delete;
    GuardedBytes& operator=(const GuardedBytes&) = delete;

    /// `contents`, moved so that they end at the guard. At most the capacity.
    std::span<const std::byte> hold(std::string_view contents) {
        std::byte* at = start_ + readable_ - contents.size();
        if (!contents.empty()) std::memcpy(at, contents.data(), contents.size());
        return {at, contents.size()};
    }

private:
    std::byte* start_ = nullptr;
    std::size_t readable_ = 0;
    std::size_t mapped_ = 0;
};

}  // namespace cloze::test
