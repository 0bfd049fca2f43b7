// bias + tanh on a device. Bound by memory where it is large: forward moves 4 bytes an element in bf16, backward 6. But
// it serves the pooler, [sequences, hidden], where the launch is most of its time; so it takes the accurate tanhf(),
// which keeps the relative accuracy of y near 0. Forward gives each thread one vector, so that few rows still reach all
// of a device; backward, which sums columns, shares the blocks of kernels/device/column_block.h with the larger ops.
//
// Tested by tests/kernels/device/bias_tanh_test.cpp.
#include "kernels/bias_tanh.h"
#include "kernels/chunk_sums.h"
#include "kernels/core/dtype.h"
#include "kernels/device/column_block.h"
#include "kernels/device/previous_kernel.h"

namespace cloze {

namespace {

// A block takes a row a warp, and 256 columns of them. y may be x: each thread reads an element before it writes it.
template <typename T>
__global__ void __launch_bounds__(kColumnBlockThreads)
    forward_kernel(T* y, const T* x, const T* __restrict__ bias, ColumnShape shape) {
    const std::int64_t row = block_x() * kColumnBlockWarps + warp_index();
    const std::int64_t column = block_y() * kBlockColumns + lane_index() * kLaneColumns;
    if (row >= shape.rows || column >= shape.cols) return;
    wait_for_previous_kernel();
    const Floats8 b = load8(bias + column);
    Floats8 u = load8(x + row * shape.cols + column, Cache::stream);
#pragma unroll
    for (int i = 0; i < kLaneColumns; ++i) u[i] = tanhf(u[i] + b[i]);
    store8(y + row * shape.cols + column, u);
}

// dx may be dy: each thread reads an element before it writes it.
template <typename T>
__global__ void __launch_bounds__(kColumnBlockThreads)
    backward_kernel(T* dx, float* __restrict__ partial, const T* dy, const T* __restrict__ y, ColumnShape shape) {
    const ColumnShare share(shape);
    Floats8 sum = {};
    if (share.column < shape.cols) {
        RowsInFlight<T, 2> rows(share, shape.cols, {y, dy});
        T* to = dx + share.first_row * shape.cols + share.column;
        for (int k = 0; k < rows.count(); ++k, to += kColumnBlockWarps * shape.cols) {
            Floats8 taken[2];
            rows.take(k, taken);
            const Floats8 value = taken[0];
            Floats8 gradient = taken[1];
#pragma unroll
            for (int i = 0; i < kLaneColumns; ++i) {
                gradient[i] *= fmaf(-value[i], value[i], 1.0f);
                sum[i] += gradient[i];
            }
            store8(to, gradient, Cache::stream);
        }
    }
    write_column_partial(partial, sum, shape);
}

/// Calls body.operator()<T>() for the storage type.
template <typename Body>
void visit(DType dtype, const Body& body) {
    dtype == DType::bf16 ? body.template operator()<bf16>() : body.template operator()<float>();
}

}  // namespace

namespace device_code {

void bias_tanh_forward(const BiasTanhForward& a, Stream stream) {
    const ColumnShape shape{a.x.rows, a.x.cols};
    visit(a.x.dtype, [&]<typename T>() {
        launch("bias_tanh_forward", forward_kernel<T>,
               {.grid = {.x = divide_up(shape.rows, kColumnBlockWarps), .y = divide_up(shape.cols, kBlockColumns)},
                .threads = kColumnBlockThreads,
                .programmatic = true},
               stream, a.y.data<T>(), a.x.data<T>(), a.bias.data<T>(), shape);
    });
}

void bias_tanh_backward(const BiasTanhBackward& a, Stream stream) {
    const ColumnShape shape{a.y.rows, a.y.cols};
    visit(a.y.dtype, [&]<typename T>() {
        launch("bias_tanh_backward", backward_kernel<T>, column_partial_launch<T>(shape, 2), stream, a.dx.data<T>(),
               a.scratch.data<float>(), a.dy.data<T>(), a.y.data<T>(), shape);
    });
    sum_chunks({.op = "bias_tanh_backward",
                .sums = {a.dbias.data<float>()},
                .partial = a.scratch.data<float>(),
                .chunks = divide_up(shape.rows, kRowsPerChunk),
                .stride = shape.cols,
                .cols = shape.cols,
                .accumulate = a.accumulate},
               stream);
}

}  // namespace device_code

}  // namespace cloze
