// One GPU as an engine commands it: the stream its work runs in, a second one for copies that run beside it, and its
// matrix products. Commanded from the thread that made it, whose current GPU it becomes: a thread has one. Tested by
// tests/device/device_gemm_test.cpp.
#pragma once

#include "engine/device/compute.h"
#include "engine/device/device_gemm.h"
#include "kernels/core/device_info.h"

namespace cloze {

class Device {
public:
    /// Throws Fault::device, with a remedy, where there is no such GPU, its driver is too old, or it is.
    explicit Device(int index);
    /// Work runs in `stream`, which the caller owns and keeps alive.
    Device(int index, Stream stream);
    Device(const Device&) = delete;
    Device& operator=(const Device&) = delete;

    /// "cuda", "none" or, in tests, "emulated": what this build commands.
    static const char* kind() { return device_kind(); }
    static int count() { return device_count(); }
    /// Throws Fault::device saying why where there is none at all.
    static void require_some() {
        if (count() == 0) use_device(0);
    }

    const DeviceInfo& info() const { return info_; }
    Compute compute() const { return {.place = Place::device, .stream = stream_, .products = products_.get()}; }
    DeviceGemm& products() { return *products_; }
    Stream copies() const { return *copies_; }

    /// What is left of the device's memory now; other processes may hold some.
    static std::int64_t free_bytes() { return free_device_bytes(); }

    /// Device memory it takes for itself: what products need.
    static std::int64_t planned_bytes() { return kDeviceGemmBytes; }

private:
    DeviceInfo info_;
    std::unique_ptr<OwnedStream> own_;  // absent when the caller has one
    Stream stream_;
    std::unique_ptr<OwnedStream> copies_;
    std::unique_ptr<DeviceGemm> products_;
    LastWait last_wait_;
};

}  // namespace cloze
