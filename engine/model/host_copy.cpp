#include "engine/model/host_copy.h"

#include "kernels/core/device_memory.h"

namespace cloze {

HostCopy::HostCopy(const ParameterView& view, const Compute& compute) : HostCopy(view, compute, Fetch::yes) {}

HostCopy HostCopy::to_be_written(const ParameterView& view, const Compute& compute) {
    return {view, compute, Fetch::no};
}

HostCopy::HostCopy(const ParameterView& view, const Compute& compute, Fetch fetch)
    : there_(view), here_(view), compute_(compute) {
    if (view.flat.place == Place::host) return;
    require(view.flat.dtype == DType::f32, "host copy: the parameters are ", describe(view.flat), ", not f32");
    const std::int64_t bytes = view.flat.count() * size_of(DType::f32);
    memory_ = HostBlock(bytes, "the host's copy of parameters", "free memory of the machine, or take a smaller model");
    here_.flat = Tensor::host(reinterpret_cast<float*>(memory_.data()), view.flat.count());
    if (fetch == Fetch::no) return;
    copy_to_host(memory_.data(), view.flat.address, bytes, compute.stream);
    wait(compute.stream);
}

void HostCopy::send() const {
    if (there_.flat.place == Place::host) return;
    copy_to_device(there_.flat.address, here_.flat.address, here_.flat.count() * size_of(DType::f32), compute_.stream);
    wait(compute_.stream);
}

}  // namespace cloze
