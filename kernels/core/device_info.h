// What a device can do, and whether Cloze can use it. Tested by tests/kernels/device/memory_test.cpp.
#pragma once

#include <cstdint>
#include <string>

namespace cloze {

/// The oldest compute capability whose instructions the kernels use: bf16 mma.sync, cp.async (Ampere).
inline constexpr int kOldestComputeCapability = 80;

struct DeviceInfo {
    std::string name;
    int compute_capability;  // 80, 90, ...
    int multiprocessors;
    int shared_bytes_per_block;  // most a kernel may ask for
    std::int64_t memory_bytes;
};

/// What devices this build commands: "cuda", "none", or "emulated" in tests.
const char* device_kind();

/// Devices of this machine: 0 without a driver, without a device, and in a build without device code.
int device_count();

/// Throws Fault::device where `info`, of device number `device`, is older than kOldestComputeCapability.
void require_usable(int device, const DeviceInfo& info);

/// Makes `device` the one this thread commands. Ends with Fault::device, in one line that says what to do, when there
/// is no such device, its driver is too old, or it is older than kOldestComputeCapability.
DeviceInfo use_device(int device);

/// Of the memory of the device this thread commands: what nobody has taken, this process included.
std::int64_t free_device_bytes();

/// The device this thread commands. The driver is asked once for each.
const DeviceInfo& current_device();

}  // namespace cloze
