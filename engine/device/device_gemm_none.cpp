// A build without device code has no products on a device.
#include "engine/device/device_gemm.h"

namespace cloze {

std::unique_ptr<DeviceGemm> open_device_gemm() {
    fail(Fault::device, "this build has no device code (it was made without nvcc); use --device cpu");
}

}  // namespace cloze
