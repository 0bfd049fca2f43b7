// LayerNorm of rows on a device, as layer_norm and embedding share it; the host's twin is kernels/normalized_rows.h. An
// op brings what stands around the norm, inlined into the kernels below:
//
//   forward    sum = op.combine(rows of its kInputs inputs), kept as stored;
//              y = gamma * (sum - mean) * rstd + beta;  op.leave(y);  y is stored.
//   backward   op.enter(dy);  gradient = rstd * (g - average(g) - xhat * average(g * xhat));  op.leave(gradient, sums)
//
// A row of up to 1,024 columns is read once and stays in registers, in `groups` = ceil(hidden / 256) pieces of eight
// columns a lane:
//
//   forward    many small blocks, a row a team of one or two warps, up to three pieces a warp. Nothing is copied
//              ahead: a multiprocessor holds so many blocks that some load while others compute, and they start and end
//              at any time. The mask is drawn while the row is on its way. A team of two meets for the mean and for
//              the variance.
//   backward   a warp a piece, a block a team (of three and four pieces) or a few of them. The column sums (dgamma,
//              dbeta and the op's own) stay in registers over 64 rows; with all pieces in one warp three of them alone
//              would be 96 registers, which leaves too few warps to cover the latency of memory. A team takes two rows
//              a step, and the block meets once a step: the smaller it is, the less it waits. Elements come by
//              cp.async, two steps ahead: a thread copies for itself alone what it will use, so that loads are always
//              in flight and it waits for nobody. Each block writes one row of partial sums, which sum_chunks() adds:
//              1/64 of the rows, in f32; of few rows up to 1/16, so that all of a device has work.
//
// Wider rows take the kernels called wide: a warp a row, which is read again from the caches for each pass.
//
// Tested by tests/kernels/device/layer_norm_test.cpp and tests/kernels/device/embedding_test.cpp.
#pragma once

#include "kernels/core/launch.h"
#include "kernels/core/parallel.h"
#include "kernels/device/block.h"
#include "kernels/device/copy_async.h"
#include "kernels/device/math.h"
#include "kernels/device/previous_kernel.h"
#include "kernels/device/shared.h"
#include "kernels/device/vector.h"
#include "kernels/hidden_mask.cuh"

namespace cloze::normalized_rows {

inline constexpr int kWarps = 8;
inline constexpr int kLaneColumns = 8;
inline constexpr int kWarpColumns = kWarpThreads * kLaneColumns;
inline constexpr int kMaxGroups = 4;
inline constexpr int kBackwardWarps = 4;  // of a block, about; a multiprocessor holds 16
inline constexpr int kStepRows = 2;       // of a team of backward
inline constexpr int kSlots = 2;          // steps that backward has in shared memory

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
    float inverse_hidden;
    float epsilon;
    HiddenMaskArguments mask;
};

/// How forward shares out rows of `groups` pieces. One warp needs no barrier; four pieces in it take too many
/// registers.
template <int kGroups>
struct ForwardTeam {
    static constexpr int kWarps = kGroups > 3 ? 2 : 1;
    static constexpr int kPieces = kGroups / kWarps;  // of a warp
    static constexpr int kRows = kWarps > 1 ? 1 : 4;  // of a block
    static constexpr int kStride = kWarps * kWarpColumns;
    static constexpr int kThreads = kRows * kWarps * kWarpThreads;
};

/// Blocks of forward that a multiprocessor holds at least: 40 warps, 32 of three pieces; in f32 half of them.
template <typename Op, int kGroups>
inline constexpr int kForwardBlocks = (ForwardTeam<kGroups>::kPieces > 2 ? 32 : 40) * kWarpThreads
                                      / ForwardTeam<kGroups>::kThreads / (sizeof(typename Op::Element) == 4 ? 2 : 1);

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
    float inverse_hidden;
    int rows_of_block;
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

/// Of x less its mean.
__device__ inline float total_square(const Floats8& x) {
    float square = x[0] * x[0];
#pragma unroll
    for (int i = 1; i < kLaneColumns; ++i) square = fmaf(x[i], x[i], square);
    return square;
}

__device__ inline Floats8 centred(Floats8 x, float mean) {
#pragma unroll
    for (int i = 0; i < kLaneColumns; ++i) x[i] -= mean;
    return x;
}

