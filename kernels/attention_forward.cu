// Attention on a device, forward: softmax taken along the way as in FlashAttention-2 (Dao 2023), over packed sequences.
//
// A block takes 128 queries of a head, a warp 32 of them, and goes over their keys by tiles of 64. Why these:
//
//   32 queries a warp  each fragment of keys and values that ldmatrix fetches serves two products. With 16 shared
//                      memory would take longer than the tensor cores: 512 cycles against 413 for 64 queries.
//   64 keys            a Philox call serves 16 queries x 64 keys, all in one thread's fragments. Registers of a thread
//                      at head_dim 64: 64 for y, 64 for scores, 32 for queries; 128 keys would ask 128 for scores.
//   4 warps            two blocks a multiprocessor, at up to 255 registers a thread and 48 KiB of shared memory a
//                      block (queries 16 KiB, two stages of keys and values 32 KiB): one takes exponentials while the
//                      other multiplies.
//
// Scores of a tile stay in registers; after exponential and dropout, rounded, they are the left factors of the second
// product. Per tile at head_dim 64: 2.1 MFLOP, 16 KiB from memory (mostly the second-level cache), 64 KiB through
// ldmatrix (512 cycles), and some 690 instructions a warp, 940 with dropout, for 820 cycles of tensor cores on an H100.
// docs/kernels.md has more.
//
// Tested by tests/kernels/device/attention_test.cpp, for bank conflicts by tests/emulator/attention_access_test.cpp.
#include <algorithm>
#include <cmath>

#include "kernels/attention_packing.cuh"
#include "kernels/attention_path.h"
#include "kernels/attention_tiles.cuh"
#include "kernels/core/launch.h"
#include "kernels/core/parallel.h"
#include "kernels/device/math.h"

