// TensorMap: how the copy engine of compute capability 9.0 (kernels/device/tensor_copy.h) walks a matrix. Made on the
// host, and passed to the kernel by value:
//
//   __global__ void kernel(const __grid_constant__ TensorMap map, ...)
//   launch("op", kernel, shape, stream, tensor_map(x, 64, 64), ...)
//
// Tested by tests/kernels/device/hopper_copy_test.cu.
#pragma once

#include <cstdint>

#include "kernels/core/error.h"
#include "kernels/core/tensor.h"

namespace cloze {

/// The driver's CUtensorMap.
struct alignas(64) TensorMap {
    unsigned char bytes[128];
};

/// For boxes of [box_rows, box_cols] of a bf16 matrix on the device. A row of a box is 128 or 64 bytes (64 or 32
/// columns) and swizzled by that many. Throws Fault::device where the build, the driver or the device cannot.
TensorMap tensor_map(const Tensor& x, int box_rows, int box_cols, Where where = Where::here());

}  // namespace cloze