/// 1 / sqrt(x) to the last bit or two: the fast one, then a step of Newton's.
__device__ inline float reciprocal_root(float x) {
    const float root = fast_rsqrt(x);
    return root * fmaf(-0.5f * x * root, root, 1.5f);
}

/// Starts the copy of eight columns; zeros, and nothing read, where they are not wanted.
template <typename T>
__device__ void copy8(T* to, const T* from, bool wanted) {
    constexpr int kPiece = 16 / static_cast<int>(sizeof(T));
#pragma unroll
    for (int i = 0; i < kLaneColumns; i += kPiece) copy_async_16(shared_address(to + i), from + i, wanted ? 16 : 0);
}

/// Draws for all pieces of a lane at once: together they share the key's schedule.
template <int kPieces>
__device__ void draw_pieces(const HiddenMaskDraw& mask, PhiloxBits (&bits)[kPieces], const HiddenMaskRow& row,
                            int column, int stride) {
    PhiloxBits* to[kPieces];
    HiddenMaskRow rows[kPieces];
    int columns[kPieces];
#pragma unroll
    for (int i = 0; i < kPieces; ++i) {
        to[i] = &bits[i];
        rows[i] = row;
        columns[i] = column + i * stride;
    }
    mask.draw(to, rows, columns);
}

/// y of a lane's columns; centred: the sum less its mean.
template <typename Op>
__device__ void write_normalized(const Op& op, const HiddenMaskDraw& mask, const PhiloxBits& bits,
                                 const Floats8& centred, float rstd, std::int64_t row, int column) {
    const Floats8 gamma = load8(op.norm.gamma + column), beta = load8(op.norm.beta + column);
    Floats8 y;
#pragma unroll
    for (int i = 0; i < kLaneColumns; ++i) y[i] = fmaf(gamma[i], centred[i] * rstd, beta[i]);
    op.leave(y, mask, bits);
    store8(op.norm.y + row * op.norm.hidden + column, y);
}

struct Moments {
    float mean;
    float rstd;
};

/// Sum over a team, which is the block where it is more than one warp. meeting: [warp], used once.
template <typename Team>
__device__ float team_sum(float value, [[maybe_unused]] float* meeting) {
    float sum = warp_sum(value);
    if constexpr (Team::kWarps > 1) {
        if (lane_index() == 0) meeting[warp_index()] = sum;
        block_barrier();  // the sums of all warps are written
        sum = meeting[0];
#pragma unroll
        for (int warp = 1; warp < Team::kWarps; ++warp) sum += meeting[warp];
    }
    return sum;
}

/// Mean and rstd of the row of a team. Two passes: the mean first, so that rows far from zero keep their digits.
template <typename Team>
__device__ Moments moments_of_row(const Floats8 (&x)[Team::kPieces], int column, int hidden, float inverse_hidden,
                                  float epsilon) {
    float* meeting = SharedArena().take<float>(2 * Team::kWarps);  // [sum, square][warp]
    float sum = total(x[0]), square = 0;
#pragma unroll
    for (int piece = 1; piece < Team::kPieces; ++piece) sum += total(x[piece]);
    const float mean = team_sum<Team>(sum, meeting) * inverse_hidden;
#pragma unroll
    for (int piece = 0; piece < Team::kPieces; ++piece) {
        const bool active = column + piece * Team::kStride < hidden;
        square += active ? total_square(centred(x[piece], mean)) : 0.0f;
    }
    square = team_sum<Team>(square, meeting + Team::kWarps);
    return {mean, reciprocal_root(fmaf(square, inverse_hidden, epsilon))};
}