namespace cloze {

namespace {

using namespace attention;

constexpr int kWarps = 4;
constexpr int kThreads = kWarps * kWarpThreads;
constexpr int kM = 2;  // of 16 queries each, of a warp
constexpr int kWarpQueries = 16 * kM;
constexpr int kQueries = kWarps * kWarpQueries;
constexpr int kKeys = kDropoutKeys;
constexpr int kKeyOctets = kKeys / 8;
constexpr int kStages = 2;
constexpr float kSlack = 8;

/// Words of a tile of keys or values.
CLOZE_HD constexpr int key_words(int dim) {
    return kKeys * dim / 2;
}
CLOZE_HD constexpr int query_words(int dim) {
    return kQueries * dim / 2;
}
constexpr int shared_bytes(int dim) {
    return SharedSize()
        .take<std::uint32_t>(query_words(dim), 128)
        .take<std::uint32_t>(kStages * key_words(dim), 128)
        .take<std::uint32_t>(kStages * key_words(dim), 128)
        .bytes();
}

struct Arguments {
    bf16* y;
    float* log_sum_exp;
    const bf16* qkv;
    Packing packing;
    float log2_scale;  // of scores, for powers of two
    DropArguments drop;
};

/// A warp's rows: the queries as left factors, and what is summed over the keys, exponentials relative to the
/// reference, a score that is not scaled yet. `sum` is of the lane's columns only.
template <int kDim>
struct Rows {
    std::uint32_t queries[kDim / 16][kM][4];
    float out[kM][kDim / 8][4] = {};
    float reference[kM][2];
    float sum[kM][2] = {};
    __device__ Rows() {
#pragma unroll
        for (int m = 0; m < kM; ++m) reference[m][0] = reference[m][1] = -kInfinity;
    }
};

using Scores = float[kM][kKeyOctets][4];
using Probabilities = std::uint32_t[kM][kKeys / 16][4];  // as left factors

__device__ void hide(Scores& score, const Sight& sight, int first_query, int first_key, int length) {
    const int thread = thread_index_here();
#pragma unroll
    for (int m = 0; m < kM; ++m) {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            const KeyRange seen = sight.keys(first_query + 16 * m + 8 * (i / 2) + lane_group(thread), length);
            const int key = first_key + lane_pair(thread) + i % 2;
#pragma unroll
            for (int n = 0; n < kKeyOctets; ++n) {
                if (key + 8 * n < seen.first || key + 8 * n >= seen.end) score[m][n][i] = -kInfinity;
            }
        }
    }
}

/// Raises the references of a warp's rows to their largest scores, and scales what was summed, where the largest score
/// of one has grown by more than kSlack powers of two. It seldom does after the first tile, and a warp whose rows do
/// not skips a twelfth of its instructions; exponentials of up to 2^kSlack lose no digits.
template <int kDim>
__device__ void raise_references(Rows<kDim>& rows, const Scores& score, float log2_scale) {
    float maximum[kM][2];
    bool raise = false;
#pragma unroll
    for (int m = 0; m < kM; ++m) {
#pragma unroll
        for (int half = 0; half < 2; ++half) {
            float largest = fmaxf(score[m][0][2 * half], score[m][0][2 * half + 1]);
#pragma unroll
            for (int n = 1; n < kKeyOctets; ++n) {
                largest = fmaxf(largest, fmaxf(score[m][n][2 * half], score[m][n][2 * half + 1]));
            }
            largest = fmaxf(largest, shuffle_xor(largest, 1));
            maximum[m][half] = fmaxf(largest, shuffle_xor(largest, 2));
            raise = raise || (maximum[m][half] - rows.reference[m][half]) * log2_scale > kSlack;
        }
    }
    if (warp_ballot(raise) == 0) return;
#pragma unroll
    for (int m = 0; m < kM; ++m) {
#pragma unroll
        for (int half = 0; half < 2; ++half) {
            const float before = rows.reference[m][half], now = fmaxf(before, maximum[m][half]);
            const float correction = before == -kInfinity ? 0.0f : fast_exp2((before - now) * log2_scale);
            rows.reference[m][half] = now;
            rows.sum[m][half] *= correction;
#pragma unroll
            for (int n = 0; n < kDim / 8; ++n) {
                rows.out[m][n][2 * half] *= correction;
                rows.out[m][n][2 * half + 1] *= correction;
            }
        }
    }
}

/// Scores of the m-th 16 rows become powers of two relative to the rows' references.
template <int kDim>
__device__ void exponentiate(Scores& score, Rows<kDim>& rows, int m, float log2_scale) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
        // A row that has seen nothing yet must not subtract infinities.
        const float reference = rows.reference[m][half];
        const float base = reference == -kInfinity ? 0.0f : reference * log2_scale;
#pragma unroll
        for (int n = 0; n < kKeyOctets; ++n) {
#pragma unroll
            for (int i = 2 * half; i < 2 * half + 2; ++i) {
                score[m][n][i] = fast_exp2(fmaf(score[m][n][i], log2_scale, -base));
                rows.sum[m][half] += score[m][n][i];
            }
        }
    }
}

/// Tile n of the scores, rows of `half`, is word 2 * (n % 2) + half of the left factor of keys 16 (n / 2) and on.
__device__ void round_probabilities(std::uint32_t (&probability)[kKeys / 16][4], const float (&score)[kKeyOctets][4]) {
#pragma unroll
    for (int n = 0; n < kKeyOctets; ++n) {
#pragma unroll
        for (int half = 0; half < 2; ++half) {
            probability[n / 2][n % 2 * 2 + half] = pack_bf16(score[n][2 * half], score[n][2 * half + 1]);
        }
    }
}

