#include "tools/device_choice.h"

#include <charconv>

namespace cloze {
namespace {

constexpr const char* kChoices = " is unknown; use auto, cpu, cuda, or cuda:N for the GPU of index N";

/// N of "cuda:N".
int index_from(const std::string& device, std::size_t colon) {
    const std::string digits = device.substr(colon + 1);
    int index = -1;
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), index);
    require(error == std::errc() && end == digits.data() + digits.size() && index >= 0, "--device '", device, "'",
            kChoices);
    return index;
}

}  // namespace

std::optional<int> device_from(const std::string& device) {
    const std::string kind = Device::kind();
    if (device == "cpu") return std::nullopt;
    if (device == "auto") return kind == "cuda" && Device::count() > 0 ? std::optional(0) : std::nullopt;
    const std::size_t colon = device.find(':');
    const std::string asked = device.substr(0, colon);
    require(asked == "cuda" || (asked == "emulated" && kind == asked), "--device '", device, "'", kChoices);
    if (asked != kind) {
        fail(Fault::device, "--device ", device,
             ": this build has no device code (it was made without nvcc); use --device cpu");
    }
    const int index = colon == std::string::npos ? 0 : index_from(device, colon);
    Device::require_some();
    return index;
}

void require_host(const std::string& device) {
    if (device == "auto" || device == "cpu") return;
    require(device.starts_with("cuda"), "--device '", device, "' is unknown; use auto or cpu");
    fail(Fault::device, "--device ", device, ": this command computes on the host; use --device cpu");
}

DType precision_from(const std::string& precision, bool on_gpu) {
    if (precision == "auto") return on_gpu ? DType::bf16 : DType::f32;
    if (precision == "bf16") return DType::bf16;
    require(precision == "f32", "--precision '", precision, "' is unknown; use auto, f32 or bf16");
    return DType::f32;
}

}  // namespace cloze
