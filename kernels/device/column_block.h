// How a block walks a matrix whose columns it also sums: 64 rows (kRowsPerChunk) x 256 columns, a lane 8 columns, a
// warp every eighth row. The warps' sums meet in shared memory in order, and the block writes one row of partial sums,
// which sum_chunks() adds: 1/64 of the rows, in f32. Tested by the ops that sum columns on a device.
#pragma once

#include "kernels/core/launch.h"
#include "kernels/core/parallel.h"
#include "kernels/device/block.h"
#include "kernels/device/shared.h"
#include "kernels/device/vector.h"

namespace cloze {

inline constexpr int kColumnBlockWarps = 8;
inline constexpr int kColumnBlockThreads = kColumnBlockWarps * kWarpThreads;
inline constexpr int kLaneColumns = 8;
inline constexpr int kBlockColumns = kWarpThreads * kLaneColumns;

struct ColumnShape {
    std::int64_t rows;
    std::int64_t cols;
};

/// What one warp of a block computes: 8 columns a lane from `column` on, every eighth row of [first_row, end_row).
struct ColumnShare {
    std::int64_t column;
    std::int64_t first_row;
    std::int64_t end_row;
    __device__ explicit ColumnShare(ColumnShape shape)
        : column(block_x() * kBlockColumns + lane_index() * kLaneColumns),
          first_row(block_y() * kRowsPerChunk + warp_index()),
          end_row(block_y() * kRowsPerChunk + kRowsPerChunk < shape.rows ? block_y() * kRowsPerChunk + kRowsPerChunk
                                                                         : shape.rows) {}
};

/// Called by all threads of the block, with the sums of the rows of each lane's columns; zero past the last column.
__device__ inline void write_column_partial(float* partial, const Floats8& sum, ColumnShape shape) {
    float* sums = SharedArena().take<float>(kColumnBlockWarps * kBlockColumns);  // [warp, column of the block]
    store8(sums + warp_index() * kBlockColumns + lane_index() * kLaneColumns, sum);
    block_barrier();  // the sums of all warps are written
    const std::int64_t column = block_x() * kBlockColumns + thread_index();
    if (column >= shape.cols) return;
    float total = 0;
#pragma unroll
    for (int warp = 0; warp < kColumnBlockWarps; ++warp) total += sums[warp * kBlockColumns + thread_index()];
    partial[block_y() * shape.cols + column] = total;
}

inline LaunchShape column_block_launch(ColumnShape shape) {
    return {.grid = {.x = divide_up(shape.cols, kBlockColumns), .y = divide_up(shape.rows, kRowsPerChunk)},
            .threads = kColumnBlockThreads};
}

/// The same with the shared memory of write_column_partial().
inline LaunchShape column_partial_launch(ColumnShape shape) {
    LaunchShape launch = column_block_launch(shape);
    launch.shared_bytes = SharedSize().take<float>(kColumnBlockWarps * kBlockColumns).bytes();
    return launch;
}

}  // namespace cloze
