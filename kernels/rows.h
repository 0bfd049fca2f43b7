// Rows: gather and scatter of whole rows, so that the heads see masked positions and [CLS] only.
//
//   gather:  y[i] = x[index[i]] for i < *used, zero for the other rows of y
//   scatter: x[index[i]] = (or +=) y[i] for i < *used. The first `used` indices are distinct, so no atomics are needed.
//
// Indices are range-checked where a batch is assembled, and so is `used` where it lies on a device. On a device: f32
// and bf16, cols a multiple of 8, addresses of x and y aligned to 16. Tested by tests/kernels/rows_test.cpp and
// tests/kernels/device/rows_test.cpp.
#pragma once

#include "kernels/core/cost.h"
#include "kernels/core/stream.h"
#include "kernels/core/tensor.h"

namespace cloze {

struct RowsGather {
    Tensor y;                  // [capacity, cols]          out
    Tensor x;                  // [rows, cols]              in
    Tensor index;              // [capacity]  i32           in
    const std::int32_t* used;  // how many of the indices count; lies where the tensors lie
};

struct RowsScatter {
    Tensor x;      // [rows, cols]              out
    Tensor y;      // [capacity, cols]          in
    Tensor index;  // [capacity]  i32           in
    const std::int32_t* used;
    bool accumulate;  // false: x is zero except for the named rows; true: the named rows are added to
};

void rows_gather(const RowsGather& arguments, Stream stream);
void rows_scatter(const RowsScatter& arguments, Stream stream);

Cost rows_gather_cost(std::int64_t capacity, std::int64_t cols, DType dtype);
Cost rows_scatter_cost(std::int64_t capacity, std::int64_t rows, std::int64_t cols, DType dtype);

/// Device code (rows.cu): called by the two above, which have checked the arguments.
namespace device_code {
void rows_gather(const RowsGather& arguments, Stream stream);
void rows_scatter(const RowsScatter& arguments, Stream stream);
}  // namespace device_code

}  // namespace cloze
