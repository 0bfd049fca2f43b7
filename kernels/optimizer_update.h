// Optimizer update over the flat buffers: AdamW (Loshchilov and Hutter 2019) and LAMB (You et al. 2020).
//
//   g = gradient * gradient_scale
//   m = beta1 m + (1 - beta1) g,   v = beta2 v + (1 - beta2) g^2
//   u = (m / bias_correction1) / (sqrt(v / bias_correction2) + epsilon) + decay * w   (decay only where the segment has
//   it)
//
//   AdamW:  w -= learning_rate * u
//   LAMB:   w -= learning_rate * r * u,   r = |w| / |u| of the segment; 1 if either norm is 0 or the segment has no
//   decay
//
// With state->skip nothing changes, and neither do the gaps between segments. LAMB's norms are summed in f64 in chunks
// of kSegmentChunk elements, then chunk by chunk. Runs at the speed of memory.
//
// On a device: f32, the working copy also bf16; elements a multiple of 8, addresses aligned to 16; state and segments
// lie there too, so the call cannot check what they hold. Tested by tests/kernels/optimizer_update_test.cpp and
// tests/kernels/device/optimizer_update_test.cpp.
#pragma once

#include "kernels/norm.h"

namespace cloze {

enum class OptimizerKind : std::uint8_t { adamw, lamb };

struct OptimizerUpdate {
    Tensor weight;    // [elements]  statistics     in/out: master weights
    Tensor working;   // [elements]  working type   out: rounded copy for the GEMMs; absent = the masters are used
    Tensor m, v;      // [elements]  statistics     in/out
    Tensor scratch;   // [1, optimizer_update_scratch()]  f64; LAMB only, else absent
    Tensor gradient;  // [elements]  statistics     in
    const StepState* state;   // learning_rate, bias_correction1/2, gradient_scale, skip
    const Segment* segments;  // [segment_count]
    std::int64_t segment_count;
    OptimizerKind kind;
    double beta1, beta2, epsilon, weight_decay;
};

void optimizer_update(const OptimizerUpdate& arguments, Stream stream);

/// Elements of scratch: partial norms of LAMB, and the rate of each segment; 0 for AdamW.
std::int64_t optimizer_update_scratch(OptimizerKind kind, std::int64_t elements, std::int64_t segment_count);

Cost optimizer_update_cost(std::int64_t elements, OptimizerKind kind, bool working_copy);

/// Device code (optimizer_update.cu): called by the above, which has checked the arguments.
namespace device_code {
void adamw_update(const OptimizerUpdate& arguments, Stream stream);
void lamb_update(const OptimizerUpdate& arguments, Stream stream);
}  // namespace device_code

}  // namespace cloze
