// Tensor: a non-owning view of rows and columns, row-major, with a row stride. Memory belongs to arenas.
// Tested by tests/kernels/core_test.cpp.
#pragma once

#include <cstdint>
#include <string>

#include "kernels/core/dtype.h"

namespace cloze {

enum class Place : std::uint8_t { host, device };

/// A view of rank 1 ([cols], rows = 1) or 2 ([rows, cols]). Elements of a row are adjacent; rows lie `stride` elements
/// apart. A default-made Tensor is absent: it has no data, and an op treats the optional argument as not given.
struct Tensor {
    void* address = nullptr;
    std::int64_t rows = 0;
    std::int64_t cols = 0;
    std::int64_t stride = 0;
    DType dtype = DType::f32;
    Place place = Place::host;

    explicit operator bool() const { return address != nullptr; }
    std::int64_t count() const { return rows * cols; }
    bool is_contiguous() const { return rows <= 1 || stride == cols; }

    /// The elements as T. Asks for the right type, so that a view is never read as something else.
    template <typename T>
    T* data() const {
        if (dtype != dtype_of<T>()) [[unlikely]]
            wrong_type(dtype_of<T>());
        return static_cast<T*>(address);
    }

    /// Rows [first, first + count) of this view.
    Tensor row_range(std::int64_t first, std::int64_t count) const;
    /// Columns [first, first + count) of this view; keeps the stride.
    Tensor column_range(std::int64_t first, std::int64_t count) const;
    /// The same elements with another shape; the view must be contiguous and of as many elements.
    Tensor reshaped(std::int64_t new_rows, std::int64_t new_cols) const;

    /// A view of host memory that somebody else owns.
    template <typename T>
    static Tensor host(T* data, std::int64_t rows, std::int64_t cols) {
        return {const_cast<std::remove_const_t<T>*>(data), rows,       cols, cols,
                dtype_of<std::remove_const_t<T>>(),        Place::host};
    }
    template <typename T>
    static Tensor host(T* data, std::int64_t count) {
        return host(data, 1, count);
    }

private:
    [[noreturn]] void wrong_type(DType asked) const;
};

/// "f32 [128, 768]" for messages.
std::string describe(const Tensor& tensor);

/// What a contract asks of one argument; checked once, before anything runs.
struct Expected {
    const char* op;    // "layer_norm_forward"
    const char* name;  // "gamma"
    const Tensor& tensor;
    std::int64_t rows;
    std::int64_t cols;
    DType dtype;
    bool optional = false;   // absent is accepted
    bool contiguous = true;  // stride equals cols
};

/// Throws Fault::usage naming op, argument, what was expected and what was given.
void require_tensor(const Expected& expected);

}  // namespace cloze
