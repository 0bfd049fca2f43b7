#include "kernels/core/device_info.h"

#include <map>
#include <mutex>

#include "kernels/core/device_calls.h"
#include "kernels/core/error.h"

namespace cloze {

const char* device_kind() {
    return device_calls::kind();
}

int device_count() {
    return device_calls::count();
}

void require_usable(int device, const DeviceInfo& info) {
    if (info.compute_capability < kOldestComputeCapability) {
        fail(Fault::device, "device ", device, " (", info.name, ") has compute capability ",
             info.compute_capability / 10, ".", info.compute_capability % 10, "; Cloze needs 8.0 (A100) or newer");
    }
}

DeviceInfo use_device(int device) {
    device_calls::use(device);
    DeviceInfo info = device_calls::info(device);
    require_usable(device, info);
    return info;
}

std::int64_t free_device_bytes() {
    return device_calls::free_bytes();
}

const DeviceInfo& current_device() {
    static std::mutex mutex;
    static std::map<int, DeviceInfo> known;
    const int device = device_calls::current();
    const std::lock_guard lock(mutex);
    const auto found = known.find(device);
    return found != known.end() ? found->second : known.emplace(device, device_calls::info(device)).first->second;
}

}  // namespace cloze
