// Column sum on a device. Bound by memory: x is read once, 2 bytes an element in bf16, one addition each. Blocks of
// kernels/device/column_block.h; their partial sums, 1/64 of the rows in f32, are added by sum_chunks().
//
// Tested by tests/kernels/device/column_sum_test.cpp.
#include "kernels/chunk_sums.h"
#include "kernels/column_sum.h"
#include "kernels/core/dtype.h"
#include "kernels/device/column_block.h"

namespace cloze {

namespace {

template <typename T>
__global__ void __launch_bounds__(kColumnBlockThreads)
    column_sum_kernel(float* __restrict__ partial, const T* __restrict__ x, std::int64_t stride, ColumnShape shape) {
    const ColumnShare share(shape);
    Floats8 sum = {};
    if (share.column < shape.cols) {
        RowsInFlight<T, 1> rows(share, stride, {x});
        for (int k = 0; k < rows.count(); ++k) {
            Floats8 term[1];
            rows.take(k, term);
#pragma unroll
            for (int i = 0; i < kLaneColumns; ++i) sum[i] += term[0][i];
        }
    }
    write_column_partial(partial, sum, shape);
}

}  // namespace

namespace device_code {

void column_sum(const ColumnSum& a, Stream stream) {
    const ColumnShape shape{a.x.rows, a.x.cols};
    const auto run = [&]<typename T>() {
        launch("column_sum", column_sum_kernel<T>, column_partial_launch<T>(shape, 1), stream, a.scratch.data<float>(),
               a.x.data<T>(), a.x.stride, shape);
    };
    a.x.dtype == DType::bf16 ? run.template operator()<bf16>() : run.template operator()<float>();
    sum_chunks({.op = "column_sum",
                .sums = {a.sum.data<float>()},
                .partial = a.scratch.data<float>(),
                .chunks = divide_up(shape.rows, kRowsPerChunk),
                .stride = shape.cols,
                .cols = shape.cols,
                .accumulate = a.accumulate},
               stream);
}

}  // namespace device_code

}  // namespace cloze
