// The emulator's matrix products: the host's, on the emulated device's memory.
#include "engine/device/device_gemm.h"

#include "kernels/core/launch_log.h"
#include "tests/emulator/memory.h"

namespace cloze {
namespace {

Tensor on_host(Tensor x) {
    if (x.count() > 0) {
        emulated::require_device_range(x.address, ((x.rows - 1) * x.stride + x.cols) * size_of(x.dtype));
    }
    x.place = Place::host;
    return x;
}

class EmulatedGemm final : public DeviceGemm {
public:
    void multiply(const Gemm& arguments, Stream stream) override {
        const std::int64_t k = arguments.transpose_a ? arguments.a.rows : arguments.a.cols;
        LaunchLog::note(product_name(arguments.d.rows, arguments.d.cols, k, arguments.d.dtype).c_str(), stream);
        Gemm host = arguments;
        for (Tensor* x : {&host.d, &host.a, &host.b, &host.bias}) {
            if (*x) *x = on_host(*x);
        }
        gemm(host, {});
    }
    std::string library() const override { return text("the host's products, ", host_gemm_library()); }
    void set_tuning(bool) override {}
    std::vector<std::string> plans() const override { return {}; }
    void take_plans(const std::vector<std::string>&) override {}
};

}  // namespace

std::unique_ptr<DeviceGemm> open_device_gemm() {
    return std::make_unique<EmulatedGemm>();
}

}  // namespace cloze
