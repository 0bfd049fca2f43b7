#include "kernels/core/tensor.h"

#include <algorithm>

#include "kernels/core/integer.h"

namespace cloze {

Tensor Tensor::row_range(std::int64_t first, std::int64_t count) const {
    require(lies_within(first, count, rows), "Tensor::row_range: ", count, " rows from ", first, " on lie outside ",
            describe(*this));
    Tensor part = *this;
    part.address = static_cast<char*>(address) + first * stride * size_of(dtype);
    part.rows = count;
    return part;
}

Tensor Tensor::column_range(std::int64_t first, std::int64_t count) const {
    require(lies_within(first, count, cols), "Tensor::column_range: ", count, " columns from ", first,
            " on lie outside ", describe(*this));
    Tensor part = *this;
    part.address = static_cast<char*>(address) + first * size_of(dtype);
    part.cols = count;
    return part;
}

Tensor Tensor::reshaped(std::int64_t new_rows, std::int64_t new_cols) const {
    std::int64_t elements = 0;
    require(is_contiguous() && new_rows >= 0 && new_cols >= 0 &&
                !__builtin_mul_overflow(new_rows, new_cols, &elements) && elements == count(),
            "Tensor::reshaped: ", describe(*this), " cannot be seen as [", new_rows, ", ", new_cols, "]");
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

namespace {

/// Whether such a tensor can exist: what ops multiply, and add to, then fits 64 bits.
bool is_possible(const Tensor& tensor) {
    constexpr std::int64_t kMostElements = std::int64_t{1} << 58;
    std::int64_t elements = 0;
    return tensor.rows >= 0 && tensor.cols >= 0 &&
           !__builtin_mul_overflow(tensor.rows, std::max(tensor.cols, tensor.stride), &elements) &&
           elements <= kMostElements;
}

}  // namespace

void require_tensor(const Expected& expected) {
    const Tensor& given = expected.tensor;
    if (!given && expected.optional) return;
    require(is_possible(given), expected.op, ": ", expected.name, " is ", describe(given),
            ", which is not a possible size");
    // An empty tensor (no rows, or no columns) may have no address.
    const bool present = given || expected.rows == 0 || expected.cols == 0;
    const bool fits = present && given.rows == expected.rows && given.cols == expected.cols &&
                      given.dtype == expected.dtype && (!expected.contiguous || given.is_contiguous());
    require(fits, expected.op, ": ", expected.name, " must be ", name_of(expected.dtype), " [", expected.rows, ", ",
            expected.cols, "]", expected.contiguous ? " without gaps between rows" : "", ", but it is ",
            describe(given));
}

}  // namespace cloze
