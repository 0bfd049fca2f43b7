// Attention on a device, backward: five products a tile, no atomics, the same bits in every run.
//
// A block takes a head of a sequence. It goes over tiles of 128 keys, and for each over tiles of 64 queries. dk and dv
// of a key tile stay in registers; dq of the key tiles so far is a sum in scratch, in f32, which each thread adds to
// where it alone has written. The first key tile writes it, the last one reads it and writes dq: where a sequence has
// one tile, nothing passes scratch. Why so:
//
//   one block a head      two kernels, one of key tiles for dk and dv and one of query tiles for dq, need no scratch
//                         and spread a long sequence over blocks, but compute scores and dropout twice: 7 products for
//                         5, and 26 bytes an element for 16 where memory is the limit. The price here: up to 24 bytes
//                         an element of scratch, and few blocks where few sequences are long. The longest come first.
//   transposed scores     a warp owns 32 keys, so that probabilities and gradients of scores are left factors of dv
//                         and dk as they stand in registers. Only dq needs them through shared memory, 16 KiB a tile.
//   chunks of 16 queries  a warp's scores and their gradients then take 32 registers beside 128 of dk and dv and 32 of
//                         values. Chunks of 32 spill.
//
// Two blocks a multiprocessor: up to 255 registers a thread, 80.5 KiB of shared memory (keys, values, gradients of
// scores 16 KiB each; two stages of queries and dy 32 KiB; statistics). Cards of 100 KiB hold one block.
//
// Per tile of 64 queries x 128 keys and head_dim 64: 5.2 MFLOP, 16 KiB from memory, 288 KiB through shared memory
// (2,300 cycles) for 2,060 cycles of tensor cores on an H100, and some 1,500 instructions a warp, 2,100 with dropout.
// docs/kernels.md has more.
//
// Tested by tests/kernels/device/attention_test.cpp, for bank conflicts by tests/emulator/attention_access_test.cpp.
#include <algorithm>
#include <cmath>

#include "kernels/attention_packing.cuh"
#include "kernels/attention_path.h"
#include "kernels/attention_tiles.cuh"
#include "kernels/core/launch.h"
#include "kernels/device/math.h"

