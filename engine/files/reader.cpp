#include "engine/files/reader.h"

namespace cloze {

void BoundedReader::seek(std::int64_t offset, std::string_view what) {
    section(offset, 0, what);
    position_ = offset;
}

std::span<const std::byte> BoundedReader::bytes(std::int64_t count, std::string_view what) {
    const auto result = section(position_, count, what);
    position_ += count;
    return result;
}

std::string_view BoundedReader::text(std::int64_t count, std::string_view what) {
    const auto result = bytes(count, what);
    return {reinterpret_cast<const char*>(result.data()), result.size()};
}

std::span<const std::byte> BoundedReader::section(std::int64_t offset, std::int64_t count,
                                                  std::string_view what) const {
    if (offset < 0 || count < 0) {
        damaged(cloze::text(what, " has a negative place or length (", count, " bytes at ", offset,
                            "); the file is damaged"));
    }
    if (offset > size() || count > size() - offset) {
        damaged(cloze::text(what, " ends beyond the file (", count, " bytes at ", offset, ", the file has ", size(),
                            "); the file is truncated"));
    }
    return bytes_.subspan(static_cast<std::size_t>(offset), static_cast<std::size_t>(count));
}

void BoundedReader::damaged(const std::string& problem) const {
    fail(Fault::input, file_, ": ", problem, ": ", remedy_);
}

const std::byte* BoundedReader::array_start(std::int64_t offset, std::int64_t count, std::size_t size,
                                            std::size_t alignment, std::string_view what) const {
    std::int64_t total;
    if (count < 0 || __builtin_mul_overflow(count, static_cast<std::int64_t>(size), &total)) {
        damaged(cloze::text(what, " has an impossible count (", count, "); the file is damaged"));
    }
    const std::byte* start = section(offset, total, what).data();
    if (reinterpret_cast<std::uintptr_t>(start) % alignment != 0) {
        damaged(
            cloze::text(what, " starts at ", offset, ", which is no multiple of ", alignment, "; the file is damaged"));
    }
    return start;
}

}  // namespace cloze
