// Embedding on a device. Bound by memory.
//
// Forward and the norm's backward are the kernels of kernels/normalized_rows.cuh. Then the gradients of the tables,
// from dsum and the orders that a batch brings, in two launches for all three tables:
//
//   runs        a warp takes a piece of an order (kRowsPerChunk entries) and 256 columns, eight a lane. It adds the
//   rows
//               of dsum in the order's order, some in flight at a time, and where the id changes writes the sum: to the
//               table, or, where the run began in an earlier piece or goes on in the next, to the piece's edges. Where
//               tables are overwritten, further warps look up 32 table rows each and clear those no id names, so that
//               each row of a table is written once.
//   long runs   a block takes a few pieces and 256 columns, and adds the edges of each run that begins in them and goes
//               on: a warp a share of the parts.
//
// Each table reads all of dsum, and its rows in another order. So columns are the slow coordinate of the grid: of
// 65,536 rows in bf16 the 256 columns in work are 34 MB, which the second-level cache of an H100 holds for the second
// and third table. By estimate that saves a third of the time; with the tables one after the other dsum would come
// three times from memory.
//
// Tested by tests/kernels/device/embedding_test.cpp.
#include "kernels/chunk_sums.h"
#include "kernels/core/dtype.h"
#include "kernels/embedding.h"
#include "kernels/normalized_rows.cuh"

namespace cloze {

namespace {

constexpr int kTables = 3;
constexpr int kEdges = 2;  // of a piece: of the run that began before it; of the run that goes on after it
constexpr int kWarps = 8;
constexpr int kLaneColumns = 8;
constexpr int kWarpColumns = kWarpThreads * kLaneColumns;
constexpr int kClearRows = kWarpThreads;  // a warp's, one a lane
constexpr int kGroupPieces = 4;           // a block's, of long runs: few, since it takes their runs one after the other
static_assert(kLongRunShares == kWarps);

/// Entries whose rows a warp has in flight: 4 KB.
template <typename T>
constexpr int kStepEntries = 16 / static_cast<int>(sizeof(T));

__device__ std::int64_t used_tokens(const BatchCounts* counts, std::int64_t capacity) {
    return counts->tokens < capacity ? counts->tokens : capacity;
}

template <typename T>
struct ForwardOp {
    using Element = T;
    static constexpr int kInputs = 3;  // rows of word, position and type
    static constexpr bool kMasksInput = false;
    struct RowIds {
        std::int32_t token, position, type;
    };

    normalized_rows::Forward<T> norm;
    const T* word;
    const T* position;
    const T* type;
    const std::int32_t* token_id;
    const std::int32_t* position_id;
    const std::int32_t* type_id;

    __device__ bool keeps_sum() const { return true; }
    __device__ RowIds ids_of(std::int64_t row) const { return {token_id[row], position_id[row], type_id[row]}; }
    __device__ bool has(int) const { return true; }
    __device__ const T* row_of(int input, std::int64_t, const RowIds& id) const {
        if (input == 0) return word + id.token * norm.hidden;
        return input == 1 ? position + id.position * norm.hidden : type + id.type * norm.hidden;
    }
    __device__ Floats8 combine(const Floats8 (&in)[kInputs], const HiddenMaskDraw&, const PhiloxBits&, int,
                               bool) const {
        Floats8 sum;
#pragma unroll
        for (int i = 0; i < 8; ++i) sum[i] = in[0][i] + in[1][i] + in[2][i];
        return sum;
    }
    __device__ void leave(Floats8& y, const HiddenMaskDraw& mask, const PhiloxBits& bits) const {
#pragma unroll
        for (int i = 0; i < 8; ++i) y[i] = mask.apply(bits, i, y[i]);
    }
};

template <typename T>
struct BackwardOp {
    using Element = T;
    static constexpr int kSums = 2;  // dgamma, dbeta
    static constexpr bool kMasksInput = true;

    normalized_rows::Backward<T> norm;
    T* dsum;  // may be dy: each thread reads an element before it writes it
    const BatchCounts* counts;

