#include "kernels/rows.h"

#include <algorithm>

#include "kernels/core/contract.h"
#include "kernels/core/device_body.h"
#include "kernels/core/lanes.h"

namespace cloze {

namespace {

template <typename Arguments>
Place check(const Arguments& a, const char* op) {
    const std::int64_t capacity = a.y.rows;
    require_floating(op, {"y", a.y});
    require_tensor({op, "x", a.x, a.x.rows, a.y.cols, a.y.dtype});
    require_tensor({op, "y", a.y, capacity, a.y.cols, a.y.dtype});
    require_tensor({op, "index", a.index, 1, capacity, DType::i32});
    require(a.used != nullptr, op, ": `used` is missing; give the address of the number of indices that count");
    const Named x{"x", a.x}, y{"y", a.y}, index{"index", a.index};
    require_apart(op, x, {y});
    require_apart(op, index, {x, y});
    if (common_place(op, {x, y, index}) == Place::device) {
        require_vectors(op, {x, y});
        return Place::device;
    }
    require(*a.used >= 0 && *a.used <= capacity, op, ": used is ", *a.used, ", but there are ", capacity, " indices");
    return Place::host;
}

template <typename T>
void gather(const RowsGather& a) {
    const std::int64_t cols = a.y.cols;
    const std::int32_t* index = data_or_null<std::int32_t>(a.index);
    parallel_chunks(a.y.rows, kRowsPerChunk, [&](std::int64_t first, std::int64_t last, std::int64_t) {
        for (std::int64_t row = first; row < last; ++row) {
            T* y = a.y.data<T>() + row * cols;
            if (row < *a.used) {
                std::copy_n(a.x.data<T>() + index[row] * cols, cols, y);
            } else {
                std::fill_n(y, cols, T{});
            }
        }
    });
}

template <typename T>
void scatter(const RowsScatter& a) {
    using A = Arithmetic<T>;
    const std::int64_t cols = a.y.cols;
    const std::int32_t* index = data_or_null<std::int32_t>(a.index);
    if (!a.accumulate) {
        parallel_chunks(a.x.rows, kRowsPerChunk, [&](std::int64_t first, std::int64_t last, std::int64_t) {
            std::fill_n(a.x.data<T>() + first * cols, (last - first) * cols, T{});
        });
    }
    parallel_chunks(*a.used, kRowsPerChunk, [&](std::int64_t first, std::int64_t last, std::int64_t) {
        for (std::int64_t row = first; row < last; ++row) {
            const T* y = a.y.data<T>() + row * cols;
            T* x = a.x.data<T>() + index[row] * cols;
            if (!a.accumulate) {
                std::copy_n(y, cols, x);
                continue;
            }
#pragma omp simd
            for (std::int64_t c = 0; c < cols; ++c) store(x[c], static_cast<A>(x[c]) + static_cast<A>(y[c]));
        }
    });
}

}  // namespace

void rows_gather(const RowsGather& arguments, [[maybe_unused]] Stream stream) {
    if (check(arguments, "rows_gather") == Place::device) {
        if constexpr (kHasDevice) return device_code::rows_gather(arguments, stream);
        fail_without_device("rows_gather");
    }
    visit_float(arguments.y.dtype, [&]<typename T>() { gather<T>(arguments); });
}

void rows_scatter(const RowsScatter& arguments, [[maybe_unused]] Stream stream) {
    if (check(arguments, "rows_scatter") == Place::device) {
        if constexpr (kHasDevice) return device_code::rows_scatter(arguments, stream);
        fail_without_device("rows_scatter");
    }
    visit_float(arguments.y.dtype, [&]<typename T>() { scatter<T>(arguments); });
}

// As many rows as `capacity` are read and written, and the indices read.
Cost rows_gather_cost(std::int64_t capacity, std::int64_t cols, DType dtype) {
    return {2 * capacity * cols * size_of(dtype) + capacity * size_of(DType::i32), 0};
}

// Reads y, writes all of x.
Cost rows_scatter_cost(std::int64_t capacity, std::int64_t rows, std::int64_t cols, DType dtype) {
    return {(capacity + rows) * cols * size_of(dtype) + capacity * size_of(DType::i32), 0};
}

}  // namespace cloze
