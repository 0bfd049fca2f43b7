// Checksums of files and sections: XXH3, 64 bits, about 10 GB/s a core. Finds damage, not malice. As text it is what
// `xxhsum -H3` prints. Tested by tests/files/checksum_test.cpp.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace cloze {

std::uint64_t xxh3(std::span<const std::byte> bytes);
std::uint64_t xxh3(std::string_view text);

/// The same over pieces given in order.
class Xxh3 {
public:
    Xxh3();
    ~Xxh3();
    Xxh3(Xxh3&&) noexcept;
    Xxh3& operator=(Xxh3&&) noexcept;
    void update(std::span<const std::byte> bytes);
    /// Of everything given so far; more may follow.
    std::uint64_t digest() const;

private:
    struct State;
    std::unique_ptr<State> state_;
};

/// 16 lower-case hexadecimal digits.
std::string checksum_text(std::uint64_t checksum);
/// Exactly what checksum_text writes; nothing for anything else.
std::optional<std::uint64_t> parse_checksum(std::string_view text);

struct FileChecksum {
    std::int64_t bytes = 0;
    std::uint64_t xxh3 = 0;
};

/// Reads the file once, in pieces of 4 MiB. Throws Fault::input when it is missing or a
/// folder, Fault::io when it cannot be read.
FileChecksum checksum_of_file(const std::filesystem::path& file);

}  // namespace cloze
