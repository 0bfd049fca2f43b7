// bias + dropout + residual + LayerNorm on a device. Bound by memory: in bf16 both directions move 8 bytes an element,
// so on an H100 (3.35 TB/s, 29 T lane instructions/s) an element may cost 69 instructions. By estimate it costs 20 to
// 30, of which the mask is 5 to 10.
//
// A row of up to 1,024 columns is read once and stays in registers, eight columns a lane in each of `groups` =
// ceil(hidden / 256) pieces:
//
//   forward    one warp a row, all pieces in it: both passes over the row, mean and variance, without any barrier.
//   backward   a warp a piece. The sums of dgamma, dbeta and dbias stay in registers over 64 rows; with all pieces in
//              one warp they alone would be 96 registers, which leaves too few warps to cover the latency of memory.
//              The warps of a team take two rows a step and so meet once in two rows. Each block writes one row of
//              partial sums, which sum_chunks() adds: 3/128 of the traffic of the rest in bf16.
//
// Wider rows take the kernels called wide: a warp a row, which is read again from the caches for each pass.
//
// Tested by tests/kernels/device/layer_norm_test.cpp.
#include "kernels/chunk_sums.h"
#include "kernels/core/dtype.h"
#include "kernels/core/launch.h"
#include "kernels/core/parallel.h"
#include "kernels/device/block.h"
#include "kernels/device/shared.h"
#include "kernels/device/vector.h"
#include "kernels/hidden_mask.cuh"
#include "kernels/layer_norm.h"