namespace cloze {

namespace {

using namespace attention;

constexpr int kWarps = 4;
constexpr int kThreads = kWarps * kWarpThreads;
constexpr int kM = 2;  // of 16 keys each, of a warp
constexpr int kWarpKeys = 16 * kM;
constexpr int kKeys = kWarps * kWarpKeys;
constexpr int kQueries = 64;
constexpr int kChunk = kDropoutQueries;  // queries whose scores a warp holds at once
constexpr int kStages = 2;

struct Arguments {
    bf16* dqkv;
    float* dquery;  // [heads][tokens][head_dim]: dq of the key tiles so far, not scaled yet
    float* delta;   // [heads][tokens]: times keep_rate
    const bf16* dy;
    const bf16* y;
    const bf16* qkv;
    const float* log_sum_exp;
    Packing packing;
    float log2_scale;  // of scores, for powers of two
    float scale;       // of scores
    DropArguments drop;
};

CLOZE_HD constexpr int key_words(int dim) {
    return kKeys * dim / 2;
}
CLOZE_HD constexpr int query_words(int dim) {
    return kQueries * dim / 2;
}
constexpr int kScoreWords = kKeys * kQueries / 2;

constexpr int shared_bytes(int dim) {
    return SharedSize()
        .take<std::uint32_t>(key_words(dim), 128)
        .take<std::uint32_t>(key_words(dim), 128)
        .take<std::uint32_t>(kStages * query_words(dim), 128)
        .take<std::uint32_t>(kStages * query_words(dim), 128)
        .take<std::uint32_t>(kScoreWords, 128)
        .take<float>(2 * kQueries)
        .bytes();
}

using Head = HeadOfSequence<kKeys, kQueries>;

struct Tiles {
    std::uint32_t* keys;     // [kKeys][kDim]; at the end dk
    std::uint32_t* values;   // [kKeys][kDim]; at the end dv
    std::uint32_t* queries;  // [stage][kQueries][kDim]; at the end of a tile dq
    std::uint32_t* dout;     // [stage][kQueries][kDim]
    std::uint32_t* dscores;  // [kKeys][kQueries]
    float* statistics;       // [log2 of sum of exp, delta][kQueries]
};

/// dk and dv of a warp's keys, not scaled yet.
template <int kDim>
struct Sums {
    float dkey[kM][kDim / 8][4] = {};
    float dvalue[kM][kDim / 8][4] = {};
};

/// delta[i] = keep_rate dy[i] . y[i] for all queries of the head. Loads of several rows a lane are on their way at
/// once: nothing else is done meanwhile.
template <int kDim>
__device__ void write_delta(const Arguments& a, const Head& head) {
    constexpr int kLanes = kDim / kPieceColumns, kStep = kThreads / kLanes, kAtOnce = 4;
    const int column = thread_index() % kLanes * kPieceColumns;
    const std::int64_t hidden = a.packing.hidden;
    const std::int64_t start = head.first_row * hidden + head.column + column;
    float* delta = a.delta + head.head * a.packing.tokens + head.first_row;
    for (int first = thread_index() / kLanes; first - thread_index() / kLanes < head.length; first += kAtOnce * kStep) {
        Floats8 dy[kAtOnce], y[kAtOnce];
#pragma unroll
        for (int i = 0; i < kAtOnce; ++i) {
            const int row = first + i * kStep;
            dy[i] = y[i] = {};
            if (row >= head.length) continue;
            dy[i] = load8(a.dy + start + row * hidden);
            y[i] = load8(a.y + start + row * hidden, Cache::stream);
        }
#pragma unroll
        for (int i = 0; i < kAtOnce; ++i) {
            const int row = first + i * kStep;
            float sum = 0;
#pragma unroll
            for (int c = 0; c < kPieceColumns; ++c) sum = fmaf(dy[i][c], y[i][c], sum);
#pragma unroll
            for (int mask = 1; mask < kLanes; mask *= 2) sum += shuffle_xor(sum, mask);
            if (column == 0 && row < head.length) delta[row] = sum * a.drop.keep_rate;
        }
    }
}

/// What probabilities of the queries of a tile are computed from, where nothing is seen such that they are 0.
__device__ void write_statistics(float* statistics, const Arguments& a, const Head& head, int first_query) {
    const int thread = thread_index_here(), query = first_query + thread % kQueries;
    const std::int64_t at = head.head * a.packing.tokens + (head.first_row + query);
    if (thread < kQueries) {
        const float log_sum_exp = query < head.length ? a.log_sum_exp[at] : -kInfinity;
        statistics[thread] = log_sum_exp == -kInfinity ? kInfinity : log_sum_exp * kLog2E;
    } else {
        statistics[thread] = query < head.length ? a.delta[at] : 0.0f;
    }
}

using Block = float[kM][kChunk / 8][4];      // [a warp's keys][queries of a chunk]
using LeftFactor = std::uint32_t[kM][1][4];  // the same, rounded

/// A warp's values as left factors, in registers throughout a key tile. Its keys would not fit there too: they are
/// loaded again for each chunk.
template <int kDim>
using HeldValues = std::uint32_t[kDim / 16][kM][4];

__device__ void hide(Block& score, const Head& head, int first_query, int first_key) {
    const int thread = thread_index_here();
#pragma unroll
    for (int n = 0; n < kChunk / 8; ++n) {
#pragma unroll
        for (int e = 0; e < 2; ++e) {
            const KeyRange seen = head.sight.keys(first_query + 8 * n + lane_pair(thread) + e, head.length);
#pragma unroll
            for (int m = 0; m < kM; ++m) {
#pragma unroll
                for (int half = 0; half < 2; ++half) {
                    const int key = first_key + 16 * m + 8 * half + lane_group(thread);
                    if (key < seen.first || key >= seen.end) score[m][n][2 * half + e] = -kInfinity;
                }
            }
        }
    }
}

/// Word of the tile of values that holds what is kept of 16 queries and 64 keys of a tile, by number.
template <int kDim>
__device__ int keep_word(int keys, int queries, int thread) {
    const int row = (keys * (kQueries / kDropoutQueries) + queries) * 8 + lane_group(thread);
    return (byte_of<kDim>(row, 0) + 2 * lane_pair(thread)) / 4;
}

/// Draws what dropout keeps in a tile. The bits of 16 queries and 64 keys serve two warps, so each draws half of them
/// and leaves them in shared memory: one word a lane, for its residues of key and query + e, where the top bit of byte
/// `octet` % 4, moved down by 4 e + 2 (query half) + octet / 4, is for key octet `octet`. They lie in the first columns
/// of the values, which the warps hold in registers.
template <int kDim>
__device__ void write_keep(const Tiles& tiles, const Arguments& a, const Head& head, int query_tile, int key_tile) {
    constexpr int kBlocks = kQueries / kDropoutQueries;
    const int thread = thread_index_here(), warp = thread / kWarpThreads;
    const int key_block = key_tile * (kKeys / kDropoutKeys) + warp / 2;
    if (key_block * kDropoutKeys >= head.length) return;
#pragma unroll
    for (int i = 0; i < kBlocks / 2; ++i) {
        const int block = warp % 2 * (kBlocks / 2) + i;
        std::uint32_t keep = 0;
#pragma unroll
        for (int e = 0; e < 2; ++e) {
            const PhiloxBits bits = drop_bits(a.drop, head.sequence, head.head, query_tile * kBlocks + block, key_block,
                                              lane_pair(thread) + e, lane_group(thread));
#pragma unroll
            for (int word = 0; word < 4; ++word) {
                keep |= (bytes_at_least(bits.word[word], a.drop.threshold) & 0x80808080u) >> (4 * e + word);
            }
        }
        tiles.values[keep_word<kDim>(warp / 2, block, thread)] = keep;
    }
}

/// What of it a warp needs for a chunk, moved so that key octet 4 (warp % 2) and on of query half 0 is on top.
template <int kDim>
__device__ std::uint32_t read_keep(const Tiles& tiles, int row) {
    const int thread = thread_index_here(), warp = thread / kWarpThreads;
    return tiles.values[keep_word<kDim>(warp / 2, row / kDropoutQueries, thread)] << (warp % 2);
}

/// Scores become probabilities after dropout, gradients of probabilities those of scores; both without the factor
/// keep_scale. Rounded.
template <bool kDrops>
__device__ void differentiate(LeftFactor& probability, LeftFactor& dscore, const Block& score, const Block& gradient,
                              const float* statistics, float log2_scale, std::uint32_t keep) {
#pragma unroll
    for (int n = 0; n < kChunk / 8; ++n) {
        const Floats2 log2_sum = load2(statistics + 8 * n + lane_pair());
        const Floats2 delta = load2(statistics + kQueries + 8 * n + lane_pair());
        const std::uint32_t keep_of[2] = {keep << (2 * n), keep << (4 + 2 * n)};
#pragma unroll
        for (int m = 0; m < kM; ++m) {
#pragma unroll
            for (int half = 0; half < 2; ++half) {
                const int octet = 2 * m + half, word = 2 * n + half;
                float p[2], ds[2];
#pragma unroll
                for (int e = 0; e < 2; ++e) {
                    p[e] = fast_exp2(fmaf(score[m][n][2 * half + e], log2_scale, -log2_sum.value[e]));
                    float dp = gradient[m][n][2 * half + e];
                    if constexpr (kDrops) dp = kept(dp, keep_of[e], octet);
                    ds[e] = p[e] * (dp - delta.value[e]);
                }
                dscore[m][0][word] = pack_bf16(ds[0], ds[1]);
                probability[m][0][word] = pack_bf16(p[0], p[1]);
                if constexpr (kDrops) probability[m][0][word] &= keep_pair(keep_of[0], keep_of[1], octet);
            }
        }
    }
}

__device__ void store_dscores(std::uint32_t* dscores, const LeftFactor& dscore, int row) {
    const int thread = thread_index_here(), first = thread / kWarpThreads * kWarpKeys;
#pragma unroll
    for (int m = 0; m < kM; ++m) {
#pragma unroll
        for (int word = 0; word < 4; ++word) {
            const int key = first + 16 * m + 8 * (word % 2) + lane_group(thread);
            const int piece = row / kPieceColumns + word / 2;
            dscores[(byte_of<kQueries>(key, piece) + 2 * lane_pair(thread)) / 4] = dscore[m][0][word];
        }
    }
}

/// What queries [row, row + kChunk) of a tile give to dk and dv of the warp's keys, and their gradients of scores.
template <int kDim, bool kDrops>
__device__ void add_chunk(Sums<kDim>& sums, const HeldValues<kDim>& held, const Tiles& tiles, const Arguments& a,
                          const Head& head, int first_query, int row, int first_key) {
    std::uint32_t keep = 0;
    if constexpr (kDrops) keep = read_keep<kDim>(tiles, row);
    Block score = {}, gradient = {};
    const int warp_row = first_key % kKeys;
    add_row_products<kDim, 0>(score, held, tiles.keys, warp_row, tiles.queries, row);
    if (!head.sight.all(first_query + row, kChunk, first_key, kWarpKeys, head.length)) {
        hide(score, head, first_query + row, first_key);
    }
    add_row_products<kDim, kDim / 16>(gradient, held, tiles.values, warp_row, tiles.dout, row);
    LeftFactor probability, dscore;
    differentiate<kDrops>(probability, dscore, score, gradient, tiles.statistics + row, a.log2_scale, keep);
    add_products<kDim>(sums.dvalue, probability, tiles.dout, row);
    store_dscores(tiles.dscores, dscore, row);
    add_products<kDim>(sums.dkey, dscore, tiles.queries, row);
}

/// A warp's part of dq of a tile: half of the queries and half of the columns, over all keys.
template <int kDim>
struct DqueryPart {
    static constexpr int kRows = kQueries / 2;
    static constexpr int kPieces = kDim / kPieceColumns / 2;
    using Sum = float[kM][kPieces][4];
    int thread, row, piece;
    int rows;  // of the tile's that the sequence has

