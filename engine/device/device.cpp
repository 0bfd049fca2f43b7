#include "engine/device/device.h"

namespace cloze {

Device::Device(int index)
    : info_(use_device(index)),
      own_(std::make_unique<OwnedStream>()),
      stream_(*own_),
      copies_(std::make_unique<OwnedStream>()),
      products_(open_device_gemm()),
      last_wait_(compute()) {}

Device::Device(int index, Stream stream)
    : info_(use_device(index)),
      stream_(stream),
      copies_(std::make_unique<OwnedStream>()),
      products_(open_device_gemm()),
      last_wait_(compute()) {}

}  // namespace cloze