__device__ void drop_probabilities(std::uint32_t (&probability)[kKeys / 16][4], const DropArguments& drop,
                                   const Share& share, int first_query, int first_key) {
    const int query_block = first_query / kDropoutQueries, key_block = first_key / kDropoutKeys;
    const PhiloxBits low =
        drop_bits(drop, share.sequence.index, share.head, query_block, key_block, lane_group(), lane_pair());
    const PhiloxBits high =
        drop_bits(drop, share.sequence.index, share.head, query_block, key_block, lane_group(), lane_pair() + 1);
#pragma unroll
    for (int i = 0; i < 4; ++i) {  // query half i / 2, key octets 4 (i % 2) and on
        const std::uint32_t keep_low = bytes_at_least(low.word[i], drop.threshold);
        const std::uint32_t keep_high = bytes_at_least(high.word[i], drop.threshold);
#pragma unroll
        for (int byte = 0; byte < 4; ++byte) {
            const int n = i % 2 * 4 + byte;
            probability[n / 2][n % 2 * 2 + i / 2] &= keep_pair(keep_low, keep_high, byte);
        }
    }
}

/// Writes y and log_sum_exp of a warp's rows, through its own rows of `tile`.
template <int kDim>
__device__ void finish_rows(Rows<kDim>& rows, std::uint32_t* tile, const Arguments& a, const Share& share) {
    const int thread = thread_index_here(), warp_row = thread / kWarpThreads * kWarpQueries;
    const std::int64_t first_row = share.sequence.first_row + share.first_query;
    const int count = share.sequence.length - share.first_query;
    float factor[kM][2];
#pragma unroll
    for (int m = 0; m < kM; ++m) {
#pragma unroll
        for (int half = 0; half < 2; ++half) {
            float sum = rows.sum[m][half];
            sum += shuffle_xor(sum, 1);
            sum += shuffle_xor(sum, 2);
            factor[m][half] = sum == 0 ? 0.0f : a.drop.keep_scale / sum;
            const int row = warp_row + 16 * m + 8 * half + lane_group(thread);
            if (lane_pair(thread) == 0 && row < count) {
                a.log_sum_exp[share.head * a.packing.tokens + first_row + row] =
                    sum == 0 ? -kInfinity : fmaf(rows.reference[m][half] * a.log2_scale, kLn2, logf(sum));
            }
        }
    }
    warp_barrier();  // the warp has read its queries, which lie in these rows
    store_rounded<kDim>(tile, warp_row, 0, rows.out, factor);
    warp_barrier();  // the warp's rows of the tile are written
    write_rows<kDim, kWarpQueries, kDim / kPieceColumns>(a.y + first_row * a.packing.hidden + share.head * kDim,
                                                         a.packing.hidden, count, tile, warp_row, 0);
}

struct Tiles {
    std::uint32_t* queries;  // [kQueries][kDim]; at the end y
    std::uint32_t* keys;     // [stage][kKeys][kDim]
    std::uint32_t* values;   // [stage][kKeys][kDim]
};

template <int kDim>
__device__ void start_keys(const Tiles& tiles, const Arguments& a, const Share& share, int tile) {
    const int stage = tile % kStages * key_words(kDim), column = share.head * kDim;
    const int row = share.sequence.first_row + tile * kKeys, rows = share.sequence.length - tile * kKeys;
    const std::int64_t hidden = a.packing.hidden;
    start_rows<kDim, kKeys, kThreads>(tiles.keys + stage, {a.qkv + hidden, 3 * hidden, row, column}, rows);
    start_rows<kDim, kKeys, kThreads>(tiles.values + stage, {a.qkv + 2 * hidden, 3 * hidden, row, column}, rows);
}

/// Adds a tile of keys to a warp's rows, which begin with `query`.
template <int kDim, bool kDrops>
__device__ void add_tile(Rows<kDim>& rows, const Tiles& tiles, const Arguments& a, const Share& share, int query,
                         int tile) {
    const int stage = tile % kStages * key_words(kDim), key = tile * kKeys;
    Scores score = {};
    add_row_products<kDim, kDim / 16>(score, rows.queries, tiles.queries, 0, tiles.keys + stage, 0);
    if (!a.packing.sight.all(query, kWarpQueries, key, kKeys, share.sequence.length)) {
        hide(score, a.packing.sight, query, key, share.sequence.length);
    }
    raise_references(rows, score, a.log2_scale);
    Probabilities probability;
#pragma unroll
    for (int m = 0; m < kM; ++m) {
        exponentiate(score, rows, m, a.log2_scale);
        round_probabilities(probability[m], score[m]);
        if constexpr (kDrops) drop_probabilities(probability[m], a.drop, share, query + 16 * m, key);
    }
    add_products<kDim>(rows.out, probability, tiles.values + stage, 0);
}

