// Parsing of binary headers without ever reading past the end: little-endian values, texts and typed views of mapped
// sections, each named, so that an error says which part of which file is wrong. Tested by tests/files/reader_test.cpp.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>

#include "kernels/core/error.h"

namespace cloze {

static_assert(std::endian::native == std::endian::little, "files are little-endian and mapped as they are");

/// Walks over bytes that nobody has checked yet. Every failure is Fault::input:
/// "FILE: WHAT ends beyond the file (64 bytes at 4096, the file has 4100); the file is truncated: REMEDY".
class BoundedReader {
public:
    /// `remedy` completes the sentence, for example "run cloze prepare again".
    BoundedReader(std::string file, std::string remedy, std::span<const std::byte> bytes)
        : file_(std::move(file)), remedy_(std::move(remedy)), bytes_(bytes) {}

    std::int64_t size() const { return static_cast<std::int64_t>(bytes_.size()); }
    std::int64_t position() const { return position_; }
    std::int64_t remaining() const { return size() - position_; }

    /// Moves to `offset` from the start.
    void seek(std::int64_t offset, std::string_view what);

    /// The next value of an arithmetic type, at any alignment.
    template <typename T>
    T value(std::string_view what) {
        static_assert(std::is_arithmetic_v<T>);
        T result;
        std::memcpy(&result, bytes(sizeof(T), what).data(), sizeof(T));
        return result;
    }
    /// The next `count` bytes.
    std::span<const std::byte> bytes(std::int64_t count, std::string_view what);
    std::string_view text(std::int64_t count, std::string_view what);
    /// `count` bytes at `offset`, without moving.
    std::span<const std::byte> section(std::int64_t offset, std::int64_t count, std::string_view what) const;

    /// `count` values of T at `offset`, in place; the offset must suit T's alignment. Checks count * sizeof(T) for
    /// overflow. Does not move.
    template <typename T>
    std::span<const T> array(std::int64_t offset, std::int64_t count, std::string_view what) const {
        static_assert(std::is_trivially_copyable_v<T>);
        const std::byte* start = array_start(offset, count, sizeof(T), alignof(T), what);
        return {reinterpret_cast<const T*>(start), static_cast<std::size_t>(count)};
    }

    /// Fault::input "FILE: PARTS: REMEDY" unless ok; for what the values must satisfy.
    template <typename... Parts>
    void check(bool ok, const Parts&... parts) const {
        if (!ok) [[unlikely]]
            damaged(cloze::text(parts...));
    }
    [[noreturn]] void damaged(const std::string& problem) const;

private:
    const std::byte* array_start(std::int64_t offset, std::int64_t count, std::size_t size, std::size_t alignment,
                                 std::string_view what) const;

    std::string file_;
    std::string remedy_;
    std::span<const std::byte> bytes_;
    std::int64_t position_ = 0;
};

}  // namespace cloze
