// bias + dropout + residual + LayerNorm (Ba et al. 2016), and its backward with every parameter gradient.
//
//   sum = dropout(x + bias) + residual
//   y   = gamma * (sum - mean) * rstd + beta,   rstd = 1 / sqrt(variance + epsilon), biased variance, over a row
//
//   g         = dy * gamma,   xhat = (sum - mean) * rstd
//   dresidual = rstd * (g - average(g) - xhat * average(g * xhat))
//   dx        = dropout'(dresidual),  dbias = column sum of dx,  dgamma = column sum of dy * xhat,  dbeta = of dy
//
// Statistics, y and backward start from `sum` as stored, rounded to the working type: what is kept explains what was
// computed. Parameter gradients add what is not rounded yet, in chunks of kRowsPerChunk rows, then the chunks in order.
// On a device: f32 and bf16, hidden a multiple of 8, addresses aligned to 16; rows of up to 1,024 columns are the fast
// ones. Tested by tests/kernels/layer_norm_test.cpp and tests/kernels/device/layer_norm_test.cpp.
#pragma once

#include "kernels/core/cost.h"
#include "kernels/core/stream.h"
#include "kernels/hidden_dropout.h"

namespace cloze {

struct LayerNormForward {
    Tensor y;            // [rows, hidden]            out
    Tensor sum;          // [rows, hidden]            out, kept for backward; may be x
    Tensor mean, rstd;   // [rows]  statistics        out, kept for backward
    Tensor x;            // [rows, hidden]            in
    Tensor bias;         // [hidden]                  in, absent = 0
    Tensor residual;     // [rows, hidden]            in, absent = 0
    Tensor gamma, beta;  // [hidden]                  in
    double epsilon;      // added to the variance
    HiddenDropout dropout = {};
};

struct LayerNormBackward {
    Tensor dx;             // [rows, hidden]            out, overwritten; may be dy
    Tensor dresidual;      // [rows, hidden]            out, overwritten; absent = not wanted; another buffer than dx.
                           //                           May be dy when dx is not
    Tensor dgamma, dbeta;  // [hidden]  statistics      out
    Tensor dbias;          // [hidden]  statistics      out, absent = not wanted
    Tensor scratch;        // [1, layer_norm_backward_scratch()]  statistics
    Tensor dy;             // [rows, hidden]            in
    Tensor sum;            // [rows, hidden]            in, of forward
    Tensor mean, rstd;     // [rows]  statistics        in, of forward
    Tensor gamma;          // [hidden]                  in
    bool accumulate;       // false: overwrite dgamma, dbeta, dbias; true: add to them
    HiddenDropout dropout = {};
};

void layer_norm_forward(const LayerNormForward& arguments, Stream stream);
void layer_norm_backward(const LayerNormBackward& arguments, Stream stream);

/// Elements of scratch that backward needs.
std::int64_t layer_norm_backward_scratch(std::int64_t rows, std::int64_t hidden);

Cost layer_norm_forward_cost(std::int64_t rows, std::int64_t hidden, DType dtype);
Cost layer_norm_backward_cost(std::int64_t rows, std::int64_t hidden, DType dtype);

/// Device code (layer_norm.cu): called by the two above, which have checked the arguments.
namespace device_code {
void layer_norm_forward(const LayerNormForward& arguments, Stream stream);
void layer_norm_backward(const LayerNormBackward& arguments, Stream stream);
}  // namespace device_code

}  // namespace cloze
