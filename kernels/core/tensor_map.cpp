#include "kernels/core/tensor_map.h"

#include "kernels/core/device_calls.h"

namespace cloze::detail {

void make_tensor_map(unsigned char* bytes, const Tensor& x, int box_rows, int box_cols, Where where) {
    constexpr std::int64_t kAlignment = 16;  // bytes, of the first element and from row to row
    constexpr int kMostBoxRows = 256;
    const std::int64_t stride = x.rows > 1 ? x.stride : x.cols;
    require(x && x.place == Place::device && x.dtype == DType::bf16 && x.rows > 0 && x.cols > 0 &&
                reinterpret_cast<std::uintptr_t>(x.address) % kAlignment == 0 &&
                (x.rows == 1 || stride * 2 % kAlignment == 0) && x.rows <= 0x7fffffff && x.cols <= 0x7fffffff,
            "tensor_map: ", describe(x), " of stride ", x.stride,
            " is no bf16 matrix on the device whose rows start at multiples of 16 bytes, at ", where.file, ":",
            where.line);
    require(box_rows >= 1 && box_rows <= kMostBoxRows && (box_cols == 64 || box_cols == 32), "tensor_map: a box of ",
            box_rows, " x ", box_cols, " elements; it may have up to ", kMostBoxRows, " rows of 64 or 32, at ",
            where.file, ":", where.line);
    const std::int64_t padded = (stride * 2 + kAlignment - 1) / kAlignment * kAlignment;  // of a single row
    device_calls::encode_tensor_map(bytes,
                                    {.address = x.address,
                                     .rows = x.rows,
                                     .cols = x.cols,
                                     .stride_bytes = padded,
                                     .box_rows = box_rows,
                                     .box_cols = box_cols},
                                    where);
}

}  // namespace cloze::detail
