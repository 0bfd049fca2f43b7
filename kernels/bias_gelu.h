// bias + GELU (Hendrycks and Gimpel 2016), and backward with the bias gradient.
//
//   u = x + bias
//   erf:  y = u * Phi(u) = u / 2 * (1 + erf(u / sqrt 2))                               HuggingFace "gelu"
//   tanh: y = u / 2 * (1 + tanh(sqrt(2 / pi) * (u + 0.044715 u^3)))                    Google; HuggingFace "gelu_new"
//
//   dx = dy * y'(u),  dbias = column sum of dx.
//
// dbias adds dx before it is rounded to the working type, in chunks of kRowsPerChunk rows, then the chunks, in an order
// that the shape alone fixes. On a device: f32 and bf16, cols a multiple of 8, addresses aligned to 16.
// Tested by tests/kernels/bias_gelu_test.cpp and tests/kernels/device/bias_gelu_test.cpp.
#pragma once

#include "kernels/core/cost.h"
#include "kernels/core/stream.h"
#include "kernels/core/tensor.h"

namespace cloze {

enum class Gelu : std::uint8_t { erf, tanh };

struct BiasGeluForward {
    Tensor y;     // [rows, cols]              out; not x, which backward reads
    Tensor x;     // [rows, cols]              in
    Tensor bias;  // [cols]                    in
    Gelu form;
};

struct BiasGeluBackward {
    Tensor dx;       // [rows, cols]              out, overwritten; may be dy
    Tensor dbias;    // [cols]  statistics        out
    Tensor scratch;  // [1, bias_gelu_backward_scratch()]  statistics
    Tensor dy;       // [rows, cols]              in
    Tensor x;        // [rows, cols]              in, of forward
    Tensor bias;     // [cols]                    in
    Gelu form;
    bool accumulate;  // false: overwrite dbias; true: add to it
};

void bias_gelu_forward(const BiasGeluForward& arguments, Stream stream);
void bias_gelu_backward(const BiasGeluBackward& arguments, Stream stream);

/// Elements of scratch that backward needs.
std::int64_t bias_gelu_backward_scratch(std::int64_t rows, std::int64_t cols);

Cost bias_gelu_forward_cost(std::int64_t rows, std::int64_t cols, DType dtype);
Cost bias_gelu_backward_cost(std::int64_t rows, std::int64_t cols, DType dtype);

/// Device code (bias_gelu.cu): called by the two above, which have checked the arguments.
namespace device_code {
void bias_gelu_forward(const BiasGeluForward& arguments, Stream stream);
void bias_gelu_backward(const BiasGeluBackward& arguments, Stream stream);
}  // namespace device_code

}  // namespace cloze
