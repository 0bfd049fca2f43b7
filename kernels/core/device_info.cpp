#include "kernels/core/device_info.h"

#include "kernels/core/device_calls.h"
#include "kernels/core/error.h"

namespace cloze {

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

}  // namespace cloze
