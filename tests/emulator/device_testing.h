// What tests of kernels share: device copies of host vectors, and running a case under several schedules.
#pragma once

#include <catch2/catch.hpp>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "kernels/core/device_memory.h"
#include "kernels/core/error.h"
#include "tests/emulator/emulator.h"

namespace cloze::test {

/// A vector on the device, between canaries.
template <typename T>
class DeviceVector {
public:
    explicit DeviceVector(const std::vector<T>& values)
        : count_(static_cast<std::int64_t>(values.size())), buffer_(made(bytes())) {
        copy_to_device(buffer_.address(), values.data(), bytes(), {});
    }
    /// NaN, or all bits set.
    explicit DeviceVector(std::int64_t count) : count_(count), buffer_(made(bytes())) {}

    T* data() { return static_cast<T*>(buffer_.address()); }
    std::vector<T> values() const {
        std::vector<T> host(static_cast<std::size_t>(count_));
        copy_to_host(host.data(), buffer_.address(), bytes(), {});
        wait(Stream{});
        CHECK(buffer_.canaries_hold({}));
        return host;
    }

private:
    std::int64_t bytes() const { return count_ * static_cast<std::int64_t>(sizeof(T)); }
    static DeviceBuffer made(std::int64_t bytes) {
        set_checked_memory(true);
        DeviceBuffer buffer(bytes);
        set_checked_memory(false);
        return buffer;
    }

    std::int64_t count_;
    DeviceBuffer buffer_;
};

/// body() under the emulator's schedules: ascending, descending and random ones. The seed is in the message of a failure.
inline void for_schedules(int count, const std::function<void()>& body) {
    for (int seed = 0; seed < count; ++seed) {
        emulated::settings().seed = static_cast<std::uint64_t>(seed);
        INFO("emulator seed " << seed);
        body();
    }
    emulated::settings().seed = 0;
}

/// The message of the Error that body() throws; empty when it throws none.
inline std::string message_of(const std::function<void()>& body) {
    try {
        body();
    } catch (const Error& error) {
        return error.what();
    }
    return "";
}

}  // namespace cloze::test