    __device__ std::int64_t used_rows() const { return used_tokens(counts, norm.rows); }
    __device__ void enter(Floats8& dy, const HiddenMaskDraw& mask, const PhiloxBits& bits) const {
#pragma unroll
        for (int i = 0; i < 8; ++i) dy[i] = mask.apply(bits, i, dy[i]);
    }
    __device__ void leave(const Floats8& gradient, Floats8 (&)[kSums], const HiddenMaskDraw&, const PhiloxBits&,
                          bool wanted, std::int64_t row, int column) const {
        if (wanted) store8(dsum + row * norm.hidden + column, gradient);
    }
};

struct Table {
    float* gradient;  // [rows, hidden]
    float* edges;     // [piece][edge][hidden]
    const std::int32_t* id;
    const std::int32_t* order;
    std::int64_t rows;
    bool accumulate;

    __device__ std::int32_t id_at(std::int64_t entry) const { return id[order[entry]]; }
};

struct Tables {
    Table table[kTables];
    const BatchCounts* counts;
    std::int64_t capacity;  // of tokens
    std::int64_t hidden;
};

/// What a block works on: one table and 256 columns of it. Tables are the fast half of the grid's y.
struct BlockShare {
    int table;
    std::int64_t first_column;
    __device__ BlockShare()
        : table(static_cast<int>(block_y() % kTables)), first_column(block_y() / kTables * kWarpColumns) {}
};

/// A piece of an order, as a warp holds it: two entries a lane, entry i in half i / 32 of lane i % 32.
struct Piece {
    std::int64_t first;
    std::int64_t end;
    std::int32_t row[2];
    std::int32_t id[2];
    std::uint32_t begins[2];  // bit l: the id of lane l's entry is another one than that before it in the piece

