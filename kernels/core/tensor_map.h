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
struct alignas(128) TensorMap {
    unsigned char bytes[128];
};

namespace detail {
/// Into 128 bytes rather than as a result: GCC 12 does not align every temporary of so large an alignment.
void make_tensor_map(unsigned char* bytes, const Tensor& x, int box_rows, int box_cols, Where where);
}  // namespace detail

/// For boxes of [box_rows, box_cols] of a bf16 matrix on the device. A row of a box is 128 or 64 bytes (64 or 32
/// columns) and swizzled by that many. Throws Fault::device where the build, the driver or the device cannot.
inline TensorMap tensor_map(const Tensor& x, int box_rows, int box_cols, Where where = Where::here()) {
    TensorMap map;
    detail::make_tensor_map(map.bytes, x, box_rows, box_cols, where);
    return map;
}

}  // namespace cloze
