#include "engine/files/checksum.h"

#include <cerrno>
#include <fcntl.h>
#include <new>
#include <xxhash.h>

#include "engine/files/system_calls.h"

namespace cloze {

namespace {
constexpr std::size_t kPieceBytes = 4 << 20;
}

std::uint64_t xxh3(std::span<const std::byte> bytes) {
    return XXH3_64bits(bytes.data(), bytes.size());
}

std::uint64_t xxh3(std::string_view text) {
    return XXH3_64bits(text.data(), text.size());
}

struct Xxh3::State {
    State() : state(XXH3_createState()) {
        if (state == nullptr) throw std::bad_alloc();
        XXH3_64bits_reset(state);
    }
    ~State() { XXH3_freeState(state); }
    State(const State&) = delete;
    State& operator=(const State&) = delete;

    XXH3_state_t* state;
};

Xxh3::Xxh3() : state_(std::make_unique<State>()) {}
Xxh3::~Xxh3() = default;
Xxh3::Xxh3(Xxh3&&) noexcept = default;
Xxh3& Xxh3::operator=(Xxh3&&) noexcept = default;

void Xxh3::update(std::span<const std::byte> bytes) {
    if (!bytes.empty()) XXH3_64bits_update(state_->state, bytes.data(), bytes.size());
}

std::uint64_t Xxh3::digest() const {
    return XXH3_64bits_digest(state_->state);
}

std::string checksum_text(std::uint64_t checksum) {
    std::string digits(16, '0');
    for (int i = 15; i >= 0; --i) {
        digits[static_cast<std::size_t>(i)] = "0123456789abcdef"[checksum & 15];
        checksum >>= 4;
    }
    return digits;
}

std::optional<std::uint64_t> parse_checksum(std::string_view text) {
    if (text.size() != 16) return std::nullopt;
    std::uint64_t checksum = 0;
    for (const char digit : text) {
        const std::size_t value = std::string_view("0123456789abcdef").find(digit);
        if (value == std::string_view::npos) return std::nullopt;
        checksum = (checksum << 4) | value;
    }
    return checksum;
}

FileChecksum checksum_of_file(const std::filesystem::path& file) {
    SystemCalls& system = system_calls();
    const Descriptor descriptor(system.open(file.c_str(), O_RDONLY, 0));
    if (!descriptor) fail_reading("open", file, errno);
    const auto piece = std::make_unique_for_overwrite<std::byte[]>(kPieceBytes);
    Xxh3 checksum;
    FileChecksum result;
    for (;;) {
        const std::int64_t bytes = system.read(descriptor.number(), piece.get(), kPieceBytes);
        if (bytes < 0) fail_reading("read", file, errno);
        if (bytes == 0) break;
        checksum.update({piece.get(), static_cast<std::size_t>(bytes)});
        result.bytes += bytes;
    }
    result.xxh3 = checksum.digest();
    return result;
}

}  // namespace cloze