    __device__ DqueryPart(const Head& head, int first_query) {
        thread = thread_index_here();
        row = thread / kWarpThreads % 2 * kRows;
        piece = thread / kWarpThreads / 2 * kPieces;
        rows = head.length - first_query;
    }
    __device__ bool holds(int m, int half) const { return row + 16 * m + 8 * half + lane_group(thread) < rows; }
    /// Where the sum of the key tiles so far lies: elements m, n, 2 half are (16 m + 8 half) * kDim + 8 n further. Each
    /// thread reads what it has written itself.
    __device__ float* so_far(const Arguments& a, const Head& head, int first_query) const {
        const std::int64_t at =
            head.head * a.packing.tokens + (head.first_row + first_query + row + lane_group(thread));
        return a.dquery + at * kDim + piece * kPieceColumns + lane_pair(thread);
    }
};

/// What the key tiles before this one gave to a warp's part of dq of a tile of queries.
template <int kDim>
__device__ void load_so_far(typename DqueryPart<kDim>::Sum& sum, const Arguments& a, const Head& head, int query_tile,
                            int key_tile) {
    const int first_query = query_tile * kQueries;
    const DqueryPart<kDim> part(head, first_query);
    if (key_tile == head.first_key_tile(query_tile)) return;
    const float* so_far = part.so_far(a, head, first_query);
#pragma unroll
    for (int m = 0; m < kM; ++m) {
#pragma unroll
        for (int half = 0; half < 2; ++half) {
            if (!part.holds(m, half)) continue;
#pragma unroll
            for (int n = 0; n < part.kPieces; ++n) {
                const Floats2 x = load2(so_far + (16 * m + 8 * half) * kDim + 8 * n);
                sum[m][n][2 * half] = x.value[0];
                sum[m][n][2 * half + 1] = x.value[1];
            }
        }
    }
}

template <int kDim>
__device__ void store_so_far(float* so_far, const DqueryPart<kDim>& part, const typename DqueryPart<kDim>::Sum& sum) {
#pragma unroll
    for (int m = 0; m < kM; ++m) {
#pragma unroll
        for (int half = 0; half < 2; ++half) {
            if (!part.holds(m, half)) continue;
#pragma unroll
            for (int n = 0; n < part.kPieces; ++n) {
                store2(so_far + (16 * m + 8 * half) * kDim + 8 * n, {{sum[m][n][2 * half], sum[m][n][2 * half + 1]}});
            }
        }
    }
}

/// Adds a key tile to dq of a tile of queries, and writes it after the last one.
template <int kDim>
__device__ void add_dquery(typename DqueryPart<kDim>::Sum& sum, const Tiles& tiles, const Arguments& a,
                           const Head& head, int query_tile, int key_tile) {
    const int first_query = query_tile * kQueries, keys = head.length - key_tile * kKeys;
    const DqueryPart<kDim> part(head, first_query);
    if (part.row >= part.rows) return;
    const int lane = part.thread % kWarpThreads;
#pragma unroll
    for (int k = 0; k < kKeys / 16; ++k) {
        if (16 * k >= keys) break;
        std::uint32_t left[kM][4];
#pragma unroll
        for (int m = 0; m < kM; ++m) {
            load_left_transposed<kQueries>(left[m], tiles.dscores, 16 * k, (part.row + 16 * m) / kPieceColumns, lane);
        }
#pragma unroll
        for (int n = 0; n < part.kPieces / 2; ++n) {
            std::uint32_t right[4];
            load_right<kDim>(right, tiles.keys, 16 * k, part.piece + 2 * n, lane);
#pragma unroll
            for (int m = 0; m < kM; ++m) add_product(&sum[m][2 * n], left[m], right);
        }
    }
    if (key_tile != head.last_key_tile(query_tile)) {
        return store_so_far<kDim>(part.so_far(a, head, first_query), part, sum);
    }
    const float scale = a.scale * a.drop.keep_scale;
    const float factor[kM][2] = {{scale, scale}, {scale, scale}};
    store_rounded<kDim>(tiles.queries, part.row, part.piece, sum, factor);
    warp_barrier();  // the warp's part of dq is written
    const std::int64_t stride = 3 * a.packing.hidden;
    write_rows<kDim, part.kRows, part.kPieces>(a.dqkv + (head.first_row + first_query) * stride + head.column, stride,
                                               part.rows, tiles.queries, part.row, part.piece);
}

/// dk and dv of a key tile, through the tiles of keys and values, of which each warp takes the rows of its keys.
template <int kDim>
__device__ void write_sums(const Sums<kDim>& sums, const Tiles& tiles, const Arguments& a, const Head& head,
                           int first_key) {
    constexpr int kPieces = kDim / kPieceColumns;
    const int row = thread_index_here() / kWarpThreads * kWarpKeys;
    const float of_key = a.scale * a.drop.keep_scale, of_value = a.drop.keep_scale;
    const float key_factor[kM][2] = {{of_key, of_key}, {of_key, of_key}};
    const float value_factor[kM][2] = {{of_value, of_value}, {of_value, of_value}};
    store_rounded<kDim>(tiles.keys, row, 0, sums.dkey, key_factor);
    store_rounded<kDim>(tiles.values, row, 0, sums.dvalue, value_factor);
    warp_barrier();  // the warp's rows of both are written
    const std::int64_t hidden = a.packing.hidden, stride = 3 * hidden;
    bf16* dkey = a.dqkv + (head.first_row + first_key) * stride + hidden + head.column;
    write_rows<kDim, kWarpKeys, kPieces>(dkey, stride, head.length - first_key, tiles.keys, row, 0);
    write_rows<kDim, kWarpKeys, kPieces>(dkey + hidden, stride, head.length - first_key, tiles.values, row, 0);
}

template <int kDim>
__device__ void start_queries(const Tiles& tiles, const Arguments& a, const Head& head, int query_tile) {
    const int stage = query_tile % kStages * query_words(kDim), first = query_tile * kQueries;
    const int row = head.first_row + first, rows = head.length - first;
    const std::int64_t hidden = a.packing.hidden;
    start_rows<kDim, kQueries, kThreads>(tiles.queries + stage, {a.qkv, 3 * hidden, row, head.column}, rows);
    start_rows<kDim, kQueries, kThreads>(tiles.dout + stage, {a.dy, hidden, row, head.column}, rows);
}

/// A tile of keys, and the first of queries that goes with it.
template <int kDim>
__device__ void start_keys(const Tiles& tiles, const Arguments& a, const Head& head, int key_tile) {
    const int row = head.first_row + key_tile * kKeys, rows = head.length - key_tile * kKeys;
    const std::int64_t hidden = a.packing.hidden;
    start_rows<kDim, kKeys, kThreads>(tiles.keys, {a.qkv + hidden, 3 * hidden, row, head.column}, rows);
    start_rows<kDim, kKeys, kThreads>(tiles.values, {a.qkv + 2 * hidden, 3 * hidden, row, head.column}, rows);
    start_queries<kDim>(tiles, a, head, head.first_query_tile(key_tile));
    commit_copies();
}

/// A tile of keys, which has been started, with all queries that see them.
template <int kDim, bool kDrops>
__device__ void pass_key_tile(const Tiles& tiles, const Arguments& a, const Head& head, int key_tile) {
    const int first_tile = head.first_query_tile(key_tile), last_tile = head.last_query_tile(key_tile);
    const int warp_key = key_tile * kKeys + warp_index() * kWarpKeys;
    write_statistics(tiles.statistics, a, head, first_tile * kQueries);
    wait_for_copies<0>();
    block_barrier();  // keys and values are there for all
    HeldValues<kDim> held;
    hold_rows<kDim>(held, tiles.values, warp_key % kKeys);
    if constexpr (kDrops) {
        block_barrier();  // all hold their values
        write_keep<kDim>(tiles, a, head, first_tile, key_tile);
    }
    Sums<kDim> sums;
    for (int tile = first_tile; tile <= last_tile; ++tile) {
        wait_for_copies<0>();
        block_barrier();  // this tile and its statistics are there for all, and all have read what the last one left
        if (tile < last_tile) start_queries<kDim>(tiles, a, head, tile + 1);
        commit_copies();
        const int stage = tile % kStages * query_words(kDim);
        Tiles now = tiles;
        now.queries += stage;
        now.dout += stage;
#pragma unroll 1
        for (int row = 0; row < kQueries; row += kChunk) {
            if (warp_key >= head.length || tile * kQueries + row >= head.length) break;
            add_chunk<kDim, kDrops>(sums, held, now, a, head, tile * kQueries, row, warp_key);
        }
        typename DqueryPart<kDim>::Sum dquery = {};
        load_so_far<kDim>(dquery, a, head, tile, key_tile);
        block_barrier();  // the gradients of scores are written; queries and statistics are read
        if (tile < last_tile) {
            write_statistics(tiles.statistics, a, head, (tile + 1) * kQueries);
            if constexpr (kDrops) write_keep<kDim>(tiles, a, head, tile + 1, key_tile);
        }
        add_dquery<kDim>(dquery, now, a, head, tile, key_tile);
    }
    block_barrier();  // all have read the keys
    write_sums(sums, tiles, a, head, key_tile * kKeys);
}

template <int kDim, bool kDrops>
__global__ void __launch_bounds__(kThreads, 2) backward_kernel(Arguments a) {
    const Packing& packing = a.packing;
    clear_outside(packing, block_x(), blocks_x(),
                  [&](std::int64_t row) { clear_row(a.dqkv + row * 3 * packing.hidden, 3 * packing.hidden); });
    if (packing.sequences == 0) return;
    LongestFirst<kKeys> order(packing);
    const Head head = head_of<kKeys, kQueries>(packing, order, block_x(), kDim);
    if (head.length == 0) return;
    SharedArena arena;
    Tiles tiles;
    tiles.keys = arena.take<std::uint32_t>(key_words(kDim), 128);
    tiles.values = arena.take<std::uint32_t>(key_words(kDim), 128);
    tiles.queries = arena.take<std::uint32_t>(kStages * query_words(kDim), 128);
    tiles.dout = arena.take<std::uint32_t>(kStages * query_words(kDim), 128);
    tiles.dscores = arena.take<std::uint32_t>(kScoreWords, 128);
    tiles.statistics = arena.take<float>(2 * kQueries);
    start_keys<kDim>(tiles, a, head, 0);
    write_delta<kDim>(a, head);
    for (int key_tile = 0;;) {
        block_barrier();  // delta is written
        pass_key_tile<kDim, kDrops>(tiles, a, head, key_tile);
        if (++key_tile * kKeys >= head.length) return;
        block_barrier();  // what the last key tile left is read
        start_keys<kDim>(tiles, a, head, key_tile);
    }
}

template <int kDim, bool kDrops>
void start(const AttentionBackward& a, Stream stream) {
    const std::int64_t tokens = a.y.rows, sequences = a.offset.cols - 1;
    const double scale = 1 / std::sqrt(static_cast<double>(kDim));
    launch("attention_backward", backward_kernel<kDim, kDrops>,
           {.grid = {.x = std::max<std::int64_t>(sequences * a.heads, 1)},
            .threads = kThreads,
            .shared_bytes = shared_bytes(kDim)},
           stream,
           Arguments{.dqkv = a.dqkv.data<bf16>(),
                     .dquery = a.scratch.data<float>(),
                     .delta = a.scratch.data<float>() + tokens * a.y.cols,
                     .dy = a.dy.data<bf16>(),
                     .y = a.y.data<bf16>(),
                     .qkv = a.qkv.data<bf16>(),
                     .log_sum_exp = a.log_sum_exp.data<float>(),
                     .packing = packing_of(a.y, a.offset, a.heads, a.visible),
                     .log2_scale = static_cast<float>(1.4426950408889634 * scale),
                     .scale = static_cast<float>(scale),
                     .drop = drop_arguments(a.dropout)});
}

}  // namespace

namespace device_code {

void attention_backward(const AttentionBackward& a, Stream stream) {
    if (chosen_attention_path() == AttentionPath::hopper) return hopper::attention_backward(a, stream);
    attention::visit_head(a.y.cols / a.heads, a.dropout,
                          [&]<int kDim, bool kDrops>() { start<kDim, kDrops>(a, stream); });
}

}  // namespace device_code

}  // namespace cloze