template <typename Op, int kGroups>
__global__ void __launch_bounds__(ForwardTeam<kGroups>::kThreads, kForwardBlocks<Op, kGroups>) forward_kernel(Op op) {
    using Team = ForwardTeam<kGroups>;
    using T = typename Op::Element;
    const std::int64_t row = block_x() * Team::kRows + (Team::kWarps > 1 ? 0 : warp_index());
    const int column = static_cast<int>(thread_index()) % (Team::kWarps * kWarpThreads) * kLaneColumns,
              hidden = static_cast<int>(op.norm.hidden);
    if (row >= op.norm.rows) return;  // such a team meets nobody
    wait_for_previous_kernel();
    const typename Op::RowIds ids = op.ids_of(row);
    Floats8 in[Team::kPieces][Op::kInputs];
#pragma unroll
    for (int piece = 0; piece < Team::kPieces; ++piece) {
        const int at = column + piece * Team::kStride;
#pragma unroll
        for (int i = 0; i < Op::kInputs; ++i) {
            in[piece][i] = load8_or_zero(op.has(i) && at < hidden, op.row_of(i, row, ids) + at);
        }
    }
    const HiddenMaskDraw mask(op.norm.mask);
    const HiddenMaskRow mask_row = HiddenMaskDraw::row_of(op.norm.mask, row);
    PhiloxBits bits[Team::kPieces];
    if (Op::kMasksInput) draw_pieces(mask, bits, mask_row, column, Team::kStride);
    Floats8 x[Team::kPieces];
#pragma unroll
    for (int piece = 0; piece < Team::kPieces; ++piece) {
        const int at = column + piece * Team::kStride;
        x[piece] = op.combine(in[piece], mask, bits[piece], at, at < hidden);
        round_as_stored<T>(x[piece]);
        if (at < hidden && op.keeps_sum()) store8(op.norm.sum + row * op.norm.hidden + at, x[piece]);
    }
    let_next_kernel_start();
    const Moments moments = moments_of_row<Team>(x, column, hidden, op.norm.inverse_hidden, op.norm.epsilon);
    if (!Op::kMasksInput) draw_pieces(mask, bits, mask_row, column, Team::kStride);
#pragma unroll
    for (int piece = 0; piece < Team::kPieces; ++piece) {
        const int at = column + piece * Team::kStride;
        if (at >= hidden) continue;
        write_normalized(op, mask, bits[piece], centred(x[piece], moments.mean), moments.rstd, row, at);
    }
    if (column == 0) {
        op.norm.mean[row] = moments.mean;
        op.norm.rstd[row] = moments.rstd;
    }
}

template <typename Op>
__global__ void __launch_bounds__(kWarps* kWarpThreads) wide_forward_kernel(Op op) {
    const std::int64_t row = block_x() * kWarps + warp_index();
    const int hidden = static_cast<int>(op.norm.hidden), lane_column = lane_index() * kLaneColumns;
    if (row >= op.norm.rows) return;
    wait_for_previous_kernel();
    const typename Op::RowIds ids = op.ids_of(row);
    const HiddenMaskDraw mask(op.norm.mask);
    const HiddenMaskRow mask_row = HiddenMaskDraw::row_of(op.norm.mask, row);
    typename Op::Element* kept = op.norm.sum + row * op.norm.hidden;  // each lane reads what it has written
    float sum = 0;
    for (int column = lane_column; column < hidden; column += kWarpColumns) {
        PhiloxBits bits = {};
        if (Op::kMasksInput) mask.draw({&bits}, {mask_row}, {column});
        Floats8 in[Op::kInputs];
#pragma unroll
        for (int i = 0; i < Op::kInputs; ++i) {
            in[i] = load8_or_zero(op.has(i), op.row_of(i, row, ids) + column);
        }
        Floats8 x = op.combine(in, mask, bits, column, true);
        round_as_stored<typename Op::Element>(x);
        store8(kept + column, x);
        sum += total(x);
    }
    const float mean = warp_sum(sum) * op.norm.inverse_hidden;
    float square = 0;
    for (int column = lane_column; column < hidden; column += kWarpColumns) {
        square += total_square(centred(load8(kept + column), mean));
    }
    const float rstd = reciprocal_root(fmaf(warp_sum(square), op.norm.inverse_hidden, op.norm.epsilon));
    for (int column = lane_column; column < hidden; column += kWarpColumns) {
        PhiloxBits bits = {};
        if (!Op::kMasksInput) mask.draw({&bits}, {mask_row}, {column});
        write_normalized(op, mask, bits, centred(load8(kept + column), mean), rstd, row, column);
    }
    if (lane_index() == 0) {
        op.norm.mean[row] = mean;
        op.norm.rstd[row] = rstd;
    }
}

/// Of a row: sums of g * rstd and of g * rstd * (sum - mean), where g = dy * gamma.
struct RowSums {
    float gradient;
    float projection;
};

/// Eight columns of a row between the two passes over it.
struct RowPart {
    Floats8 scaled;   // dy * rstd
    Floats8 centred;  // sum - mean
};

