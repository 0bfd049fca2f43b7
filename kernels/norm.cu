// The gradient's norm on a device. Bound by memory: the gradient is read once, 4 bytes an element in f32, sixteen
// elements a thread in flight. A block sums the pieces of its chunk (kernels/segment_pieces.cuh), each for its segment
// and all together. A second, small launch joins both: one block adds the chunks and writes the step's state, while
// others add the pieces of each segment, a warp a segment.
//
// Each element is squared in f64, exactly, so that neither digits nor range are lost: 1e30 has a finite square. That is
// a conversion and a fused multiply-add an element, of 4 instructions in all, and stays under memory: at the 4.3 TB/s
// of an H200 a multiprocessor takes in 5 elements a clock in f32 and 10 in bf16, converts at least 16 and
// multiplies 64. An A100 takes in 3.4 and 7. Where f64 runs at 1/64 of f32 (compute capability 8.6 and 8.9) it is the
// limit, or near it.
//
// Tested by tests/kernels/device/norm_test.cpp.
#include "kernels/core/contract.h"
#include "kernels/core/dtype.h"
#include "kernels/device/shared.h"
#include "kernels/segment_pieces.cuh"

namespace cloze {

namespace {

constexpr int kSteps = 4;  // of a thread in flight
constexpr int kFinishWarps = 32;
constexpr int kFinishThreads = kFinishWarps * kWarpThreads;

struct Partials {
    double* piece;  // [slots]
    double* chunk;  // [chunks]
};

template <typename T>
__global__ void __launch_bounds__(kSegmentThreads)
    square_kernel(Partials to, const T* __restrict__ gradient, SegmentTable table) {
    double* scratch = SharedArena().take<double>(2 * kBlockSumDoubles);
    int turn = 0;
    double of_chunk = 0;
    for_pieces(table, [&](const Piece& piece) {
        double sum = 0;
        for_steps<kSteps>(piece, [&](std::int64_t first, const auto& quad_at) {
            Floats4 g[kSteps];
#pragma unroll
            for (int step = 0; step < kSteps; ++step) {
                const std::int64_t at = first + step * kSegmentStep;
                g[step] = load_quad(gradient + at, quad_at(at));
            }
#pragma unroll
            for (int step = 0; step < kSteps; ++step) {
#pragma unroll
                for (int i = 0; i < kQuad; ++i) {
                    const double value = static_cast<double>(g[step][i]);
                    sum += value * value;
                }
            }
        });
        // Two buffers by turns: one is written over only after the barrier of the other, when it has been read.
        const double square = block_sum(sum, scratch + turn * kBlockSumDoubles);
        turn = 1 - turn;
        of_chunk += square;
        if (thread_index() == 0) to.piece[piece.slot] = square;
    });
    if (thread_index() == 0) to.chunk[block_x()] = of_chunk;
}

__device__ void finish_state(StepState* state, double square, double max_norm) {
    constexpr double kLargest = 1.7976931348623157e308;
    const double norm = sqrt(square);
    const bool finite = norm <= kLargest;
    state->gradient_norm = norm;
    state->skip = finite ? 0 : 1;
    state->gradient_scale = finite && max_norm > 0 && norm > max_norm ? max_norm / norm : 1.0;
}

// Block 0 the whole, the others segments.
__global__ void __launch_bounds__(kFinishThreads)
    finish_kernel(StepState* state, double* segment_square, Partials from, SegmentTable table, std::int64_t chunks,
                  double max_norm) {
    if (block_x() == 0) {
        double* scratch = SharedArena().take<double>(kBlockSumDoubles);
        const double square = block_sum(strided_sum(from.chunk, thread_index(), chunks, kFinishThreads), scratch);
        if (thread_index() == 0) finish_state(state, square, max_norm);
        return;
    }
    const std::int64_t i = (block_x() - 1) * kFinishWarps + warp_index();
    if (i >= table.count) return;
    const double square = segment_sum(from.piece, table, i);
    if (lane_index() == 0) segment_square[i] = square;
}

}  // namespace

namespace device_code {

void gradient_norm(const GradientNorm& a, Stream stream) {
    const SegmentTable table{a.segments, a.segment_count};
    double* scratch = data_or_null<double>(a.scratch);
    const Partials partials{scratch, scratch + segment_slots(a.gradient.cols, a.segment_count)};
    const auto start = [&]<typename T>() {
        launch("gradient_norm", square_kernel<T>,
               segment_launch(a.gradient.cols, SharedSize().take<double>(2 * kBlockSumDoubles).bytes()), stream,
               partials, a.gradient.data<T>(), table);
    };
    a.gradient.dtype == DType::bf16 ? start.template operator()<bf16>() : start.template operator()<float>();
    launch("gradient_norm", finish_kernel,
           {.grid = {.x = 1 + divide_up(a.segment_count, kFinishWarps)},
            .threads = kFinishThreads,
            .shared_bytes = SharedSize().take<double>(kBlockSumDoubles).bytes()},
           stream, a.state, data_or_null<double>(a.segment_square), partials, table,
           divide_up(a.gradient.cols, kSegmentChunk), a.max_norm);
}

}  // namespace device_code

}  // namespace cloze
