// Cast and fill: copies between working types (round to nearest even) and constants.
// Tested by tests/kernels/cast_test.cpp.
#pragma once

#include "kernels/core/cost.h"
#include "kernels/core/stream.h"
#include "kernels/core/tensor.h"

namespace cloze {

struct Cast {
    Tensor y;  // [rows, cols]  f64, f32 or bf16   out
    Tensor x;  // [rows, cols]  f64, f32 or bf16   in
};

struct Fill {
    Tensor y;  // [rows, cols]  f64, f32 or bf16   out; may have a row stride
    double value;
};

struct Add {
    Tensor y;  // [rows, cols]  f64, f32 or bf16   in/out: y += x
    Tensor x;  // [rows, cols]  type of y          in
};

void cast(const Cast& arguments, Stream stream);
void fill(const Fill& arguments, Stream stream);
void add(const Add& arguments, Stream stream);

Cost cast_cost(std::int64_t elements, DType from, DType to);

}  // namespace cloze
