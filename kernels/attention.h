// Attention over packed sequences (Vaswani et al. 2017), reading the projection's output as it lies.
//
// A row of qkv holds query | key | value of all heads, each [heads, head_dim]. For sequence b with rows
// [offset[b], offset[b + 1]), per head, query i and key j counted within the sequence:
//
//   score[i, j] = q[i] . k[j] / sqrt(head_dim)   for the keys visible to i
//   p[i, :]     = softmax(score[i, :]),  log_sum_exp[i] = log sum_j exp(score[i, j])
//   y[i]        = sum_j dropout(p[i, j]) v[j]
//
//   with pd = dropout(p), dp = dropout'(dy v^T), delta[i] = sum_j p[i, j] dp[i, j] = dy[i] . y[i]:
//   dv = pd^T dy,   ds = p * (dp - delta),   dq = ds k / sqrt(head_dim),   dk = ds^T q / sqrt(head_dim)
//
// A query that sees nothing (strict past, first token) has y = 0 and no gradient. Rows outside every sequence get y =
// 0, dqkv = 0. Offsets are range-checked where a batch is assembled. On a device: bf16, head_dim 32 or 64, addresses
// aligned to 16; dropout(p) and ds are rounded to bf16 where they enter products. Tested by
// tests/kernels/attention_test.cpp and tests/kernels/device/attention_test.cpp.
#pragma once

#include "kernels/core/cost.h"
#include "kernels/core/dropout.h"
#include "kernels/core/step_state.h"
#include "kernels/core/stream.h"
#include "kernels/core/tensor.h"

namespace cloze {

/// Which keys j a query i sees.
enum class Visible : std::uint8_t {
    all,
    past /* j <= i */,
    future /* j >= i */,
    strict_past /* j < i */,
    strict_future /* j > i */
};

/// Dropout of the probabilities. Default: none.
struct AttentionDropout {
    double probability = 0;            // rounded to k / 256; 0 = off, and nothing below is read
    std::int32_t layer = 0;            // < 4096
    const StepState* state = nullptr;  // gives the step's key; lies where the tensors lie
    Tensor sequence_sample = {};       // [sequences]  u64  index of the sequence's sample in the run's stream
};

struct AttentionForward {
    Tensor y;            // [tokens, hidden]              out, hidden = heads * head_dim
    Tensor log_sum_exp;  // [heads, tokens]  statistics   out, kept for backward; -infinity where nothing is visible
    Tensor qkv;          // [tokens, 3 * hidden]          in
    Tensor offset;       // [sequences + 1]  i32          in, ascending; unused sequences are empty
    std::int64_t heads;  // <= 1024
    Visible visible;
    AttentionDropout dropout = {};
};

struct AttentionBackward {
    Tensor dqkv;         // [tokens, 3 * hidden]          out, overwritten
    Tensor scratch;      // [1, attention_backward_scratch()]  statistics
    Tensor dy;           // [tokens, hidden]              in
    Tensor y;            // [tokens, hidden]              in, of forward
    Tensor log_sum_exp;  // [heads, tokens]  statistics   in, of forward
    Tensor qkv;          // [tokens, 3 * hidden]          in
    Tensor offset;       // [sequences + 1]  i32          in
    std::int64_t heads;
    Visible visible;
    AttentionDropout dropout = {};
};

void attention_forward(const AttentionForward& arguments, Stream stream);
void attention_backward(const AttentionBackward& arguments, Stream stream);

/// Elements of scratch that backward needs.
std::int64_t attention_backward_scratch(std::int64_t tokens, std::int64_t heads, std::int64_t head_dim);

/// `pairs` = visible (query, key) pairs summed over sequences.
Cost attention_forward_cost(std::int64_t tokens, std::int64_t pairs, std::int64_t heads, std::int64_t head_dim,
                            DType dtype);
Cost attention_backward_cost(std::int64_t tokens, std::int64_t pairs, std::int64_t heads, std::int64_t head_dim,
                             DType dtype);

/// Device code (attention_forward.cu, attention_backward.cu): called by the two above, which have checked the
/// arguments. Those of hopper (attention_forward_hopper.cu, attention_backward_hopper.cu) where
/// kernels/attention_path.h says so.
namespace device_code {
namespace hopper {
void attention_forward(const AttentionForward& arguments, Stream stream);
void attention_backward(const AttentionBackward& arguments, Stream stream);
}  // namespace hopper
void attention_forward(const AttentionForward& arguments, Stream stream);
void attention_backward(const AttentionBackward& arguments, Stream stream);
}  // namespace device_code

}  // namespace cloze
