// Column sum: the gradient of a bias that a GEMM added.
//
//   sum[c] = (or +=) sum over rows of x[r, c]
//
// In f32 (f64 for f64), in an order that the shape alone fixes: chunks of kRowsPerChunk rows, then the chunks. On a
// device: f32 and bf16, cols and row stride multiples of 8, the address of x aligned to 16.
// Tested by tests/kernels/column_sum_test.cpp and tests/kernels/device/column_sum_test.cpp.
#pragma once

#include "kernels/core/cost.h"
#include "kernels/core/stream.h"
#include "kernels/core/tensor.h"

namespace cloze {

struct ColumnSum {
    Tensor sum;       // [cols]  statistics        out
    Tensor scratch;   // [1, column_sum_scratch()]  statistics
    Tensor x;         // [rows, cols]              in; may have a row stride
    bool accumulate;  // false: overwrite; true: add
};

void column_sum(const ColumnSum& arguments, Stream stream);

/// Elements of scratch.
std::int64_t column_sum_scratch(std::int64_t rows, std::int64_t cols);

Cost column_sum_cost(std::int64_t rows, std::int64_t cols, DType dtype);

/// Device code (column_sum.cu): called by the above, which has checked the arguments.
namespace device_code {
void column_sum(const ColumnSum& arguments, Stream stream);
}  // namespace device_code

}  // namespace cloze
