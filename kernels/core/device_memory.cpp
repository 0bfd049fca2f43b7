#include "kernels/core/device_memory.h"

#include <algorithm>
#include <vector>

#include "kernels/core/device_calls.h"

namespace cloze {

namespace {

constexpr std::int64_t kCanaryBytes = 256;
constexpr std::uint8_t kCanary = 0xa5;
constexpr std::uint8_t kNan = 0xff;

bool checked_memory = false;

char* after(void* address, std::int64_t bytes) {
    return static_cast<char*>(address) + bytes;
}

}  // namespace

void set_checked_memory(bool on) {
    checked_memory = on;
}

DeviceBuffer::DeviceBuffer(std::int64_t bytes) : bytes_(bytes), checked_(checked_memory) {
    require(bytes >= 0, "DeviceBuffer: ", bytes, " bytes");
    const std::int64_t canary_bytes = checked_ ? kCanaryBytes : 0;
    base_ = device_calls::allocate(bytes + 2 * canary_bytes);
    address_ = after(base_, canary_bytes);
    if (checked_) {
        fill_bytes(base_, kCanary, kCanaryBytes, {});
        fill_bytes(address_, kNan, bytes, {});
        fill_bytes(after(address_, bytes), kCanary, kCanaryBytes, {});
        wait(Stream{});
    }
}

DeviceBuffer::~DeviceBuffer() {
    if (base_ != nullptr) device_calls::release(base_);
}

void DeviceBuffer::swap(DeviceBuffer& other) noexcept {
    std::swap(base_, other.base_);
    std::swap(address_, other.address_);
    std::swap(bytes_, other.bytes_);
    std::swap(checked_, other.checked_);
}

Tensor DeviceBuffer::tensor(DType dtype, std::int64_t rows, std::int64_t cols) const {
    require(rows >= 0 && cols >= 0 && rows * cols * size_of(dtype) <= bytes_, "DeviceBuffer::tensor: ", name_of(dtype),
            " [", rows, ", ", cols, "] does not fit into ", bytes_, " bytes");
    return {address_, rows, cols, cols, dtype, Place::device};
}

bool DeviceBuffer::canaries_hold(Stream stream) const {
    if (!checked_) return true;
    std::vector<std::uint8_t> bytes(2 * kCanaryBytes);
    copy_to_host(bytes.data(), base_, kCanaryBytes, stream);
    copy_to_host(bytes.data() + kCanaryBytes, after(address_, bytes_), kCanaryBytes, stream);
    wait(stream);
    return std::all_of(bytes.begin(), bytes.end(), [](std::uint8_t byte) { return byte == kCanary; });
}

PinnedBuffer::PinnedBuffer(std::int64_t bytes) : address_(device_calls::allocate_pinned(bytes)), bytes_(bytes) {}

PinnedBuffer::~PinnedBuffer() {
    if (address_ != nullptr) device_calls::release_pinned(address_);
}

void copy_to_device(void* device, const void* host, std::int64_t bytes, Stream stream) {
    if (bytes != 0) device_calls::copy(device, host, bytes, device_calls::Direction::host_to_device, stream);
}
void copy_to_host(void* host, const void* device, std::int64_t bytes, Stream stream) {
    if (bytes != 0) device_calls::copy(host, device, bytes, device_calls::Direction::device_to_host, stream);
}
void copy_on_device(void* to, const void* from, std::int64_t bytes, Stream stream) {
    if (bytes != 0) device_calls::copy(to, from, bytes, device_calls::Direction::device_to_device, stream);
}
void fill_bytes(void* device, std::uint8_t value, std::int64_t bytes, Stream stream) {
    if (bytes != 0) device_calls::fill_bytes(device, value, bytes, stream);
}

}  // namespace cloze
