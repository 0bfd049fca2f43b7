// Where a model computes: on the host, or on one GPU in the order of one stream. Passed along with every op and
// product.
#pragma once

#include <exception>

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

/// The last member of a class whose memory a device's work reads or writes: it goes first, and waits for that work, so
/// that the memory outlives it, also when a constructor or a step ended by an Error.
class LastWait {
public:
    explicit LastWait(const Compute& compute) : compute_(compute) {}
    ~LastWait() {
        if (compute_.place == Place::host) return;
        try {
            wait(compute_.stream);
        } catch (const std::exception&) {
            // The device failed and does nothing any more; whoever calls it next is told.
        }
    }
    LastWait(const LastWait&) = delete;
    LastWait& operator=(const LastWait&) = delete;

private:
    Compute compute_;
};

}  // namespace cloze