namespace cloze {

namespace {

constexpr int kWarps = 8;
constexpr int kLaneColumns = 8;
constexpr int kWarpColumns = kWarpThreads * kLaneColumns;
constexpr int kMaxGroups = 4;
constexpr int kStepRows = 2;  // of a team of backward
constexpr int kSums = 3;      // dgamma, dbeta, dbias

/// Warps that share a row in backward; a block is as many such teams as make about eight warps.
CLOZE_HD constexpr int teams_of(int groups) {
    return kWarps / groups;
}

template <typename T>
struct ForwardArguments {
    T* y;
    T* sum;  // may be x: each thread reads an element before it writes it
    float* mean;
    float* rstd;
    const T* x;
    const T* bias;
    const T* residual;
    const T* gamma;
    const T* beta;
    std::int64_t rows;
    std::int64_t hidden;
    float epsilon;
    HiddenMaskArguments mask;
};

template <typename T>
struct BackwardArguments {
    T* dx;  // it or dresidual may be dy: each thread reads an element before it writes it
    T* dresidual;
    float* partial;  // [chunk of rows][dgamma, dbeta, dbias][hidden]
    const T* dy;
    const T* sum;
    const float* mean;
    const float* rstd;
    const T* gamma;
    std::int64_t rows;
    std::int64_t hidden;
    HiddenMaskArguments mask;
};

/// What a store of T and a load make of x: statistics start from the sum as kept.
template <typename T>
__device__ void round_as_stored(Floats8& x) {
    if constexpr (sizeof(T) == 2) {
#pragma unroll
        for (int i = 0; i < kLaneColumns; i += 2) {
            const std::uint32_t pair = pack_bf16(x[i], x[i + 1]);
            x[i] = low_float(pair);
            x[i + 1] = high_float(pair);
        }
    }
}

__device__ void add(Floats8& x, const Floats8& y) {
#pragma unroll
    for (int i = 0; i < kLaneColumns; ++i) x[i] += y[i];
}

__device__ float total(const Floats8& x) {
    return ((x[0] + x[1]) + (x[2] + x[3])) + ((x[4] + x[5]) + (x[6] + x[7]));
}

__device__ float total_square(const Floats8& x, float mean) {
    Floats8 square;
#pragma unroll
    for (int i = 0; i < kLaneColumns; ++i) square[i] = (x[i] - mean) * (x[i] - mean);
    return total(square);
}

/// x: dropout(x + bias) + residual as kept, and written.
template <typename T>
__device__ void finish_sum(Floats8& x, const Floats8& residual, const ForwardArguments<T>& a, std::int64_t row,
                           std::int64_t column) {
    if (a.bias != nullptr) add(x, load8(a.bias + column));
    apply_hidden_mask(x, a.mask, row, column);
    add(x, residual);
    round_as_stored<T>(x);
    store8(a.sum + row * a.hidden + column, x);
}

template <typename T>
__device__ void write_normalized(Floats8 x, float mean, float rstd, const ForwardArguments<T>& a, std::int64_t row,
                                 std::int64_t column) {
    const Floats8 gamma = load8(a.gamma + column), beta = load8(a.beta + column);
#pragma unroll
    for (int i = 0; i < kLaneColumns; ++i) x[i] = fmaf(gamma[i], (x[i] - mean) * rstd, beta[i]);
    store8(a.y + row * a.hidden + column, x);
}

template <typename T, int kGroups>
__global__ void __launch_bounds__(kWarps* kWarpThreads) forward_kernel(ForwardArguments<T> a) {
    const std::int64_t row = block_x() * kWarps + warp_index();
    if (row >= a.rows) return;
    const std::int64_t lane_column = lane_index() * kLaneColumns;
    Floats8 x[kGroups], residual[kGroups];
#pragma unroll
    for (int group = 0; group < kGroups; ++group) {
        const std::int64_t column = group * kWarpColumns + lane_column;
        x[group] = residual[group] = {};
        if (column >= a.hidden) continue;
        x[group] = load8(a.x + row * a.hidden + column, Cache::stream);
        if (a.residual != nullptr) residual[group] = load8(a.residual + row * a.hidden + column, Cache::stream);
    }
    float sum = 0;
#pragma unroll
    for (int group = 0; group < kGroups; ++group) {
        const std::int64_t column = group * kWarpColumns + lane_column;
        if (column < a.hidden) finish_sum(x[group], residual[group], a, row, column);
        sum += total(x[group]);
    }
    const float mean = warp_sum(sum) / static_cast<float>(a.hidden);
    float square = 0;
#pragma unroll
    for (int group = 0; group < kGroups; ++group) {
        if (group * kWarpColumns + lane_column < a.hidden) square += total_square(x[group], mean);
    }
    const float rstd = 1.0f / sqrtf(warp_sum(square) / static_cast<float>(a.hidden) + a.epsilon);
#pragma unroll
    for (int group = 0; group < kGroups; ++group) {
        const std::int64_t column = group * kWarpColumns + lane_column;
        if (column < a.hidden) write_normalized(x[group], mean, rstd, a, row, column);
    }
    if (lane_index() == 0) {
        a.mean[row] = mean;
        a.rstd[row] = rstd;
    }
}

template <typename T>
__global__ void __launch_bounds__(kWarps* kWarpThreads) wide_forward_kernel(ForwardArguments<T> a) {
    const std::int64_t row = block_x() * kWarps + warp_index();
    if (row >= a.rows) return;
    const std::int64_t lane_column = lane_index() * kLaneColumns;
    float sum = 0;
    for (std::int64_t column = lane_column; column < a.hidden; column += kWarpColumns) {
        Floats8 x = load8(a.x + row * a.hidden + column), residual = {};
        if (a.residual != nullptr) residual = load8(a.residual + row * a.hidden + column);
        finish_sum(x, residual, a, row, column);
        sum += total(x);
    }
    const float mean = warp_sum(sum) / static_cast<float>(a.hidden);
    float square = 0;
    for (std::int64_t column = lane_column; column < a.hidden; column += kWarpColumns) {
        square += total_square(load8(a.sum + row * a.hidden + column), mean);  // what this lane has written
    }
    const float rstd = 1.0f / sqrtf(warp_sum(square) / static_cast<float>(a.hidden) + a.epsilon);
    for (std::int64_t column = lane_column; column < a.hidden; column += kWarpColumns) {
        write_normalized(load8(a.sum + row * a.hidden + column), mean, rstd, a, row, column);
    }
    if (lane_index() == 0) {
        a.mean[row] = mean;
        a.rstd[row] = rstd;
    }
}

/// Sums over a row of g = dy * gamma and of g * xhat; later their averages.
struct RowSums {
    float gradient;
    float projection;
};

__device__ RowSums lane_sums(const Floats8& dy, const Floats8& xhat, const Floats8& gamma) {
    RowSums sums = {};
#pragma unroll
    for (int i = 0; i < kLaneColumns; ++i) {
        sums.gradient = fmaf(dy[i], gamma[i], sums.gradient);
        sums.projection = fmaf(dy[i] * gamma[i], xhat[i], sums.projection);
    }
    return sums;
}

__device__ Floats8 normalized(Floats8 x, float mean, float rstd) {
#pragma unroll
    for (int i = 0; i < kLaneColumns; ++i) x[i] = (x[i] - mean) * rstd;
    return x;
}

/// Sums of a lane's columns over the rows it has seen.
struct ParameterSums {
    Floats8 dgamma = {};
    Floats8 dbeta = {};
    Floats8 dbias = {};
};

template <typename T>
__device__ void write_gradients(ParameterSums& sums, const Floats8& dy, const Floats8& xhat, const Floats8& gamma,
                                RowSums average, float rstd, const BackwardArguments<T>& a, std::int64_t row,
                                std::int64_t column) {
    Floats8 gradient;
#pragma unroll
    for (int i = 0; i < kLaneColumns; ++i) {
        sums.dgamma[i] = fmaf(dy[i], xhat[i], sums.dgamma[i]);
        sums.dbeta[i] += dy[i];
        gradient[i] = rstd * fmaf(-xhat[i], average.projection, fmaf(dy[i], gamma[i], -average.gradient));
    }
    if (a.dresidual != nullptr) store8(a.dresidual + row * a.hidden + column, gradient);
    apply_hidden_mask(gradient, a.mask, row, column);
    add(sums.dbias, gradient);
    store8(a.dx + row * a.hidden + column, gradient);
}

/// meeting: [team][dgamma, dbeta, dbias][column of the team]. All threads of the block call.
__device__ void meet(float* meeting, const ParameterSums& sums, int team, int teams, int team_columns, int column,
                     float* partial, std::int64_t hidden, std::int64_t first_column) {
    float* own = meeting + team * kSums * team_columns + column;
    store8(own, sums.dgamma);
    store8(own + team_columns, sums.dbeta);
    store8(own + 2 * team_columns, sums.dbias);
    block_barrier();  // the sums of all teams are written
    for (int i = thread_index(); i < kSums * team_columns; i += threads_per_block()) {
        const std::int64_t to = first_column + i % team_columns;
        if (to >= hidden) continue;
        float all = 0;
        for (int t = 0; t < teams; ++t) all += meeting[t * kSums * team_columns + i];
        partial[i / team_columns * hidden + to] = all;
    }
}

/// row: the sums over the team, in every thread of it. of_team: [warp][row], another one than the step before used.
template <int kGroups>
__device__ void add_over_team(RowSums (&row)[kStepRows], RowSums* of_team, int team, int team_warp) {
    if (lane_index() == 0) {
#pragma unroll
        for (int r = 0; r < kStepRows; ++r) of_team[team_warp * kStepRows + r] = row[r];
    }
    // The sums of the team's warps are written. They are read before the next such barrier, and written over after it.
    named_barrier_wait(1 + team, kGroups * kWarpThreads);
#pragma unroll
    for (int r = 0; r < kStepRows; ++r) {
        row[r] = of_team[r];
#pragma unroll
        for (int warp = 1; warp < kGroups; ++warp) {
            row[r].gradient += of_team[warp * kStepRows + r].gradient;
            row[r].projection += of_team[warp * kStepRows + r].projection;
        }
    }
}

template <typename T, int kGroups>
__global__ void __launch_bounds__(teams_of(kGroups) * kGroups * kWarpThreads, 2)
    backward_kernel(BackwardArguments<T> a) {
    constexpr int kTeams = teams_of(kGroups);
    constexpr int kTeamColumns = kGroups * kWarpColumns;
    SharedArena arena;
    float* meeting = arena.take<float>(kTeams * kSums * kTeamColumns);
    RowSums* exchange = arena.take<RowSums>(2 * kTeams * kGroups * kStepRows);  // [step mod 2][team][warp][row]
    const int team = warp_index() / kGroups, team_warp = warp_index() % kGroups;
    const int column = team_warp * kWarpColumns + lane_index() * kLaneColumns;
    const bool active = column < a.hidden;
    const std::int64_t first_row = block_x() * kRowsPerChunk;
    const std::int64_t end_row = first_row + kRowsPerChunk < a.rows ? first_row + kRowsPerChunk : a.rows;
    Floats8 gamma = {};
    if (active) gamma = load8(a.gamma + column);
    ParameterSums sums;
    int step = 0;
    for (std::int64_t first = first_row + team * kStepRows; first < end_row; first += kTeams * kStepRows, ++step) {
        Floats8 dy[kStepRows], xhat[kStepRows];
#pragma unroll
        for (int r = 0; r < kStepRows; ++r) {
            dy[r] = xhat[r] = {};
            if (!active || first + r >= end_row) continue;
            dy[r] = load8(a.dy + (first + r) * a.hidden + column, Cache::stream);
            xhat[r] = load8(a.sum + (first + r) * a.hidden + column, Cache::stream);
        }
        RowSums row[kStepRows];
        float rstd[kStepRows];
#pragma unroll
        for (int r = 0; r < kStepRows; ++r) {
            const std::int64_t at = first + r < end_row ? first + r : end_row - 1;
            rstd[r] = a.rstd[at];
            xhat[r] = normalized(xhat[r], a.mean[at], rstd[r]);  // where dy is 0 for want of columns, it does not count
            row[r] = lane_sums(dy[r], xhat[r], gamma);
            row[r] = {warp_sum(row[r].gradient), warp_sum(row[r].projection)};
        }
        if constexpr (kGroups > 1) {
            RowSums* of_team = exchange + (step % 2 * kTeams + team) * kGroups * kStepRows;
            add_over_team<kGroups>(row, of_team, team, team_warp);
        }
#pragma unroll
        for (int r = 0; r < kStepRows; ++r) {
            if (!active || first + r >= end_row) continue;
            const float count = static_cast<float>(a.hidden);
            write_gradients(sums, dy[r], xhat[r], gamma, {row[r].gradient / count, row[r].projection / count}, rstd[r],
                            a, first + r, column);
        }
    }
    meet(meeting, sums, team, kTeams, kTeamColumns, column, a.partial + block_x() * kSums * a.hidden, a.hidden, 0);
}

// First the averages of the block's rows, a warp a row; then the columns, a warp every eighth row, 256 at a time.
template <typename T>
__global__ void __launch_bounds__(kWarps* kWarpThreads) wide_backward_kernel(BackwardArguments<T> a) {
    SharedArena arena;
    float* meeting = arena.take<float>(kWarps * kSums * kWarpColumns);
    RowSums* averages = arena.take<RowSums>(kRowsPerChunk);
    const int lane_column = lane_index() * kLaneColumns;
    const std::int64_t first_row = block_x() * kRowsPerChunk;
    const std::int64_t end_row = first_row + kRowsPerChunk < a.rows ? first_row + kRowsPerChunk : a.rows;
    for (std::int64_t row = first_row + warp_index(); row < end_row; row += kWarps) {
        RowSums sums = {};
        for (std::int64_t column = lane_column; column < a.hidden; column += kWarpColumns) {
            const Floats8 xhat = normalized(load8(a.sum + row * a.hidden + column), a.mean[row], a.rstd[row]);
            const RowSums more = lane_sums(load8(a.dy + row * a.hidden + column), xhat, load8(a.gamma + column));
            sums = {sums.gradient + more.gradient, sums.projection + more.projection};
        }
        const float count = static_cast<float>(a.hidden);
        sums = {warp_sum(sums.gradient) / count, warp_sum(sums.projection) / count};
        if (lane_index() == 0) averages[row - first_row] = sums;
    }
    for (std::int64_t first_column = 0; first_column < a.hidden; first_column += kWarpColumns) {
        const std::int64_t column = first_column + lane_column;
        block_barrier();  // the averages are written, and all of a row's dy is read; meeting has been read
        ParameterSums sums;
        for (std::int64_t row = first_row + warp_index(); column < a.hidden && row < end_row; row += kWarps) {
            const Floats8 xhat = normalized(load8(a.sum + row * a.hidden + column), a.mean[row], a.rstd[row]);
            write_gradients(sums, load8(a.dy + row * a.hidden + column), xhat, load8(a.gamma + column),
                            averages[row - first_row], a.rstd[row], a, row, column);
        }
        meet(meeting, sums, warp_index(), kWarps, kWarpColumns, lane_column, a.partial + block_x() * kSums * a.hidden,
             a.hidden, first_column);
    }
}

/// Pieces of 256 columns of a row that is kept in registers; 0: the row is too wide for that.
constexpr int groups_of(std::int64_t hidden) {
    return hidden <= kMaxGroups * kWarpColumns ? static_cast<int>((hidden + kWarpColumns - 1) / kWarpColumns) : 0;
}

template <typename T>
auto forward_kernel_of(std::int64_t hidden) {
    switch (groups_of(hidden)) {
        case 1: return forward_kernel<T, 1>;
        case 2: return forward_kernel<T, 2>;
        case 3: return forward_kernel<T, 3>;
        case 4: return forward_kernel<T, 4>;
        default: return wide_forward_kernel<T>;
    }
}

template <typename T>
auto backward_kernel_of(std::int64_t hidden) {
    switch (groups_of(hidden)) {
        case 1: return backward_kernel<T, 1>;
        case 2: return backward_kernel<T, 2>;
        case 3: return backward_kernel<T, 3>;
        case 4: return backward_kernel<T, 4>;
        default: return wide_backward_kernel<T>;
    }
}

LaunchShape backward_shape(std::int64_t rows, std::int64_t hidden) {
    const int groups = groups_of(hidden), warps = groups == 0 ? kWarps : teams_of(groups) * groups;
    SharedSize shared;
    shared.take<float>(warps * kSums * kWarpColumns);
    groups == 0 ? shared.take<RowSums>(kRowsPerChunk) : shared.take<RowSums>(2 * warps * kStepRows);
    return {
        .grid = {.x = divide_up(rows, kRowsPerChunk)}, .threads = warps * kWarpThreads, .shared_bytes = shared.bytes()};
}

}  // namespace

namespace device_code {

void layer_norm_forward(const LayerNormForward& a, Stream stream) {
    const auto start = [&]<typename T>() {
        launch("layer_norm_forward", forward_kernel_of<T>(a.x.cols),
               {.grid = {.x = divide_up(a.x.rows, kWarps)}, .threads = kWarps * kWarpThreads}, stream,
               ForwardArguments<T>{.y = a.y.data<T>(),
                                   .sum = a.sum.data<T>(),
                                   .mean = a.mean.data<float>(),
                                   .rstd = a.rstd.data<float>(),
                                   .x = a.x.data<T>(),
                                   .bias = a.bias ? a.bias.data<T>() : nullptr,
                                   .residual = a.residual ? a.residual.data<T>() : nullptr,
                                   .gamma = a.gamma.data<T>(),
                                   .beta = a.beta.data<T>(),
                                   .rows = a.x.rows,
                                   .hidden = a.x.cols,
                                   .epsilon = static_cast<float>(a.epsilon),
                                   .mask = hidden_mask_arguments(a.dropout)});
    };
    a.x.dtype == DType::bf16 ? start.template operator()<bf16>() : start.template operator()<float>();
}

void layer_norm_backward(const LayerNormBackward& a, Stream stream) {
    const auto start = [&]<typename T>() {
        launch("layer_norm_backward", backward_kernel_of<T>(a.dy.cols), backward_shape(a.dy.rows, a.dy.cols), stream,
               BackwardArguments<T>{.dx = a.dx.data<T>(),
                                    .dresidual = a.dresidual ? a.dresidual.data<T>() : nullptr,
                                    .partial = a.scratch.data<float>(),
                                    .dy = a.dy.data<T>(),
                                    .sum = a.sum.data<T>(),
                                    .mean = a.mean.data<float>(),
                                    .rstd = a.rstd.data<float>(),
                                    .gamma = a.gamma.data<T>(),
                                    .rows = a.dy.rows,
                                    .hidden = a.dy.cols,
                                    .mask = hidden_mask_arguments(a.dropout)});
    };
    a.dy.dtype == DType::bf16 ? start.template operator()<bf16>() : start.template operator()<float>();
    sum_chunks({.op = "layer_norm_backward",
                .sums = {a.dgamma.data<float>(), a.dbeta.data<float>(), a.dbias ? a.dbias.data<float>() : nullptr},
                .partial = a.scratch.data<float>(),
                .chunks = divide_up(a.dy.rows, kRowsPerChunk),
                .stride = kSums * a.dy.cols,
                .cols = a.dy.cols,
                .accumulate = a.accumulate},
               stream);
}

}  // namespace device_code

}  // namespace cloze
