#include "kernels/cast.h"

#include <algorithm>

#include "kernels/core/contract.h"
#include "kernels/core/device_body.h"
#include "kernels/core/parallel.h"

namespace cloze {
namespace {

constexpr std::int64_t kElementsPerChunk = 16384;

/// Calls body(row, first, last) for pieces of rows that cover [rows, cols]; without gaps it is one long row.
template <typename Body>
void parallel_pieces(std::int64_t rows, std::int64_t cols, bool gaps, const Body& body) {
    if (!gaps) {
        cols *= rows;
        rows = 1;
    }
    const std::int64_t pieces = divide_up(cols, kElementsPerChunk);
    parallel_for(rows * pieces, [&](std::int64_t item) {
        const std::int64_t first = item % pieces * kElementsPerChunk;
        body(item / pieces, first, std::min(first + kElementsPerChunk, cols));
    });
}

template <typename To, typename From>
void cast_elements(const Cast& a) {
    To* y = data_or_null<To>(a.y);
    const From* x = data_or_null<From>(a.x);
    const bool gaps = !a.y.is_contiguous() || !a.x.is_contiguous();
    parallel_pieces(a.x.rows, a.x.cols, gaps, [=, &a](std::int64_t row, std::int64_t first, std::int64_t last) {
        To* to = y + row * a.y.stride;
        const From* from = x + row * a.x.stride;
#pragma omp simd
        for (std::int64_t i = first; i < last; ++i) to[i] = static_cast<To>(from[i]);
    });
}

}  // namespace

void cast(const Cast& a, [[maybe_unused]] Stream stream) {
    require_floating("cast", {"x", a.x});
    require_floating("cast", {"y", a.y});
    require_tensor({.op = "cast",
                    .name = "x",
                    .tensor = a.x,
                    .rows = a.x.rows,
                    .cols = a.x.cols,
                    .dtype = a.x.dtype,
                    .contiguous = false});
    require_tensor({.op = "cast",
                    .name = "y",
                    .tensor = a.y,
                    .rows = a.x.rows,
                    .cols = a.x.cols,
                    .dtype = a.y.dtype,
                    .contiguous = false});
    require_apart("cast", {"y", a.y}, {{"x", a.x}});
    if (common_place("cast", {{"y", a.y}, {"x", a.x}}) == Place::device) {
        require_vectors("cast", {{"y", a.y}, {"x", a.x}});
        if constexpr (kHasDevice) return device_code::cast(a, stream);
        fail_without_device("cast");
    }
    visit_float(a.y.dtype,
                [&]<typename To>() { visit_float(a.x.dtype, [&]<typename From>() { cast_elements<To, From>(a); }); });
}

void fill(const Fill& a, [[maybe_unused]] Stream stream) {
    require_floating("fill", {"y", a.y});
    require_tensor({.op = "fill",
                    .name = "y",
                    .tensor = a.y,
                    .rows = a.y.rows,
                    .cols = a.y.cols,
                    .dtype = a.y.dtype,
                    .contiguous = false});
    if (a.y.place == Place::device) {
        require_vectors("fill", {{"y", a.y}});
        if constexpr (kHasDevice) return device_code::fill(a, stream);
        fail_without_device("fill");
    }
    visit_float(a.y.dtype, [&]<typename T>() {
        T* y = data_or_null<T>(a.y);
        const T value = static_cast<T>(a.value);
        parallel_pieces(a.y.rows, a.y.cols, !a.y.is_contiguous(),
                        [=, &a](std::int64_t row, std::int64_t first, std::int64_t last) {
                            std::fill(y + row * a.y.stride + first, y + row * a.y.stride + last, value);
                        });
    });
}

void add(const Add& a, [[maybe_unused]] Stream stream) {
    require_floating("add", {"y", a.y});
    require_tensor({.op = "add",
                    .name = "y",
                    .tensor = a.y,
                    .rows = a.y.rows,
                    .cols = a.y.cols,
                    .dtype = a.y.dtype,
                    .contiguous = false});
    require_tensor({.op = "add",
                    .name = "x",
                    .tensor = a.x,
                    .rows = a.y.rows,
                    .cols = a.y.cols,
                    .dtype = a.y.dtype,
                    .contiguous = false});
    require_apart("add", {"y", a.y}, {{"x", a.x}});
    if (common_place("add", {{"y", a.y}, {"x", a.x}}) == Place::device) {
        require_vectors("add", {{"y", a.y}, {"x", a.x}});
        if constexpr (kHasDevice) return device_code::add(a, stream);
        fail_without_device("add");
    }
    visit_float(a.y.dtype, [&]<typename T>() {
        using A = Arithmetic<T>;
        T* y = data_or_null<T>(a.y);
        const T* x = data_or_null<T>(a.x);
        const bool gaps = !a.y.is_contiguous() || !a.x.is_contiguous();
        parallel_pieces(a.y.rows, a.y.cols, gaps, [=, &a](std::int64_t row, std::int64_t first, std::int64_t last) {
            T* sum = y + row * a.y.stride;
            const T* term = x + row * a.x.stride;
#pragma omp simd
            for (std::int64_t i = first; i < last; ++i) sum[i] = static_cast<T>(A(sum[i]) + A(term[i]));
        });
    });
}

Cost cast_cost(std::int64_t elements, DType from, DType to) {
    return {.bytes = elements * (size_of(from) + size_of(to)), .flops = 0};
}

}  // namespace cloze
