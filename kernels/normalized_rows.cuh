// LayerNorm of rows on a device, as layer_norm and embedding share it; the host's twin is kernels/normalized_rows.h. An
// op brings what stands around the norm, inlined into the kernels below:
//
//   forward    op.load(x, addend);  op.add(x, addend);  sum = x as stored;  y = gamma * (sum - mean) * rstd + beta;
//              op.leave(y);  y is stored. Loads come first for the whole row, without branches, and so fly together.
//   backward   op.enter(dy);  gradient = rstd * (g - average(g) - xhat * average(g * xhat));  op.leave(gradient, sums)
//
// A row of up to 1,024 columns is read once and stays in registers, eight columns a lane in each of `groups` =
// ceil(hidden / 256) pieces:
//
//   forward    one warp a row, all pieces in it: both passes over the row, mean and variance, without any barrier.
//   backward   a warp a piece. The column sums (dgamma, dbeta and the op's own) stay in registers over 64 rows; with
//              all pieces in one warp three of them alone would be 96 registers, which leaves too few warps to cover
//              the latency of memory. The warps of a team take two rows a step and so meet once in two rows. Each block
//              writes one row of partial sums, which sum_chunks() adds: 1/64 of the rows, in f32.
//
// Wider rows take the kernels called wide: a warp a row, which is read again from the caches for each pass.
//
// Tested by tests/kernels/device/layer_norm_test.cpp and tests/kernels/device/embedding_test.cpp.
#pragma once

#include "kernels/core/launch.h"
#include "kernels/core/parallel.h"
#include "kernels/device/block.h"
#include "kernels/device/shared.h"
#include "kernels/device/vector.h"
#include "kernels/hidden_mask.cuh"

