// How a block walks a matrix whose columns it also sums: 64 rows (kRowsPerChunk) x 256 columns, a lane 8 columns, a
// warp every eighth row. Rows come through shared memory, four in flight a lane, whatever registers the kernel needs
// (RowsInFlight). The warps' sums meet in shared memory in order, and the block writes one row of partial sums, which
// sum_chunks() adds: 1/64 of the rows, in f32. Tested by the ops that sum columns on a device.
#pragma once

#include "kernels/core/launch.h"
#include "kernels/core/parallel.h"
#include "kernels/device/block.h"
#include "kernels/device/copy_async.h"
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

inline constexpr int kRowsInFlight = 4;

/// Shared memory of a block: the meeting of its warps' sums, then the rows of `matrices` matrices in flight.
template <typename T>
CLOZE_HD constexpr SharedSize column_shared_size(int matrices) {
    return SharedSize()
        .take<float>(kColumnBlockWarps * kBlockColumns)
        .take<T>(kRowsInFlight * matrices * kColumnBlockThreads * kLaneColumns);
}

/// A lane's share of the rows of `matrices` matrices of one shape, copied ahead. The compiler would not keep as many
/// loads in flight: it delays them until registers are free. Each lane waits for its own copies alone.
///
///   RowsInFlight<T, 1> rows(share, stride, {x});
///   for (int k = 0; k < rows.count(); ++k) {
///       Floats8 of_x[1];
///       rows.take(k, of_x);
template <typename T, int matrices>
class RowsInFlight {
public:
    __device__ RowsInFlight(const ColumnShare& share, std::int64_t stride, const T* const (&from)[matrices])
        : step_(kColumnBlockWarps * stride),
          count_(static_cast<int>((share.end_row - share.first_row + kColumnBlockWarps - 1) / kColumnBlockWarps)) {
        SharedArena arena;
        arena.take<float>(kColumnBlockWarps * kBlockColumns);  // write_column_partial()'s
        own_ = arena.take<T>(kRowsInFlight * matrices * kColumnBlockThreads * kLaneColumns) +
               thread_index() * kLaneColumns;
#pragma unroll
        for (int m = 0; m < matrices; ++m) next_[m] = from[m] + share.first_row * stride + share.column;
#pragma unroll
        for (int k = 0; k < kRowsInFlight; ++k) start(k);
    }
    __device__ int count() const {
        return count_;
    }
    /// The rows after one another, k = 0, 1, ...: row k of each matrix, and its place goes to a later row.
    __device__ void take(int k, Floats8 (&row)[matrices]) {
        wait_for_copies<kRowsInFlight - 1>();
#pragma unroll
        for (int m = 0; m < matrices; ++m) row[m] = load8(place(k, m));
        start(k + kRowsInFlight);
    }

private:
    __device__ void start(int k) {
#pragma unroll
        for (int m = 0; m < matrices; ++m) {
#pragma unroll
            for (int i = 0; i < kLaneColumns; i += 16 / static_cast<int>(sizeof(T))) {
                if (k < count_) copy_async_16(shared_address(place(k, m) + i), next_[m] + i);
            }
            next_[m] += step_;
        }
        commit_copies();  // none of a row that is not there, so that the wait always counts alike
    }
    __device__ T* place(int k, int m) const {
        return own_ + (k % kRowsInFlight * matrices + m) * (kColumnBlockThreads * kLaneColumns);
    }

    std::int64_t step_;
    int count_;
    T* own_;  // [row in flight, matrix, thread, column]  shared, from this thread's first on
    const T* next_[matrices];
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

/// Of such blocks, with the shared memory of RowsInFlight<T, matrices> and write_column_partial().
template <typename T>
LaunchShape column_partial_launch(ColumnShape shape, int matrices) {
    return {.grid = {.x = divide_up(shape.cols, kBlockColumns), .y = divide_up(shape.rows, kRowsPerChunk)},
            .threads = kColumnBlockThreads,
            .shared_bytes = column_shared_size<T>(matrices).bytes()};
}

}  // namespace cloze
