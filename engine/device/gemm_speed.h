// How fast this machine multiplies, measured, for estimates of time before a run. Takes about 0.1 s, longer where one
// product does. Tested by tests/device/gemm_test.cpp.
#pragma once

#include <cstdint>

namespace cloze {

/// FLOP/s of the f32 host product [rows, inner] x [cols, inner]^T, the fastest of several: by all threads, or by one,
/// where other programs keep the cores so busy that threads wait for each other longer than they work.
double measured_gemm_flops_per_second(std::int64_t rows, std::int64_t cols, std::int64_t inner);

}  // namespace cloze