namespace cloze::normalized_rows {

inline constexpr int kWarps = 8;
inline constexpr int kLaneColumns = 8;
inline constexpr int kWarpColumns = kWarpThreads * kLaneColumns;
inline constexpr int kMaxGroups = 4;
inline constexpr int kStepRows = 2;  // of a team of backward

/// What every forward op has, as its member `norm`.
template <typename T>
struct Forward {
    T* y;
    T* sum;
    float* mean;
    float* rstd;
    const T* gamma;
    const T* beta;
    std::int64_t rows;
    std::int64_t hidden;
    float epsilon;
    HiddenMaskArguments mask;
};

/// What every backward op has, as its member `norm`.
template <typename T>
struct Backward {
    float* partial;  // [chunk of rows][sums: dgamma, dbeta, the op's own][hidden]
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

__device__ inline void add(Floats8& x, const Floats8& y) {
#pragma unroll
    for (int i = 0; i < kLaneColumns; ++i) x[i] += y[i];
}

__device__ inline float total(const Floats8& x) {
    return ((x[0] + x[1]) + (x[2] + x[3])) + ((x[4] + x[5]) + (x[6] + x[7]));
}

__device__ inline float total_square(const Floats8& x, float mean) {
    Floats8 square;
#pragma unroll
    for (int i = 0; i < kLaneColumns; ++i) square[i] = (x[i] - mean) * (x[i] - mean);
    return total(square);
}

__device__ inline Floats8 normalized(Floats8 x, float mean, float rstd) {
#pragma unroll
    for (int i = 0; i < kLaneColumns; ++i) x[i] = (x[i] - mean) * rstd;
    return x;
}

/// x: as loaded in, the sum as kept, and written, out.
template <typename Op>
__device__ void keep_sum(const Op& op, Floats8& x, const typename Op::Addend& addend, std::int64_t row,
                         std::int64_t column) {
    op.add(x, addend, row, column);
    round_as_stored<typename Op::Element>(x);
    store8(op.norm.sum + row * op.norm.hidden + column, x);
}

template <typename Op>
__device__ void write_normalized(const Op& op, const Floats8& x, float mean, float rstd, std::int64_t row,
                                 std::int64_t column) {
    const Floats8 gamma = load8(op.norm.gamma + column), beta = load8(op.norm.beta + column);
    Floats8 y = normalized(x, mean, rstd);
#pragma unroll
    for (int i = 0; i < kLaneColumns; ++i) y[i] = fmaf(gamma[i], y[i], beta[i]);
    op.leave(y, row, column);
    store8(op.norm.y + row * op.norm.hidden + column, y);
}

template <typename Op, int kGroups>
__global__ void __launch_bounds__(kWarps* kWarpThreads) forward_kernel(Op op) {
    const std::int64_t row = block_x() * kWarps + warp_index(), hidden = op.norm.hidden;
    if (row >= op.norm.rows) return;
    const std::int64_t lane_column = lane_index() * kLaneColumns;
    Floats8 x[kGroups];
    typename Op::Addend addend[kGroups];
#pragma unroll
    for (int group = 0; group < kGroups; ++group) {
        const std::int64_t column = group * kWarpColumns + lane_column;
        op.load(x[group], addend[group], row, column, column < hidden);
    }
    float sum = 0;
#pragma unroll
    for (int group = 0; group < kGroups; ++group) {
        const std::int64_t column = group * kWarpColumns + lane_column;
        if (column < hidden) keep_sum(op, x[group], addend[group], row, column);
        sum += total(x[group]);
    }
    const float mean = warp_sum(sum) / static_cast<float>(hidden);
    float square = 0;
#pragma unroll
    for (int group = 0; group < kGroups; ++group) {
        if (group * kWarpColumns + lane_column < hidden) square += total_square(x[group], mean);
    }
    const float rstd = 1.0f / sqrtf(warp_sum(square) / static_cast<float>(hidden) + op.norm.epsilon);
#pragma unroll
    for (int group = 0; group < kGroups; ++group) {
        const std::int64_t column = group * kWarpColumns + lane_column;
        if (column < hidden) write_normalized(op, x[group], mean, rstd, row, column);
    }
    if (lane_index() == 0) {
        op.norm.mean[row] = mean;
        op.norm.rstd[row] = rstd;
    }
}

template <typename Op>
__global__ void __launch_bounds__(kWarps* kWarpThreads) wide_forward_kernel(Op op) {
    const std::int64_t row = block_x() * kWarps + warp_index(), hidden = op.norm.hidden;
    if (row >= op.norm.rows) return;
    const std::int64_t lane_column = lane_index() * kLaneColumns;
    const typename Op::Element* kept = op.norm.sum + row * hidden;  // each lane reads what it has written
    float sum = 0;
    for (std::int64_t column = lane_column; column < hidden; column += kWarpColumns) {
        Floats8 x;
        typename Op::Addend addend;
        op.load(x, addend, row, column, true);
        keep_sum(op, x, addend, row, column);
        sum += total(x);
    }
    const float mean = warp_sum(sum) / static_cast<float>(hidden);
    float square = 0;
    for (std::int64_t column = lane_column; column < hidden; column += kWarpColumns) {
        square += total_square(load8(kept + column), mean);
    }
    const float rstd = 1.0f / sqrtf(warp_sum(square) / static_cast<float>(hidden) + op.norm.epsilon);
    for (std::int64_t column = lane_column; column < hidden; column += kWarpColumns) {
        write_normalized(op, load8(kept + column), mean, rstd, row, column);
    }
    if (lane_index() == 0) {
        op.norm.mean[row] = mean;
        op.norm.rstd[row] = rstd;
    }
}

/// Sums over a row of g = dy * gamma and of g * xhat; later their averages.
struct RowSums {
    float gradient;
    float projection;
};

__device__ inline RowSums lane_sums(const Floats8& dy, const Floats8& xhat, const Floats8& gamma) {
    RowSums sums = {};
#pragma unroll
    for (int i = 0; i < kLaneColumns; ++i) {
        sums.gradient = fmaf(dy[i], gamma[i], sums.gradient);
        sums.projection = fmaf(dy[i] * gamma[i], xhat[i], sums.projection);
    }
    return sums;
}

/// Adds to the sums of a lane's columns, of which dgamma and dbeta are the first, and hands the gradient to the op.
template <typename Op>
__device__ void write_gradients(const Op& op, Floats8 (&sums)[Op::kSums], const Floats8& dy, const Floats8& xhat,
                                const Floats8& gamma, RowSums average, float rstd, std::int64_t row,
                                std::int64_t column) {
    Floats8 gradient;
#pragma unroll
    for (int i = 0; i < kLaneColumns; ++i) {
        sums[0][i] = fmaf(dy[i], xhat[i], sums[0][i]);
        sums[1][i] += dy[i];
        gradient[i] = rstd * fmaf(-xhat[i], average.projection, fmaf(dy[i], gamma[i], -average.gradient));
    }
    op.leave(gradient, sums, row, column);
}

/// meeting: [team][sum][column of the team]. All threads of the block call.
template <int kSums>
__device__ void meet(float* meeting, const Floats8 (&sums)[kSums], int team, int teams, int team_columns, int column,
                     float* partial, std::int64_t hidden, std::int64_t first_column) {
#pragma unroll
    for (int i = 0; i < kSums; ++i) store8(meeting + (team * kSums + i) * team_columns + column, sums[i]);
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

/// Warps that share a row in backward; a block is as many such teams as make about eight warps.
CLOZE_HD constexpr int teams_of(int groups) {
    return kWarps / groups;
}

/// The rows of a block of backward.
struct BlockRows {
    std::int64_t first;
    std::int64_t end;
    __device__ explicit BlockRows(std::int64_t rows)
        : first(block_x() * kRowsPerChunk), end(first + kRowsPerChunk < rows ? first + kRowsPerChunk : rows) {}
};

template <typename Op, int kGroups>
__global__ void __launch_bounds__(teams_of(kGroups) * kGroups * kWarpThreads, 2) backward_kernel(Op op) {
    constexpr int kTeams = teams_of(kGroups);
    constexpr int kTeamColumns = kGroups * kWarpColumns;
    const Backward<typename Op::Element>& a = op.norm;
    SharedArena arena;
    float* meeting = arena.take<float>(kTeams * Op::kSums * kTeamColumns);
    RowSums* exchange = arena.take<RowSums>(2 * kTeams * kGroups * kStepRows);  // [step mod 2][team][warp][row]
    const int team = warp_index() / kGroups, team_warp = warp_index() % kGroups;
    const int column = team_warp * kWarpColumns + lane_index() * kLaneColumns;
    const bool active = column < a.hidden;
    const BlockRows rows(op.used_rows());
    const Floats8 gamma = load8_or_zero(active, a.gamma + column);
    Floats8 sums[Op::kSums] = {};
    int step = 0;
    for (std::int64_t first = rows.first + team * kStepRows; first < rows.end; first += kTeams * kStepRows, ++step) {
        Floats8 dy[kStepRows], xhat[kStepRows];
#pragma unroll
        for (int r = 0; r < kStepRows; ++r) {
            const bool wanted = active && first + r < rows.end;
            dy[r] = load8_or_zero(wanted, a.dy + (first + r) * a.hidden + column, Cache::stream);
            xhat[r] = load8_or_zero(wanted, a.sum + (first + r) * a.hidden + column, Cache::stream);
        }
        RowSums row[kStepRows];
        float rstd[kStepRows];
#pragma unroll
        for (int r = 0; r < kStepRows; ++r) {
            const std::int64_t at = first + r < rows.end ? first + r : rows.end - 1;
            rstd[r] = a.rstd[at];
            xhat[r] = normalized(xhat[r], a.mean[at], rstd[r]);  // where dy is 0 for want of columns, it does not count
            op.enter(dy[r], at, column);
            row[r] = lane_sums(dy[r], xhat[r], gamma);
            row[r] = {warp_sum(row[r].gradient), warp_sum(row[r].projection)};
        }
        if constexpr (kGroups > 1) {
            RowSums* of_team = exchange + (step % 2 * kTeams + team) * kGroups * kStepRows;
            add_over_team<kGroups>(row, of_team, team, team_warp);
        }
#pragma unroll
        for (int r = 0; r < kStepRows; ++r) {
            if (!active || first + r >= rows.end) continue;
            const float count = static_cast<float>(a.hidden);
            write_gradients(op, sums, dy[r], xhat[r], gamma, {row[r].gradient / count, row[r].projection / count},
                            rstd[r], first + r, column);
        }
    }
    meet(meeting, sums, team, kTeams, kTeamColumns, column, a.partial + block_x() * Op::kSums * a.hidden, a.hidden, 0);
}

/// Eight columns of the gradient that arrives at the norm.
template <typename Op>
__device__ Floats8 upstream(const Op& op, std::int64_t row, std::int64_t column) {
    Floats8 dy = load8(op.norm.dy + row * op.norm.hidden + column);
    op.enter(dy, row, column);
    return dy;
}

// First the averages of the block's rows, a warp a row; then the columns, a warp every eighth row, 256 at a time.
template <typename Op>
__global__ void __launch_bounds__(kWarps* kWarpThreads, 2) wide_backward_kernel(Op op) {
    const Backward<typename Op::Element>& a = op.norm;
    SharedArena arena;
    float* meeting = arena.take<float>(kWarps * Op::kSums * kWarpColumns);
    RowSums* averages = arena.take<RowSums>(kRowsPerChunk);
    const int lane_column = lane_index() * kLaneColumns;
    const BlockRows rows(op.used_rows());
    for (std::int64_t row = rows.first + warp_index(); row < rows.end; row += kWarps) {
        RowSums sums = {};
        for (std::int64_t column = lane_column; column < a.hidden; column += kWarpColumns) {
            const Floats8 xhat = normalized(load8(a.sum + row * a.hidden + column), a.mean[row], a.rstd[row]);
            const RowSums more = lane_sums(upstream(op, row, column), xhat, load8(a.gamma + column));
            sums = {sums.gradient + more.gradient, sums.projection + more.projection};
        }
        const float count = static_cast<float>(a.hidden);
        sums = {warp_sum(sums.gradient) / count, warp_sum(sums.projection) / count};
        if (lane_index() == 0) averages[row - rows.first] = sums;
    }
    for (std::int64_t first_column = 0; first_column < a.hidden; first_column += kWarpColumns) {
        const std::int64_t column = first_column + lane_column;
        block_barrier();  // the averages are written, and all of a row's dy is read; meeting has been read
        Floats8 sums[Op::kSums] = {};
        for (std::int64_t row = rows.first + warp_index(); column < a.hidden && row < rows.end; row += kWarps) {
            const Floats8 xhat = normalized(load8(a.sum + row * a.hidden + column), a.mean[row], a.rstd[row]);
            write_gradients(op, sums, upstream(op, row, column), xhat, load8(a.gamma + column),
                            averages[row - rows.first], a.rstd[row], row, column);
        }
        meet(meeting, sums, warp_index(), kWarps, kWarpColumns, lane_column,
             a.partial + block_x() * Op::kSums * a.hidden, a.hidden, first_column);
    }
}

/// Pieces of 256 columns of a row that is kept in registers; 0: the row is too wide for that.
constexpr int groups_of(std::int64_t hidden) {
    return hidden <= kMaxGroups * kWarpColumns ? static_cast<int>((hidden + kWarpColumns - 1) / kWarpColumns) : 0;
}

template <typename Op>
auto forward_kernel_of(std::int64_t hidden) {
    switch (groups_of(hidden)) {
        case 1: return forward_kernel<Op, 1>;
        case 2: return forward_kernel<Op, 2>;
        case 3: return forward_kernel<Op, 3>;
        case 4: return forward_kernel<Op, 4>;
        default: return wide_forward_kernel<Op>;
    }
}

template <typename Op>
auto backward_kernel_of(std::int64_t hidden) {
    switch (groups_of(hidden)) {
        case 1: return backward_kernel<Op, 1>;
        case 2: return backward_kernel<Op, 2>;
        case 3: return backward_kernel<Op, 3>;
        case 4: return backward_kernel<Op, 4>;
        default: return wide_backward_kernel<Op>;
    }
}

template <typename Op>
LaunchShape backward_shape(std::int64_t rows, std::int64_t hidden) {
    const int groups = groups_of(hidden), warps = groups == 0 ? kWarps : teams_of(groups) * groups;
    SharedSize shared;
    shared.take<float>(warps * Op::kSums * kWarpColumns);
    groups == 0 ? shared.take<RowSums>(kRowsPerChunk) : shared.take<RowSums>(2 * warps * kStepRows);
    return {
        .grid = {.x = divide_up(rows, kRowsPerChunk)}, .threads = warps * kWarpThreads, .shared_bytes = shared.bytes()};
}

template <typename Op>
void launch_forward(LaunchName name, const Op& op, Stream stream) {
    launch(name, forward_kernel_of<Op>(op.norm.hidden),
           {.grid = {.x = divide_up(op.norm.rows, kWarps)}, .threads = kWarps * kWarpThreads}, stream, op);
}

template <typename Op>
void launch_backward(LaunchName name, const Op& op, Stream stream) {
    launch(name, backward_kernel_of<Op>(op.norm.hidden), backward_shape<Op>(op.norm.rows, op.norm.hidden), stream, op);
}

}  // namespace cloze::normalized_rows
