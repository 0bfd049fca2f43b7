// Norm: the global L2 norm of the flat gradient, the finite check and the clipping factor (Pascanu et al. 2013).
//
//   gradient_norm  = sqrt(sum of squares of gradient[segment])       over all segments
//   gradient_scale = max_norm > 0 and gradient_norm > max_norm ? max_norm / gradient_norm : 1
//   skip           = 1 if gradient_norm is not finite, else 0; gradient_scale is 1 then
//
// A segment that holds an infinity or NaN has a segment_square that is not finite, so whoever wants to name the first
// such tensor of a skipped step looks there. Squares are summed in f64, by chunks, in an order that the table of
// segments fixes. Runs at the speed of memory.
//
// On a device: f32 and bf16, elements a multiple of 8, the address of the gradient aligned to 16; state and segments
// lie there too, so the call cannot check what they hold. Tested by tests/kernels/norm_test.cpp and
// tests/kernels/device/norm_test.cpp.
#pragma once

#include "kernels/core/cost.h"
#include "kernels/core/integer.h"
#include "kernels/core/step_state.h"
#include "kernels/core/stream.h"
#include "kernels/core/tensor.h"

namespace cloze {

/// One parameter tensor inside the flat buffers. A table of them ascends, and they lie apart.
struct Segment {
    std::int64_t offset;  // first element
    std::int64_t count;   // elements; gaps between segments are alignment
    std::int32_t decay;   // 1: weight decay applies (and LAMB's trust ratio); 0: bias or LayerNorm
    std::int32_t reserved = 0;
};

/// Elements that one thread of the host, or one block of a device, sums. A constant: it fixes the order of sums.
inline constexpr std::int64_t kSegmentChunk = 16384;

/// Places for the partial sums of all chunks of all segments. A device counts chunks from the start of the buffers, and
/// where chunk c meets segment s it uses place c + s. No other meeting does: from one to the next c or s grows, and
/// neither shrinks. The host counts from the start of each segment, and needs no more.
constexpr std::int64_t segment_slots(std::int64_t elements, std::int64_t segment_count) {
    return divide_up(elements, kSegmentChunk) + segment_count;
}

/// Throws unless the segments ascend, lie apart and end within `elements`. For a table that lies on the host.
void require_segments(const char* op, const Segment* segments, std::int64_t segment_count, std::int64_t elements);

struct GradientNorm {
    StepState* state;         // gradient_norm, gradient_scale, skip: out
    Tensor segment_square;    // [segments]  f64   out: sum of squares of each segment
    Tensor scratch;           // [1, gradient_norm_scratch()]  f64
    Tensor gradient;          // [elements]  f64, f32 or bf16   in
    const Segment* segments;  // [segment_count]   in
    std::int64_t segment_count;
    double max_norm;  // 0: no clipping
};

void gradient_norm(const GradientNorm& arguments, Stream stream);

/// Elements of scratch: partial sums of each segment, and of each chunk.
std::int64_t gradient_norm_scratch(std::int64_t elements, std::int64_t segment_count);

Cost gradient_norm_cost(std::int64_t elements, DType dtype);

/// Device code (norm.cu): called by the above, which has checked the arguments.
namespace device_code {
void gradient_norm(const GradientNorm& arguments, Stream stream);
}  // namespace device_code

}  // namespace cloze
