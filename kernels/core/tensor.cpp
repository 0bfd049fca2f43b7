#include "kernels/core/tensor.h"

namespace cloze {

Tensor Tensor::row_range(std::int64_t first, std::int64_t count) const {
    require(first >= 0 && count >= 0 && first + count <= rows, "Tensor::row_range: rows [", first, ", ", first + count,
            ") lie outside ", describe(*this));
    Tensor part = *this;
    part.address = static_cast<char*>(address) + first * stride * size_of(dtype);
    part.rows = count;
    return part;
}

Tensor Tensor::column_range(std::int64_t first, std::int64_t count) const {
    require(first >= 0 && count >= 0 && first + count <= cols, "Tensor::column_range: columns [", first, ", ",
            first + count, ") lie outside ", describe(*this));
    Tensor part = *this;
    part.address = static_cast<char*>(address) + first * size_of(dtype);
    part.cols = count;
    return part;
}

Tensor Tensor::reshaped(std::int64_t new_rows, std::int64_t new_cols) const {
    require(is_contiguous() && new_rows * new_cols == count(), "Tensor::reshaped: ", describe(*this),
            " cannot be seen as [", new_rows, ", ", new_cols, "]");
    Tensor view = *this;
    view.rows = new_rows;
    view.cols = new_cols;
    view.stride = new_cols;
    return view;
}

void Tensor::wrong_type(DType asked) const {
    fail(Fault::internal, "Tensor: ", describe(*this), " was read as ", name_of(asked));
}

std::string describe(const Tensor& tensor) {
    if (!tensor) return "absent";
    std::string shape = text(name_of(tensor.dtype), " [", tensor.rows, ", ", tensor.cols, "]");
    if (!tensor.is_contiguous()) shape += text(" with row stride ", tensor.stride);
    if (tensor.place == Place::device) shape += " on the device";
    return shape;
}

void require_tensor(const Expected& expected) {
    const Tensor& given = expected.tensor;
    if (!given && expected.optional) return;
    // An empty tensor (no rows, or no columns) may have no address.
    const bool present = given || expected.rows * expected.cols == 0;
    const bool fits = present && given.rows == expected.rows && given.cols == expected.cols &&
                      given.dtype == expected.dtype && (!expected.contiguous || given.is_contiguous());
    require(fits, expected.op, ": ", expected.name, " must be ", name_of(expected.dtype), " [", expected.rows, ", ",
            expected.cols, "]", expected.contiguous ? " without gaps between rows" : "", ", but it is ",
            describe(given));
}

}  // namespace cloze
