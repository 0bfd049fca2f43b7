// Cross entropy: softmax, loss, accuracy and the gradient of the logits in place, one read and one write of the logits.
// Serves the masked-LM head (classes = vocabulary) and the next-sentence head (classes = 2).
//
//   loss[r]    = log(sum_c exp(logits[r, c])) - logits[r, label[r]]
//   correct[r] = 1 if the label's logit is the row's maximum (the first of equals), else 0
//   logits     becomes (softmax(logits[r]) - onehot(label[r])) * *scale           when `gradient`
//
// Rows from *used on have loss 0, correct 0 and gradient 0. Columns between `classes` and the width of `logits` are
// padding of the vocabulary: they are outside the softmax, and their gradient is 0.
// Labels are range-checked where a batch is assembled. A row that holds NaN has loss NaN. On a device: f32 and bf16,
// any width; fastest where it is a multiple of 8 and the address of logits one of 16.
// Tested by tests/kernels/cross_entropy_test.cpp and tests/kernels/device/cross_entropy_test.cpp.
#pragma once

#include "kernels/core/cost.h"
#include "kernels/core/stream.h"
#include "kernels/core/tensor.h"

namespace cloze {

struct CrossEntropy {
    Tensor loss;               // [capacity]  statistics     out, in nats, not scaled
    Tensor correct;            // [capacity]  i32            out
    Tensor logits;             // [capacity, width]          in; out when gradient. width >= classes
    Tensor label;              // [capacity]  i32            in
    const std::int32_t* used;  // rows that count; lies where the tensors lie
    const double* scale;       // what a row's gradient is multiplied by: 1 / rows of the whole step; lies there too
    std::int64_t classes;
    bool gradient;  // false: logits stay as they are, scale is not read (may be null)
};

void cross_entropy(const CrossEntropy& arguments, Stream stream);

Cost cross_entropy_cost(std::int64_t rows, std::int64_t classes, DType dtype, bool gradient);

/// Device code (cross_entropy.cu): called by the above, which has checked the arguments.
namespace device_code {
void cross_entropy(const CrossEntropy& arguments, Stream stream);
}  // namespace device_code

}  // namespace cloze