    __device__ Piece(const Table& table, std::int64_t piece, std::int64_t tokens)
        : first(piece * kRowsPerChunk), end(first + kRowsPerChunk < tokens ? first + kRowsPerChunk : tokens) {
#pragma unroll
        for (int half = 0; half < 2; ++half) {
            const std::int64_t entry = first + half * kWarpThreads + lane_index();
            const std::int64_t at = entry < end ? entry : end - 1;
            row[half] = table.order[at];
            id[half] = table.id[row[half]];
            begins[half] = warp_ballot(entry > first && entry < end && table.id_at(at - 1) != id[half]);
        }
    }
};
static_assert(kRowsPerChunk == 2 * kWarpThreads);

/// Writes the sum of a run that ends inside a piece.
__device__ void write_run(const Table& table, Floats8 sum, std::int32_t id, bool began_before, float* head,
                          std::int64_t hidden, std::int64_t column) {
    if (column >= hidden) return;
    if (began_before) return store8(head, sum);
    float* to = table.gradient + id * hidden + column;
    if (table.accumulate) normalized_rows::add(sum, load8(to, Cache::stream));
    store8(to, sum, Cache::stream);
}

/// The runs of equal ids in a piece, eight columns of them a lane. The whole warp calls.
template <typename T>
__device__ void add_piece(const Table& table, const T* dsum, std::int64_t index, std::int64_t tokens,
                          std::int64_t hidden, std::int64_t column) {
    constexpr int kStep = kStepEntries<T>;
    const Piece piece(table, index, tokens);
    const int entries = static_cast<int>(piece.end - piece.first);
    float* head = table.edges + index * kEdges * hidden + column;
    std::int32_t id = shuffle_from(piece.id[0], 0);
    bool began_before = piece.first > 0 && table.id_at(piece.first - 1) == id;
    Floats8 sum = {};
#pragma unroll
    for (int half = 0; half < 2; ++half) {
        for (int lane = 0; lane < kWarpThreads && half * kWarpThreads + lane < entries; lane += kStep) {
            Floats8 x[kStep];
#pragma unroll
            for (int i = 0; i < kStep; ++i) {
                const std::int64_t row = shuffle_from(piece.row[half], lane + i);
                x[i] = load8(dsum + row * hidden + (column < hidden ? column : 0));  // a branch would cost registers
            }
#pragma unroll
            for (int i = 0; i < kStep; ++i) {
                if (half * kWarpThreads + lane + i >= entries) break;
                if (piece.begins[half] >> (lane + i) & 1u) {
                    write_run(table, sum, id, began_before, head, hidden, column);
                    id = shuffle_from(piece.id[half], lane + i);
                    began_before = false;
                    sum = {};
                }
                normalized_rows::add(sum, x[i]);
            }
        }
    }
    const bool goes_on = piece.end < tokens && table.id_at(piece.end) == id;
    if (goes_on && !began_before) return write_run(table, sum, id, true, head + hidden, hidden, column);
    write_run(table, sum, id, began_before, head, hidden, column);
}

/// True where an entry of the order has this id.
__device__ bool is_named(const Table& table, std::int64_t id, std::int64_t tokens) {
    std::int64_t low = 0, high = tokens;
    while (low < high) {
        const std::int64_t middle = (low + high) / 2;
        if (table.id_at(middle) < id) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low < tokens && table.id_at(low) == id;
}

/// Of the kClearRows table rows from first_row on, clears those no id names.
__device__ void clear_unnamed(const Table& table, std::int64_t first_row, std::int64_t tokens, std::int64_t hidden,
                              std::int64_t column) {
    const std::int64_t row = first_row + lane_index();
    const std::uint32_t unnamed = warp_ballot(row < table.rows && !is_named(table, row, tokens));
    if (column >= hidden) return;
    for (int i = 0; i < kClearRows; ++i) {
        if ((unnamed >> i & 1u) == 0) continue;
        store8(table.gradient + (first_row + i) * hidden + column, Floats8{}, Cache::stream);
    }
}

template <typename T>
__global__ void __launch_bounds__(kWarps* kWarpThreads, 3)
    runs_kernel(Tables a, const T* dsum, std::int64_t blocks_of_pieces) {
    const BlockShare share;
    const Table& table = a.table[share.table];
    const std::int64_t column = share.first_column + lane_index() * kLaneColumns;
    const std::int64_t tokens = used_tokens(a.counts, a.capacity);
    if (block_x() < blocks_of_pieces) {
        const std::int64_t piece = block_x() * kWarps + warp_index();
        if (piece * kRowsPerChunk >= tokens) return;
        add_piece(table, dsum, piece, tokens, a.hidden, column);
    } else if (!table.accumulate) {
        const std::int64_t first_row = ((block_x() - blocks_of_pieces) * kWarps + warp_index()) * kClearRows;
        if (first_row >= table.rows) return;
        clear_unnamed(table, first_row, tokens, a.hidden, column);
    }
}

/// True where the last run of `piece` begins in it and goes on after it.
__device__ bool begins_long_run(const Table& table, std::int64_t piece, std::int64_t tokens) {
    const std::int64_t first = piece * kRowsPerChunk, end = first + kRowsPerChunk;
    if (end >= tokens) return false;
    const std::int32_t id = table.id_at(end - 1);
    return table.id_at(end) == id && (first == 0 || table.id_at(first - 1) != id);
}

/// The first piece after `piece` that does not open with `id`, by a whole warp. The pieces that do are consecutive.
__device__ std::int64_t end_of_long_run(const Table& table, std::int32_t id, std::int64_t piece, std::int64_t tokens) {
    std::int64_t low = piece + 1, high = (tokens + kRowsPerChunk - 1) / kRowsPerChunk;
    while (low < high) {
        const std::int64_t step = (high - low + kWarpThreads - 1) / kWarpThreads, probe = low + lane_index() * step;
        const bool opens = probe < high && table.id_at(probe * kRowsPerChunk) == id;
        const int opening = static_cast<int>(warp_sum(opens ? 1.0f : 0.0f));
        if (opening == 0) break;
        high = low + opening * step < high ? low + opening * step : high;
        low += (opening - 1) * step + 1;
    }
    return low;
}

/// The parts of the long run that begins in `piece`. shares: [share][column of the block]. The whole block calls.
__device__ void add_long_run(const Table& table, std::int64_t piece, std::int64_t tokens, std::int64_t hidden,
                             std::int64_t first_column, float* shares) {
    const std::int32_t id = table.id_at((piece + 1) * kRowsPerChunk);
    const std::int64_t parts = end_of_long_run(table, id, piece, tokens) - piece;
    const std::int64_t per_share = (parts + kLongRunShares - 1) / kLongRunShares, first = warp_index() * per_share;
    const std::int64_t end = first + per_share < parts ? first + per_share : parts;
    const std::int64_t column = first_column + lane_index() * kLaneColumns;
    Floats8 sum = {};
    if (column < hidden) {
        const float* head = table.edges + piece * kEdges * hidden + column;
#pragma unroll 8
        for (std::int64_t part = first; part < end; ++part) {
            normalized_rows::add(sum, load8(head + (part == 0 ? 1 : part * kEdges) * hidden));
        }
    }
    block_barrier();  // the shares of the run before are read
    store8(shares + warp_index() * kWarpColumns + lane_index() * kLaneColumns, sum);
    block_barrier();  // the shares are written
    if (first_column + thread_index() >= hidden) return;
    float total = 0;
#pragma unroll
    for (int share = 0; share < kLongRunShares; ++share) total += shares[share * kWarpColumns + thread_index()];
    float* to = table.gradient + id * hidden + first_column + thread_index();
    *to = table.accumulate ? *to + total : total;
}

__global__ void __launch_bounds__(kWarps* kWarpThreads) long_runs_kernel(Tables a) {
    float* shares = SharedArena().take<float>(kLongRunShares * kWarpColumns);
    const BlockShare share;
    const Table& table = a.table[share.table];
    const std::int64_t tokens = used_tokens(a.counts, a.capacity), first_piece = block_x() * kGroupPieces;
    const bool mine = lane_index() < kGroupPieces && begins_long_run(table, first_piece + lane_index(), tokens);
    const std::uint32_t begins = warp_ballot(mine);
    for (int i = 0; i < kGroupPieces; ++i) {
        if ((begins >> i & 1u) == 0) continue;
        add_long_run(table, first_piece + i, tokens, a.hidden, share.first_column, shares);
    }
}

/// scratch: [table][piece][edge][hidden].
Tables tables_of(const EmbeddingBackward& a) {
    const std::int64_t edges = divide_up(a.dy.rows, kRowsPerChunk) * kEdges * a.dy.cols;
    const auto table = [&](int index, const Tensor& gradient, const Tensor& id, const Tensor& order, bool accumulate) {
        return Table{.gradient = gradient.data<float>(),
                     .edges = a.scratch.data<float>() + index * edges,
                     .id = id.data<std::int32_t>(),
                     .order = order.data<std::int32_t>(),
                     .rows = gradient.rows,
                     .accumulate = accumulate};
    };
    return {.table = {table(0, a.dword, a.token_id, a.token_order, a.accumulate_word),
                      table(1, a.dposition, a.position_id, a.position_order, a.accumulate),
                      table(2, a.dtoken_type, a.type_id, a.type_order, a.accumulate)},
            .counts = a.counts,
            .capacity = a.dy.rows,
            .hidden = a.dy.cols};
}

template <typename T>
void add_to_tables(const EmbeddingBackward& a, Stream stream) {
    const Tables tables = tables_of(a);
    const std::int64_t blocks_of_pieces = divide_up(divide_up(tables.capacity, kRowsPerChunk), kWarps);
    std::int64_t blocks_to_clear = 0;
    for (const Table& table : tables.table) {
        const std::int64_t blocks = table.accumulate ? 0 : divide_up(table.rows, kWarps * kClearRows);
        if (blocks > blocks_to_clear) blocks_to_clear = blocks;
    }
    const std::int64_t shares = divide_up(tables.hidden, kWarpColumns) * kTables;
    launch("embedding_backward", runs_kernel<T>,
           {.grid = {.x = blocks_of_pieces + blocks_to_clear, .y = shares}, .threads = kWarps * kWarpThreads}, stream,
           tables, a.dsum.data<T>(), blocks_of_pieces);
    launch("embedding_backward", long_runs_kernel,
           {.grid = {.x = divide_up(divide_up(tables.capacity, kRowsPerChunk), kGroupPieces), .y = shares},
            .threads = kWarps * kWarpThreads,
            .shared_bytes = SharedSize().take<float>(kLongRunShares * kWarpColumns).bytes()},
           stream, tables);
}

/// dsum, dgamma and dbeta. scratch: [chunk of rows][dgamma, dbeta][hidden], free again afterwards.
template <typename T>
void backward_of_norm(const EmbeddingBackward& a, Stream stream) {
    const int rows_of_block = normalized_rows::backward_rows(a.dy.rows);
    normalized_rows::launch_backward("embedding_backward",
                                     BackwardOp<T>{.norm = {.partial = a.scratch.data<float>(),
                                                            .dy = a.dy.data<T>(),
                                                            .sum = a.sum.data<T>(),
                                                            .mean = a.mean.data<float>(),
                                                            .rstd = a.rstd.data<float>(),
                                                            .gamma = a.gamma.data<T>(),
                                                            .rows = a.dy.rows,
                                                            .hidden = a.dy.cols,
                                                            .inverse_hidden = 1.0f / static_cast<float>(a.dy.cols),
                                                            .rows_of_block = rows_of_block,
                                                            .mask = hidden_mask_arguments(a.dropout)},
                                                   .dsum = a.dsum.data<T>(),
                                                   .counts = a.counts},
                                     stream);
    sum_chunks({.op = "embedding_backward",
                .sums = {a.dgamma.data<float>(), a.dbeta.data<float>()},
                .partial = a.scratch.data<float>(),
                .chunks = divide_up(a.dy.rows, rows_of_block),
                .stride = BackwardOp<T>::kSums * a.dy.cols,
                .cols = a.dy.cols,
                .accumulate = a.accumulate},
               stream);
}

}  // namespace

namespace device_code {

void embedding_forward(const EmbeddingForward& a, Stream stream) {
    const auto start = [&]<typename T>() {
        normalized_rows::launch_forward("embedding_forward",
                                        ForwardOp<T>{.norm = {.y = a.y.data<T>(),
                                                              .sum = a.sum.data<T>(),
                                                              .mean = a.mean.data<float>(),
                                                              .rstd = a.rstd.data<float>(),
                                                              .gamma = a.gamma.data<T>(),
                                                              .beta = a.beta.data<T>(),
                                                              .rows = a.y.rows,
                                                              .hidden = a.y.cols,
                                                              .inverse_hidden = 1.0f / static_cast<float>(a.y.cols),
                                                              .epsilon = static_cast<float>(a.epsilon),
                                                              .mask = hidden_mask_arguments(a.dropout)},
                                                     .word = a.word.data<T>(),
                                                     .position = a.position.data<T>(),
                                                     .type = a.type.data<T>(),
                                                     .token_id = a.token_id.data<std::int32_t>(),
                                                     .position_id = a.position_id.data<std::int32_t>(),
                                                     .type_id = a.type_id.data<std::int32_t>()},
                                        stream);
    };
    a.y.dtype == DType::bf16 ? start.template operator()<bf16>() : start.template operator()<float>();
}

void embedding_backward(const EmbeddingBackward& a, Stream stream) {
    const auto start = [&]<typename T>() {
        backward_of_norm<T>(a, stream);
        add_to_tables<T>(a, stream);
    };
    a.dy.dtype == DType::bf16 ? start.template operator()<bf16>() : start.template operator()<float>();
}

}  // namespace device_code

}  // namespace cloze