/// The first pass: from dy and the sum to what the second needs. Adds to the column sums dgamma and dbeta.
__device__ inline RowPart first_pass(const Floats8& dy, const Floats8& sum, float mean, float rstd, Floats8& dgamma,
                                     Floats8& dbeta) {
    RowPart part = {dy, centred(sum, mean)};
#pragma unroll
    for (int i = 0; i < kLaneColumns; ++i) {
        part.scaled[i] *= rstd;
        dgamma[i] = fmaf(part.scaled[i], part.centred[i], dgamma[i]);
        dbeta[i] += dy[i];
    }
    return part;
}

__device__ inline RowSums lane_sums(const RowPart& part, const Floats8& gamma) {
    RowSums sums = {};
#pragma unroll
    for (int i = 0; i < kLaneColumns; ++i) {
        const float gradient = part.scaled[i] * gamma[i];
        sums.gradient += gradient;
        sums.projection = fmaf(gradient, part.centred[i], sums.projection);
    }
    return sums;
}

/// The second pass: rstd * (g - average(g) - xhat * average(g * xhat)), by the sums over the whole row.
__device__ inline Floats8 second_pass(const RowPart& part, const Floats8& gamma, RowSums sums, float rstd,
                                      float inverse_hidden) {
    const float average = sums.gradient * inverse_hidden, projection = sums.projection * inverse_hidden * rstd * rstd;
    Floats8 gradient;
#pragma unroll
    for (int i = 0; i < kLaneColumns; ++i) {
        gradient[i] = fmaf(-part.centred[i], projection, fmaf(part.scaled[i], gamma[i], -average));
    }
    return gradient;
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

/// The sums of a step's rows: of a team's columns, or of a warp's part of them.
struct alignas(16) StepSums {
    RowSums row[kStepRows];
};

/// Adds four values over the warp in 6 shuffles instead of 20: the total of value[i] in lanes 8 i to 8 i + 7.
__device__ inline float warp_sum_of_four(const float (&value)[4]) {
    const bool upper = (lane_index() & 16) != 0, odd = (lane_index() & 8) != 0;
    float half[2];
#pragma unroll
    for (int i = 0; i < 2; ++i) {
        const float mine = upper ? value[2 + i] : value[i], other = upper ? value[i] : value[2 + i];
        half[i] = mine + shuffle_xor(other, 16);
    }
    const float mine = odd ? half[1] : half[0], other = odd ? half[0] : half[1];
    float sum = mine + shuffle_xor(other, 8);
#pragma unroll
    for (int lane_mask = 4; lane_mask > 0; lane_mask /= 2) sum += shuffle_xor(sum, lane_mask);
    return sum;
}

/// The sums over the team, in every thread of it. The whole block calls. of_team: [warp], another one than the step
/// before used.
template <int kGroups>
__device__ StepSums add_over_team(const StepSums& mine, StepSums* of_team, int team_warp) {
    static_assert(kStepRows == 2);
    const float sum =
        warp_sum_of_four({mine.row[0].gradient, mine.row[0].projection, mine.row[1].gradient, mine.row[1].projection});
    if (lane_index() % 8 == 0) {
        RowSums& row = of_team[team_warp].row[lane_index() / 16];
        (lane_index() % 16 == 0 ? row.gradient : row.projection) = sum;
    }
    // The sums of the team's warps are written. They are read before the next such barrier, and written over after it.
    kGroups > 1 ? block_barrier() : warp_barrier();
    StepSums all = of_team[0];
#pragma unroll
    for (int warp = 1; warp < kGroups; ++warp) {
        const StepSums more = of_team[warp];
#pragma unroll
        for (int r = 0; r < kStepRows; ++r) {
            all.row[r].gradient += more.row[r].gradient;
            all.row[r].projection += more.row[r].projection;
        }
    }
    return all;
}

/// Teams of a block of backward, each of `groups` warps: one, or as many as make four warps.
CLOZE_HD constexpr int teams_of(int groups) {
    return kBackwardWarps / groups;
}

/// The rows of a block of backward.
struct BlockRows {
    std::int64_t first;
    std::int64_t end;
    __device__ BlockRows(std::int64_t rows, int of_block)
        : first(block_x() * of_block), end(first + of_block < rows ? first + of_block : rows) {}
};

/// What backward reads once a row, of the rows of a block; those behind the last are as the last.
struct alignas(8) RowStatistics {
    float mean;
    float rstd;
};

/// How a block of backward lies in shared memory. Host and device carve it alike.
template <typename Op, int kGroups>
struct BackwardParts {
    static constexpr int kTeams = teams_of(kGroups);
    static constexpr int kThreads = kTeams * kGroups * kWarpThreads;
    static constexpr int kSlotElements = 2 * kStepRows * kThreads * kLaneColumns;  // [row][dy, sum][thread][column]
    static constexpr int kMeeting = kTeams > 1 ? Op::kSums* kThreads* kLaneColumns : 0;  // [team][sum][its column]
    static constexpr int kExchange = 2 * kTeams * kGroups;                               // [step mod 2][team][warp]

    typename Op::Element* slots = nullptr;
    float* meeting = nullptr;
    StepSums* exchange = nullptr;
    RowStatistics* statistics = nullptr;
    HiddenMaskRow* mask_rows = nullptr;

    static constexpr int shared_bytes() {
        SharedSize shared;
        shared.take<typename Op::Element>(kSlots * kSlotElements);
        shared.take<float>(kMeeting);
        shared.take<StepSums>(kExchange);
        shared.take<RowStatistics>(kRowsPerChunk);
        shared.take<HiddenMaskRow>(kRowsPerChunk);
        return shared.bytes();
    }
    __device__ BackwardParts() {
        SharedArena arena;
        slots = arena.take<typename Op::Element>(kSlots * kSlotElements);
        meeting = arena.take<float>(kMeeting);
        exchange = arena.take<StepSums>(kExchange);
        statistics = arena.take<RowStatistics>(kRowsPerChunk);
        mask_rows = arena.take<HiddenMaskRow>(kRowsPerChunk);
    }
};

/// Starts the copies of a step's rows, [row, end) at most, for this thread.
template <typename T>
__device__ void copy_step(T* slot, const Backward<T>& a, std::int64_t row, std::int64_t end, int column, int threads) {
#pragma unroll
    for (int r = 0; r < kStepRows; ++r) {
        const bool wanted = column < a.hidden && row + r < end;
        const std::int64_t from = (row + r) * a.hidden + column;
        copy8(slot + 2 * r * threads * kLaneColumns, a.dy + from, wanted);
        copy8(slot + (2 * r + 1) * threads * kLaneColumns, a.sum + from, wanted);
    }
    commit_copies();
}

/// What a block of backward reads once a row, by all its threads.
template <int kThreads, typename T>
__device__ void read_rows(const Backward<T>& a, const BlockRows& rows, int count, RowStatistics* statistics,
                          HiddenMaskRow* mask_rows) {
    for (int i = thread_index(); i < a.rows_of_block && count > 0; i += kThreads) {
        const std::int64_t row = i < count ? rows.first + i : rows.end - 1;
        statistics[i] = {a.mean[row], a.rstd[row]};
        mask_rows[i] = HiddenMaskDraw::row_of(a.mask, row);
    }
}

/// The block's row of partial sums.
template <int kGroups, int kTeams, int kSums>
__device__ void write_partial(float* partial, std::int64_t hidden, const Floats8 (&sums)[kSums], float* meeting,
                              int team, int column) {
    if constexpr (kTeams > 1) {
        meet(meeting, sums, team, kTeams, kGroups * kWarpColumns, column, partial, hidden, 0);
    } else {
        if (column >= hidden) return;
#pragma unroll
        for (int i = 0; i < kSums; ++i) store8(partial + i * hidden + column, sums[i]);
    }
}

template <typename Op, int kGroups>
__global__ void __launch_bounds__(BackwardParts<Op, kGroups>::kThreads, 16 / kBackwardWarps) backward_kernel(Op op) {
    wait_for_previous_kernel();
    using Parts = BackwardParts<Op, kGroups>;
    constexpr int kTeams = Parts::kTeams, kBlockStep = kTeams * kStepRows;
    const Backward<typename Op::Element>& a = op.norm;
    const Parts shared;
    const int team = warp_index() / kGroups, team_warp = warp_index() % kGroups;
    const int column = team_warp * kWarpColumns + lane_index() * kLaneColumns;
    const bool active = column < a.hidden;
    const BlockRows rows(op.used_rows(), a.rows_of_block);
    const int count = static_cast<int>(rows.end - rows.first);  // negative where no row is used
    typename Op::Element* slots = shared.slots + thread_index() * kLaneColumns;
    const std::int64_t team_first = rows.first + team * kStepRows;
#pragma unroll
    for (int slot = 0; slot < kSlots; ++slot) {
        copy_step(slots + slot * Parts::kSlotElements, a, team_first + slot * kBlockStep, rows.end, column,
                  Parts::kThreads);
    }
    read_rows<Parts::kThreads>(a, rows, count, shared.statistics, shared.mask_rows);
    const HiddenMaskDraw mask(a.mask);
    const Floats8 gamma = load8_or_zero(active, a.gamma + column);
    Floats8 sums[Op::kSums] = {};
    block_barrier();  // statistics and mask_rows are written
    for (int step = 0; step * kBlockStep < count; ++step) {
        const int first = step * kBlockStep + team * kStepRows;  // of the block's rows
        PhiloxBits bits[kStepRows];
        mask.draw({&bits[0], &bits[1]}, {shared.mask_rows[first], shared.mask_rows[first + 1]}, {column, column});
        wait_for_copies<kSlots - 1>();
        typename Op::Element* slot = slots + step % kSlots * Parts::kSlotElements;
        RowPart part[kStepRows];
        StepSums mine;
        float rstd[kStepRows];
#pragma unroll
        for (int r = 0; r < kStepRows; ++r) {
            // Rows behind the last and columns that are not there are zeros in both, which add nothing to any sum.
            Floats8 dy = load8(slot + 2 * r * Parts::kThreads * kLaneColumns);
            const Floats8 sum = load8(slot + (2 * r + 1) * Parts::kThreads * kLaneColumns);
            const RowStatistics of_row = shared.statistics[first + r];
            rstd[r] = of_row.rstd;
            op.enter(dy, mask, bits[r]);
            part[r] = first_pass(dy, sum, of_row.mean, rstd[r], sums[0], sums[1]);
            mine.row[r] = lane_sums(part[r], gamma);
        }
        copy_step(slot, a, rows.first + first + kSlots * kBlockStep, rows.end, column, Parts::kThreads);
        const StepSums all =
            add_over_team<kGroups>(mine, shared.exchange + (step % 2 * kTeams + team) * kGroups, team_warp);
#pragma unroll
        for (int r = 0; r < kStepRows; ++r) {
            const Floats8 gradient = second_pass(part[r], gamma, all.row[r], rstd[r], a.inverse_hidden);
            op.leave(gradient, sums, mask, bits[r], active && first + r < count, rows.first + first + r, column);
        }
    }
    wait_for_copies<0>();
    let_next_kernel_start();  // sum_chunks
    write_partial<kGroups, kTeams>(a.partial + block_x() * Op::kSums * a.hidden, a.hidden, sums, shared.meeting, team,
                                   column);
}

template <typename Op, int kSums>
__device__ RowPart wide_first_pass(const Op& op, const HiddenMaskDraw& mask, const PhiloxBits& bits, std::int64_t row,
                                   int column, Floats8 (&sums)[kSums]) {
    const Backward<typename Op::Element>& a = op.norm;
    Floats8 dy = load8(a.dy + row * a.hidden + column);
    op.enter(dy, mask, bits);
    return first_pass(dy, load8(a.sum + row * a.hidden + column), a.mean[row], a.rstd[row], sums[0], sums[1]);
}

// First the sums of the block's rows, a warp a row; then the columns, a warp every eighth row, 256 at a time.
template <typename Op>
__global__ void __launch_bounds__(kWarps* kWarpThreads, 2) wide_backward_kernel(Op op) {
    wait_for_previous_kernel();
    const Backward<typename Op::Element>& a = op.norm;
    SharedArena arena;
    float* meeting = arena.take<float>(kWarps * Op::kSums * kWarpColumns);
    RowSums* of_row = arena.take<RowSums>(kRowsPerChunk);
    const int lane_column = lane_index() * kLaneColumns, hidden = static_cast<int>(a.hidden);
    const BlockRows rows(op.used_rows(), a.rows_of_block);
    const HiddenMaskDraw mask(a.mask);
    for (std::int64_t row = rows.first + warp_index(); row < rows.end; row += kWarps) {
        RowSums sums = {};
        for (int column = lane_column; column < hidden; column += kWarpColumns) {
            PhiloxBits bits = {};
            if (Op::kMasksInput) mask.draw({&bits}, {HiddenMaskDraw::row_of(a.mask, row)}, {column});
            Floats8 unused[2] = {};
            const RowPart part = wide_first_pass(op, mask, bits, row, column, unused);
            const RowSums more = lane_sums(part, load8(a.gamma + column));
            sums = {sums.gradient + more.gradient, sums.projection + more.projection};
        }
        sums = {warp_sum(sums.gradient), warp_sum(sums.projection)};
        if (lane_index() == 0) of_row[row - rows.first] = sums;
    }
    for (int first_column = 0; first_column < hidden; first_column += kWarpColumns) {
        const int column = first_column + lane_column;
        block_barrier();  // the rows' sums are written, and all of a row's dy is read; meeting has been read
        Floats8 sums[Op::kSums] = {};
        for (std::int64_t row = rows.first + warp_index(); column < hidden && row < rows.end; row += kWarps) {
            PhiloxBits bits;
            mask.draw({&bits}, {HiddenMaskDraw::row_of(a.mask, row)}, {column});
            const RowPart part = wide_first_pass(op, mask, bits, row, column, sums);
            const Floats8 gradient =
                second_pass(part, load8(a.gamma + column), of_row[row - rows.first], a.rstd[row], a.inverse_hidden);
            op.leave(gradient, sums, mask, bits, true, row, column);
        }
        meet(meeting, sums, warp_index(), kWarps, kWarpColumns, lane_column,
             a.partial + block_x() * Op::kSums * a.hidden, a.hidden, first_column);
    }
}

/// Pieces of 256 columns of a row that is kept in registers; 0: the row is too wide for that.
constexpr int groups_of(std::int64_t hidden) {
    return hidden <= kMaxGroups * kWarpColumns ? static_cast<int>((hidden + kWarpColumns - 1) / kWarpColumns) : 0;
}

/// Rows that a block of backward takes: 64, or fewer where blocks of 64 would leave some of a device without work.
constexpr int backward_rows(std::int64_t rows) {
    constexpr std::int64_t kBlocks = kMultiprocessors * 16 / kBackwardWarps, kMultiple = 8;
    static_assert(kBlocks <= kMostShortChunks);
    const std::int64_t wanted = (rows + kBlocks * kMultiple - 1) / (kBlocks * kMultiple) * kMultiple;
    if (wanted >= kRowsPerChunk) return static_cast<int>(kRowsPerChunk);
    return static_cast<int>(wanted > kFewestRowsPerChunk ? wanted : kFewestRowsPerChunk);
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
int backward_shared_bytes(std::int64_t hidden) {
    SharedSize wide;
    wide.take<float>(kWarps * Op::kSums * kWarpColumns);
    wide.take<RowSums>(kRowsPerChunk);
    switch (groups_of(hidden)) {
        case 1: return BackwardParts<Op, 1>::shared_bytes();
        case 2: return BackwardParts<Op, 2>::shared_bytes();
        case 3: return BackwardParts<Op, 3>::shared_bytes();
        case 4: return BackwardParts<Op, 4>::shared_bytes();
        default: return wide.bytes();
    }
}

template <typename Op>
void launch_backward(LaunchName name, const Op& op, Stream stream) {
    const int groups = groups_of(op.norm.hidden);
    launch(name, backward_kernel_of<Op>(op.norm.hidden),
           {.grid = {.x = divide_up(op.norm.rows, op.norm.rows_of_block)},
            .threads = (groups == 0 ? kWarps : teams_of(groups) * groups) * kWarpThreads,
            .shared_bytes = backward_shared_bytes<Op>(op.norm.hidden),
            .programmatic = true},
           stream, op);
}

template <typename Team>
LaunchShape forward_shape(std::int64_t rows) {
    return {.grid = {.x = divide_up(rows, Team::kRows)},
            .threads = Team::kThreads,
            .shared_bytes = Team::kWarps > 1 ? SharedSize().take<float>(2 * Team::kWarps).bytes() : 0,
            .programmatic = true};
}

inline LaunchShape forward_shape_of(std::int64_t rows, std::int64_t hidden) {
    switch (groups_of(hidden)) {
        case 1: return forward_shape<ForwardTeam<1>>(rows);
        case 2: return forward_shape<ForwardTeam<2>>(rows);
        case 3: return forward_shape<ForwardTeam<3>>(rows);
        case 4: return forward_shape<ForwardTeam<4>>(rows);
        default:
            return {.grid = {.x = divide_up(rows, kWarps)}, .threads = kWarps * kWarpThreads, .programmatic = true};
    }
}

template <typename Op>
void launch_forward(LaunchName name, const Op& op, Stream stream) {
    launch(name, forward_kernel_of<Op>(op.norm.hidden), forward_shape_of(op.norm.rows, op.norm.hidden), stream, op);
}

}  // namespace cloze::normalized_rows
