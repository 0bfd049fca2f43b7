// Cast, fill and add: copies between working types (round to nearest even), constants, sums of two buffers. Any of the
// tensors may have a row stride. Run at the speed of memory. On a device: f32 and bf16, cols and row strides multiples
// of 8, addresses aligned to 16. Tested by tests/kernels/cast_test.cpp and tests/kernels/device/cast_test.cpp.
#pragma once

#include "kernels/core/cost.h"
#include "kernels/core/stream.h"
#include "kernels/core/tensor.h"

namespace cloze {

struct Cast {
    Tensor y;  // [rows, cols]  f64, f32 or bf16   out
    Tensor x;  // [rows, cols]  f64, f32 or bf16   in; apart from y
};

struct Fill {
    Tensor y;  // [rows, cols]  f64, f32 or bf16   out
    double value;
};

struct Add {
    Tensor y;  // [rows, cols]  f64, f32 or bf16   in/out: y += x, in the arithmetic type
    Tensor x;  // [rows, cols]  type of y          in; apart from y
};

void cast(const Cast& arguments, Stream stream);
void fill(const Fill& arguments, Stream stream);
void add(const Add& arguments, Stream stream);

Cost cast_cost(std::int64_t elements, DType from, DType to);

/// Device code (cast.cu): called by the above, which have checked the arguments.
namespace device_code {
void cast(const Cast& arguments, Stream stream);
void fill(const Fill& arguments, Stream stream);
void add(const Add& arguments, Stream stream);
}  // namespace device_code

}  // namespace cloze
