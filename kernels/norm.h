// Norm: the global L2 norm of the flat gradient, the finite check and the clipping factor (Pascanu et al. 2013).
//
//   gradient_norm  = sqrt(sum of squares of gradient[segment])       over all segments
//   gradient_scale = max_norm > 0 and gradient_norm > max_norm ? max_norm / gradient_norm : 1
//   skip           = 1 if gradient_norm is not finite, else 0; gradient_scale is 1 then
//
// A segment that holds an infinity or NaN has a segment_square that is not finite, so whoever wants to name the first
// such tensor of a skipped step looks there. Squares are summed in f64 in a fixed order: in chunks whose size depends
// on the segment's alone, then chunk by chunk, then segment by segment. Runs at the speed of memory. Tested by
// tests/kernels/norm_test.cpp.
#pragma once

#include "kernels/core/cost.h"
#include "kernels/core/step_state.h"
#include "kernels/core/stream.h"
#include "kernels/core/tensor.h"

namespace cloze {

/// One parameter tensor inside the flat buffers.
struct Segment {
    std::int64_t offset;  // first element
    std::int64_t count;   // elements; gaps between segments are alignment
    std::int32_t decay;   // 1: weight decay applies (and LAMB's trust ratio); 0: bias or LayerNorm
    std::int32_t reserved = 0;
};

struct GradientNorm {
    StepState* state;         // gradient_norm, gradient_scale, skip: out
    Tensor segment_square;    // [segments]  f64   out: sum of squares of each segment
    Tensor gradient;          // [elements]  f64, f32 or bf16   in
    const Segment* segments;  // [segment_count]   in
    std::int64_t segment_count;
    double max_norm;  // 0: no clipping
};

void gradient_norm(const GradientNorm& arguments, Stream stream);

Cost gradient_norm_cost(std::int64_t elements, DType dtype);

}  // namespace cloze
