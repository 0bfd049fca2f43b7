// GEMM: the matrix products of the encoder. The definition is plain loops in registers and cache blocks; f32 on the
// host goes to oneDNN where the build has it, and a device has a library of its own (device_gemm.h). On the host d is
// cut into tiles (and, for weight gradients of small
// models, k into slices) whose shapes depend on (m, n, k) alone, each computed by one thread, so that the bits do not
// depend on the number of threads.
//
//   d = op(a) op(b)  (+ bias in every row)  (+ d)
//
// f64 is summed in f64, f32 and bf16 in f32, rounded once when stored. Empty m or n: nothing happens; k = 0: the
// product is zero. d overlaps none of a, b and bias. The host path keeps at most two MiB of scratch per thread. Cost:
// about 95 % of the library called with all of d at once, more where rows lie 4 KiB apart. Tested by
// tests/device/gemm_test.cpp.
#pragma once

#include "engine/device/compute.h"
#include "kernels/core/cost.h"
#include "kernels/core/tensor.h"

namespace cloze {

struct Gemm {
    Tensor d;  // [m, n]                 out; the type of a, or f32 when a is bf16. May have a row stride, as a and b
    Tensor a;  // [m, k], or [k, m] when transpose_a
    Tensor b;  // [k, n], or [n, k] when transpose_b; the type of a
    bool transpose_a = false;
    bool transpose_b = false;
    bool accumulate = false;  // false: d is overwritten; true: added to
    Tensor bias = {};         // [n]  of a's type; absent = 0; not together with accumulate
};

/// All tensors lie where `compute` computes. On a device: f32 and bf16.
void gemm(const Gemm& arguments, const Compute& compute);

/// "oneDNN 2.6.3" or "plain loops": what f32 products on the host run on, for logs and checkpoints.
const char* host_gemm_library();

Cost gemm_cost(std::int64_t m, std::int64_t n, std::int64_t k, DType dtype);

}  // namespace cloze
