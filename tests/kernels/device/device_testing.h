// What tests of device code share. The same cases run on the emulator and on a GPU; only schedules() differs.
#pragma once

#include <cstdint>
#include <exception>
#include <functional>
#include <vector>

#include "kernels/core/device_info.h"
#include "kernels/core/device_memory.h"
#include "tests/kernels/op_testing.h"
#include "tests/support.h"

namespace cloze::test {

/// body() under `count` of the emulator's schedules: ascending, descending, then random ones. A failure names the seed.
/// On a GPU, whose schedules cannot be chosen, `count` times.
void for_schedules(int count, const std::function<void()>& body);

/// Schedules of a case: few in a quick run, many where CLOZE_TEST_LONG is set, CLOZE_TEST_SCHEDULES of them where that
/// is.
int schedules();

/// True where device code can run here; else the case is skipped, and returns.
bool device_or_skip();

/// True where the device also has the instructions of compute capability 9.0, which newer ones do not take over.
bool hopper_or_skip();

/// A buffer between canaries, full of NaN.
DeviceBuffer guarded_buffer(std::int64_t bytes);

/// What ~DeviceVector() and ~DeviceArray() look at: nothing has written around a buffer, an input included.
inline void check_canaries(const DeviceBuffer& buffer) noexcept {
    if (std::uncaught_exceptions() > 0) return;
    try {
        // Catch2 hears of failures alone: the last buffers go when it is no longer there.
        if (!buffer.canaries_hold({})) FAIL_CHECK("something has written around a buffer");
    } catch (...) {  // a device that has failed, which has been told
    }
}

/// A vector on the device.
template <typename T>
class DeviceVector {
public:
    explicit DeviceVector(const std::vector<T>& values) : DeviceVector(static_cast<std::int64_t>(values.size())) {
        copy_to_device(buffer_.address(), values.data(), buffer_.bytes(), {});
    }
    explicit DeviceVector(std::int64_t count)
        : count_(count), buffer_(guarded_buffer(count * static_cast<std::int64_t>(sizeof(T)))) {}
    DeviceVector(DeviceVector&&) = default;
    ~DeviceVector() { check_canaries(buffer_); }

    T* data() const { return static_cast<T*>(buffer_.address()); }
    std::vector<T> values() const {
        std::vector<T> host(static_cast<std::size_t>(count_));
        copy_to_host(host.data(), buffer_.address(), buffer_.bytes(), {});
        wait(Stream{});
        CHECK(buffer_.canaries_hold({}));
        return host;
    }

private:
    std::int64_t count_;
    DeviceBuffer buffer_;
};

/// A copy of `value` on the device, until the case ends.
template <typename T>
const T* on_device(const T& value) {
    auto copy = std::make_shared<DeviceVector<T>>(std::vector{value});
    keep_until_case_ends(copy);
    return copy->data();
}

/// A copy of an Array on the device; gaps between rows come along, and are checked when it is fetched.
class DeviceArray {
public:
    explicit DeviceArray(const Array& array) : array_(array), buffer_(guarded_buffer(bytes_of(array.tensor()))) {
        copy_to_device(buffer_.address(), array_.tensor().address, buffer_.bytes(), {});
    }
    DeviceArray(DType dtype, std::int64_t rows, std::int64_t cols) : DeviceArray(Array(dtype, rows, cols)) {}
    DeviceArray(DType dtype, std::int64_t count) : DeviceArray(Array(dtype, count)) {}
    DeviceArray(DeviceArray&&) = default;
    ~DeviceArray() { check_canaries(buffer_); }

    Tensor tensor() const {
        Tensor view = array_.tensor();
        if (view) view.address = buffer_.address();
        view.place = Place::device;
        return view;
    }
    Array fetch() const {
        Array host = array_;
        copy_to_host(host.tensor().address, buffer_.address(), buffer_.bytes(), {});
        wait(Stream{});
        CHECK(buffer_.canaries_hold({}));
        CHECK(host.guards_hold());
        return host;
    }

private:
    static std::int64_t bytes_of(const Tensor& tensor) {
        return tensor.count() == 0 ? 0 : ((tensor.rows - 1) * tensor.stride + tensor.cols) * size_of(tensor.dtype);
    }

    Array array_;
    DeviceBuffer buffer_;
};

/// Twice. A largest error scatters: the plain loop of a sanitizer build, at -O1, is rounded otherwise and may by chance
/// lie nearer than that of a release build.
#ifdef __SANITIZE_ADDRESS__
inline constexpr double kTimesPlain = 2.5;
#else
inline constexpr double kTimesPlain = 2;
#endif

/// The yardstick of docs/kernels.md: what the device computes may lie at most twice as far from the double definition
/// as the plain host loop in the same types does, besides one rounding of the storage type at the very bottom.
inline void check_as_near(const char* what, const Array& device, const Array& plain, const Array& exact) {
    const double own = distance(device, exact), allowed = kTimesPlain * distance(plain, exact) + 0x1p-24;
    INFO(what << ": " << own << " from the definition, the plain loop " << distance(plain, exact));
    CHECK(own <= allowed);
}

}  // namespace cloze::test
