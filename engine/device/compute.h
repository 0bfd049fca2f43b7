// Where a model computes: on the host, or on one GPU in the order of one stream. Passed along with every op and
// product.
#pragma once

#include "kernels/core/stream.h"
#include "kernels/core/tensor.h"

namespace cloze {

class DeviceGemm;

/// Default: the host.
struct Compute {
    Place place = Place::host;
    Stream stream = {};              // host ops run at once and ignore it
    DeviceGemm* products = nullptr;  // of the device; see engine/device/device_gemm.h
    operator Stream() const { return stream; }
};

}  // namespace cloze