template <int kDim, bool kDrops>
__global__ void __launch_bounds__(kThreads, 2) forward_kernel(Arguments a) {
    const Packing& packing = a.packing;
    clear_outside(packing, block_x(), blocks_x(), [&](std::int64_t row) {
        clear_row(a.y + row * packing.hidden, packing.hidden);
        for (int head = thread_index(); head < packing.heads; head += kThreads) {
            a.log_sum_exp[head * packing.tokens + row] = -kInfinity;
        }
    });
    const Share share = share_of<kQueries>(packing, block_x());
    if (share.empty()) return;
    SharedArena arena;
    Tiles tiles;
    tiles.queries = arena.take<std::uint32_t>(query_words(kDim), 128);
    tiles.keys = arena.take<std::uint32_t>(kStages * key_words(kDim), 128);
    tiles.values = arena.take<std::uint32_t>(kStages * key_words(kDim), 128);

    const int length = share.sequence.length, first_query = share.first_query;
    const int last_query = first_query + kQueries < length ? first_query + kQueries - 1 : length - 1;
    const int first_tile = packing.sight.only_future ? first_query / kKeys : 0;
    const int last_tile = (packing.sight.only_past ? last_query : length - 1) / kKeys;
    start_rows<kDim, kQueries, kThreads>(
        tiles.queries, {a.qkv, 3 * packing.hidden, share.sequence.first_row + first_query, share.head * kDim},
        length - first_query);
    start_keys<kDim>(tiles, a, share, first_tile);
    commit_copies();

    const int warp_row = warp_index() * kWarpQueries, warp_query = first_query + warp_row;
    Rows<kDim> rows;
    for (int tile = first_tile; tile <= last_tile; ++tile) {
        wait_for_copies<0>();
        block_barrier();  // this tile has landed for all, and all have read the one before
        if (tile < last_tile) start_keys<kDim>(tiles, a, share, tile + 1);
        commit_copies();
        if (warp_query >= length) continue;
        if (tile == first_tile) hold_rows<kDim>(rows.queries, tiles.queries, warp_row);
        add_tile<kDim, kDrops>(rows, tiles, a, share, warp_query, tile);
    }
    if (warp_query < length) finish_rows(rows, tiles.queries, a, share);
}

template <int kDim, bool kDrops>
void start(const AttentionForward& a, Stream stream) {
    const std::int64_t slots = std::max<std::int64_t>(a.y.rows / kQueries + a.offset.cols - 1, 1);
    launch("attention_forward", forward_kernel<kDim, kDrops>,
           {.grid = {.x = slots * a.heads}, .threads = kThreads, .shared_bytes = shared_bytes(kDim)}, stream,
           Arguments{.y = a.y.data<bf16>(),
                     .log_sum_exp = a.log_sum_exp.data<float>(),
                     .qkv = a.qkv.data<bf16>(),
                     .packing = packing_of(a.y, a.offset, a.heads, a.visible),
                     .log2_scale = static_cast<float>(1.4426950408889634 / std::sqrt(static_cast<double>(kDim))),
                     .drop = drop_arguments(a.dropout)});
}

}  // namespace

namespace device_code {

void attention_forward(const AttentionForward& a, Stream stream) {
    if (chosen_attention_path() == AttentionPath::hopper) return hopper::attention_forward(a, stream);
    attention::visit_head(a.y.cols / a.heads, a.dropout,
                          [&]<int kDim, bool kDrops>() { start<kDim, kDrops>(a, stream); });
}

}  // namespace device_code

}  // namespace cloze
