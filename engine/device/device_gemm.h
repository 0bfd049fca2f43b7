// Matrix products on a device. One body per build: cuBLASLt (device_gemm_cublaslt.cpp), none, and in the emulator's
// build the host's product. Called by gemm() only, which has checked the arguments. Tested by
// tests/device/device_gemm_test.cpp.
//
// Each shape has a plan: the algorithm that the library runs it with. While tuning() is on, the plan of a new shape is
// the fastest of the library's suggestions, timed on the operands at hand, whose d is then garbage; else it is the
// library's first suggestion. Algorithms that add in an order of their own are never taken, so the bits of a product
// depend on its plan alone: who wants the same bits again keeps the plans.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "engine/device/gemm.h"

namespace cloze {

/// Device memory for partial sums.
inline constexpr std::int64_t kDeviceGemmBytes = 64 << 20;

class DeviceGemm {
public:
    virtual ~DeviceGemm() = default;

    virtual void multiply(const Gemm& arguments, Stream stream) = 0;

    /// "cuBLASLt 13.1.0": plans of another library or device do not fit.
    virtual std::string library() const = 0;

    virtual void set_tuning(bool on) = 0;

    /// The plans so far, one line each: the shape, then what the library calls the algorithm.
    virtual std::vector<std::string> plans() const = 0;
    /// Takes plans of the same library and device. Throws Fault::input for a line that is none.
    virtual void take_plans(const std::vector<std::string>& lines) = 0;
};

/// "gemm 24576 x 1024 x 4096": what profiles call the product of [m, k] and [k, n]; " f32" behind it where a bf16
/// product is stored in f32.
std::string product_name(std::int64_t m, std::int64_t n, std::int64_t k, DType out);

/// For the device this thread commands. Fault::device in a build without.
std::unique_ptr<DeviceGemm> open_device_gemm();

}  // namespace cloze
