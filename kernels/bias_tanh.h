// bias + tanh: the pooler's activation (BERT paper, section 3.1), and backward with the bias gradient.
//
//   y = tanh(x + bias),   dx = dy * (1 - y^2),   dbias = column sum of dx
//
// dbias adds dx before it is rounded to the working type, in chunks of kRowsPerChunk rows, then the chunks, in an order
// that the shape alone fixes. On a device: f32 and bf16, cols a multiple of 8, addresses aligned to 16.
// Tested by tests/kernels/bias_tanh_test.cpp and tests/kernels/device/bias_tanh_test.cpp.
#pragma once

#include "kernels/core/cost.h"
#include "kernels/core/stream.h"
#include "kernels/core/tensor.h"

namespace cloze {

struct BiasTanhForward {
    Tensor y;     // [rows, cols]              out, kept for backward; may be x
    Tensor x;     // [rows, cols]              in
    Tensor bias;  // [cols]                    in
};

struct BiasTanhBackward {
    Tensor dx;        // [rows, cols]              out, overwritten; may be dy
    Tensor dbias;     // [cols]  statistics        out
    Tensor scratch;   // [1, bias_tanh_backward_scratch()]  statistics
    Tensor dy;        // [rows, cols]              in
    Tensor y;         // [rows, cols]              in, of forward
    bool accumulate;  // false: overwrite dbias; true: add to it
};

void bias_tanh_forward(const BiasTanhForward& arguments, Stream stream);
void bias_tanh_backward(const BiasTanhBackward& arguments, Stream stream);

/// Elements of scratch that backward needs.
std::int64_t bias_tanh_backward_scratch(std::int64_t rows, std::int64_t cols);

Cost bias_tanh_forward_cost(std::int64_t rows, std::int64_t cols, DType dtype);
Cost bias_tanh_backward_cost(std::int64_t rows, std::int64_t cols, DType dtype);

/// Device code (bias_tanh.cu): called by the two above, which have checked the arguments.
namespace device_code {
void bias_tanh_forward(const BiasTanhForward& arguments, Stream stream);
void bias_tanh_backward(const BiasTanhBackward& arguments, Stream stream);
}  // namespace device_code

}  // namespace cloze
