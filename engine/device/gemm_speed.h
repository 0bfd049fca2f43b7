// How fast this machine multiplies, measured, for estimates of time before a run. Takes about 50 ms, longer where one
// product does. Tested by tests/device/gemm_test.cpp.
#pragma once

#include <cstdint>

namespace cloze {

/// FLOP/s of the f32 host product [rows, inner] x [cols, inner]^T, the fastest of several.
double measured_gemm_flops_per_second(std::int64_t rows, std::int64_t cols, std::int64_t inner);

}  // namespace cloze
