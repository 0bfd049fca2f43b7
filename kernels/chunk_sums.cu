// A block sums 32 columns: a lane a column, a warp a run of chunks, so that a few thousand columns still fill the
// device and each load is 128 bytes wide. It reads what the op before has just written, from the second-level cache.
#include <algorithm>
#include <iterator>

#include "kernels/chunk_sums.h"
#include "kernels/core/launch.h"
#include "kernels/core/parallel.h"
#include "kernels/device/block.h"
#include "kernels/device/previous_kernel.h"
#include "kernels/device/shared.h"

namespace cloze {

namespace {

constexpr int kRuns = 32;  // of 16,384 rows: 8 chunks each, which are all in flight at once

__global__ void __launch_bounds__(kRuns* kWarpThreads) sum_chunks_kernel(ChunkSums a) {
    float* sums = SharedArena().take<float>(kRuns * kWarpThreads);  // [run, column of the block]
    const std::int64_t column = block_x() * kWarpThreads + lane_index();
    const float* partial = a.partial + block_y() * a.cols;
    const std::int64_t run_length = (a.chunks + kRuns - 1) / kRuns;
    const std::int64_t first = warp_index() * run_length;
    const std::int64_t end = first + run_length < a.chunks ? first + run_length : a.chunks;
    wait_for_previous_kernel();
    float run = 0;
    if (column < a.cols) {
#pragma unroll 8
        for (std::int64_t chunk = first; chunk < end; ++chunk) run += partial[chunk * a.stride + column];
    }
    sums[thread_index()] = run;
    block_barrier();  // the sums of all runs are written
    if (warp_index() > 0 || column >= a.cols) return;
    float total = 0;
#pragma unroll
    for (int i = 0; i < kRuns; ++i) total += sums[i * kWarpThreads + lane_index()];
    // An index of block_y() would move the arguments to the stack.
    float* sum = block_y() == 0 ? a.sums[0] : block_y() == 1 ? a.sums[1] : a.sums[2];
    sum[column] = a.accumulate ? sum[column] + total : total;
}

}  // namespace

void sum_chunks(const ChunkSums& arguments, Stream stream) {
    const auto* wanted_end = std::find(std::begin(arguments.sums), std::end(arguments.sums), nullptr);
    launch(arguments.op, sum_chunks_kernel,
           {.grid = {.x = divide_up(arguments.cols, kWarpThreads), .y = wanted_end - arguments.sums},
            .threads = kRuns * kWarpThreads,
            .shared_bytes = SharedSize().take<float>(kRuns * kWarpThreads).bytes(),
            .programmatic = true},
           stream, arguments);
}

}  // namespace cloze
