// Gather and scatter of rows on a device. Bound by memory: a gathered row is read and written once, in runs of 512
// bytes of bf16, so the order of the indices does not matter. A warp moves a row, and rows are many, so no block waits
// for another. Scatter without `accumulate` clears x first, in a launch of its own: a map from rows to indices would
// save writing the named rows twice, 15 % of them, but cost scratch and another launch.
//
// Tested by tests/kernels/device/rows_test.cpp.
#include "kernels/core/dtype.h"
#include "kernels/core/launch.h"
#include "kernels/core/parallel.h"
#include "kernels/device/thread.h"
#include "kernels/device/vector.h"
#include "kernels/rows.h"

namespace cloze {

namespace {

constexpr int kWarps = 8;
constexpr int kLaneColumns = 8;
constexpr int kWarpColumns = kWarpThreads * kLaneColumns;

__device__ std::int64_t row_of_warp() {
    return block_x() * kWarps + warp_index();
}

__device__ std::int64_t first_column() {
    return lane_index() * kLaneColumns;
}

template <typename T>
struct Gather {
    T* y;
    const T* x;
    const std::int32_t* index;
    const std::int32_t* used;
    std::int64_t capacity;
    std::int64_t cols;
};

template <typename T>
__global__ void __launch_bounds__(kWarps* kWarpThreads) gather_kernel(Gather<T> a) {
    const std::int64_t row = row_of_warp();
    if (row >= a.capacity) return;
    T* y = a.y + row * a.cols;
    if (row >= *a.used) {
        for (std::int64_t c = first_column(); c < a.cols; c += kWarpColumns) store8(y + c, Floats8{});
        return;
    }
    const T* x = a.x + a.index[row] * a.cols;
#pragma unroll 4
    for (std::int64_t c = first_column(); c < a.cols; c += kWarpColumns) store8(y + c, load8(x + c));
}

template <typename T>
__global__ void __launch_bounds__(kWarps* kWarpThreads) clear_kernel(T* x, std::int64_t rows, std::int64_t cols) {
    const std::int64_t row = row_of_warp();
    if (row >= rows) return;
    for (std::int64_t c = first_column(); c < cols; c += kWarpColumns) store8(x + row * cols + c, Floats8{});
}

template <typename T>
struct Scatter {
    T* x;
    const T* y;
    const std::int32_t* index;
    const std::int32_t* used;
    std::int64_t capacity;
    std::int64_t cols;
    bool accumulate;
};

template <typename T>
__global__ void __launch_bounds__(kWarps* kWarpThreads) scatter_kernel(Scatter<T> a) {
    const std::int64_t row = row_of_warp();
    if (row >= a.capacity || row >= *a.used) return;
    const T* y = a.y + row * a.cols;
    T* x = a.x + a.index[row] * a.cols;
    for (std::int64_t c = first_column(); c < a.cols; c += kWarpColumns) {
        Floats8 value = load8(y + c, Cache::stream);
        if (a.accumulate) {
            const Floats8 before = load8(x + c);
#pragma unroll
            for (int i = 0; i < kLaneColumns; ++i) value[i] += before[i];
        }
        store8(x + c, value);
    }
}

LaunchShape shape_of(std::int64_t rows) {
    return {.grid = {.x = divide_up(rows, kWarps)}, .threads = kWarps * kWarpThreads};
}

/// Calls body.operator()<T>() for the storage type.
template <typename Body>
void visit(DType dtype, const Body& body) {
    dtype == DType::bf16 ? body.template operator()<bf16>() : body.template operator()<float>();
}

}  // namespace

namespace device_code {

void rows_gather(const RowsGather& a, Stream stream) {
    visit(a.y.dtype, [&]<typename T>() {
        launch("rows_gather", gather_kernel<T>, shape_of(a.y.rows), stream,
               Gather<T>{.y = a.y.data<T>(),
                         .x = a.x.data<T>(),
                         .index = a.index.data<std::int32_t>(),
                         .used = a.used,
                         .capacity = a.y.rows,
                         .cols = a.y.cols});
    });
}

void rows_scatter(const RowsScatter& a, Stream stream) {
    visit(a.y.dtype, [&]<typename T>() {
        if (!a.accumulate) {
            launch("rows_scatter", clear_kernel<T>, shape_of(a.x.rows), stream, a.x.data<T>(), a.x.rows, a.x.cols);
        }
        launch("rows_scatter", scatter_kernel<T>, shape_of(a.y.rows), stream,
               Scatter<T>{.x = a.x.data<T>(),
                          .y = a.y.data<T>(),
                          .index = a.index.data<std::int32_t>(),
                          .used = a.used,
                          .capacity = a.y.rows,
                          .cols = a.y.cols,
                          .accumulate = a.accumulate});
    });
}

}  // namespace device_code

}  // namespace cloze
