// Memory that kernels read and write, and the copies to and from it. Owned, never resized; views of it are Tensors with
// Place::device. Tested by tests/kernels/device/memory_test.cpp.
//
// Checked mode puts 256 bytes of canaries before and after each buffer and fills it with NaN, so that a kernel that
// writes outside, or reads what nobody wrote, shows. It costs 512 bytes a buffer and one fill.
#pragma once

#include <cstdint>
#include <utility>

#include "kernels/core/stream.h"
#include "kernels/core/tensor.h"

namespace cloze {

/// For buffers made from now on. Off at the start.
void set_checked_memory(bool on);

/// Device memory, aligned to 256 bytes.
class DeviceBuffer {
public:
    DeviceBuffer() = default;
    explicit DeviceBuffer(std::int64_t bytes);
    ~DeviceBuffer();
    DeviceBuffer(DeviceBuffer&& other) noexcept { swap(other); }
    DeviceBuffer& operator=(DeviceBuffer&& other) noexcept {
        swap(other);
        return *this;
    }

    void* address() const { return address_; }
    std::int64_t bytes() const { return bytes_; }
    /// The first rows * cols elements as a tensor.
    Tensor tensor(DType dtype, std::int64_t rows, std::int64_t cols) const;
    /// True while nothing wrote before or after the buffer; always true for one made without checks. Waits for
    /// `stream`.
    bool canaries_hold(Stream stream) const;

private:
    void swap(DeviceBuffer& other) noexcept;

    void* base_ = nullptr;  // what was allocated: canary, buffer, canary
    void* address_ = nullptr;
    std::int64_t bytes_ = 0;
    bool checked_ = false;
};

/// Host memory that the device copies from and to while the host goes on.
class PinnedBuffer {
public:
    PinnedBuffer() = default;
    explicit PinnedBuffer(std::int64_t bytes);
    ~PinnedBuffer();
    PinnedBuffer(PinnedBuffer&& other) noexcept { swap(other); }
    PinnedBuffer& operator=(PinnedBuffer&& other) noexcept {
        swap(other);
        return *this;
    }

    void* address() const { return address_; }
    std::int64_t bytes() const { return bytes_; }

private:
    void swap(PinnedBuffer& other) noexcept {
        std::swap(address_, other.address_);
        std::swap(bytes_, other.bytes_);
    }

    void* address_ = nullptr;
    std::int64_t bytes_ = 0;
};

/// Copies in stream order. Host memory must stay as it is until the stream has passed; pinned memory makes the copy run
/// beside the host.
void copy_to_device(void* device, const void* host, std::int64_t bytes, Stream stream);
void copy_to_host(void* host, const void* device, std::int64_t bytes, Stream stream);
void copy_on_device(void* to, const void* from, std::int64_t bytes, Stream stream);

/// Sets every byte; 0xff makes NaN of every floating type.
void fill_bytes(void* device, std::uint8_t value, std::int64_t bytes, Stream stream);

}  // namespace cloze
