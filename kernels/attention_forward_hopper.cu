// Attention forward for compute capability 9.0: products by wgmma, tiles by the copy engine (TMA).
//
// A block, one a multiprocessor, is two teams that do not wait for each other. A team takes 128 queries of a head after
// the other, each of its two warpgroups 64 of them; one more warp finds the work and asks for tiles, ahead of those who
// compute. Why these:
//
//   four warpgroups   each a plain chain of products, exponentials, products. While one of them waits for its scores
//                     another multiplies and two take exponentials; the hardware picks, nothing
//                     makes them take turns.
//   128 queries       few rows are idle where sequences are short; keys and values are read again for every 128.
//   64 keys           scores 32, y 32 and probabilities 16 registers a thread, of 112. A Philox call serves 16 queries
//   x
//                     64 keys.
//   no maximum        probabilities are 2^(score - base) with a base that is a row's largest score of the first keys
//   that
//                     it sees. Floats have the same precision wherever they lie: later scores may exceed the base by
//                     2^36, which the sum of a tile tells afterwards. Then, which is seldom, base and sums are raised
//                     and the tile is taken again.
//   y                 goes through the tile of queries, 16 rows a warp, so that whole rows are written.
//
// Budget of a multiprocessor for 128 x 128 scores of 64 columns (4.2 MFLOP), in cycles: tensor cores 1,024, shared
// memory 770 for wgmma's operands, exponentials 1,024, instructions of a scheduler 760, with dropout 1,360; 32 KiB from
// the second-level cache. Predicted of an H200 at 1.9 GHz, before any was measured: 2,000 cycles, with dropout 2,500,
// or 525 and 420 TFLOP/s for long sequences; 460 and 370 at 512, where a unit of work begins and ends every 8 tiles; at
// 128 memory's limit of 273 to 90 %.
//
// Tested by tests/kernels/device/attention_test.cpp.
#include <algorithm>
#include <cmath>

#include "kernels/attention_packing.cuh"
#include "kernels/attention_tiles.cuh"
#include "kernels/core/device_info.h"
#include "kernels/core/launch.h"
#include "kernels/core/tensor_map.h"
#include "kernels/device/math.h"
#include "kernels/device/mbarrier.h"
#include "kernels/device/proxy.h"
#include "kernels/device/tensor_copy.h"
#include "kernels/device/wgmma.h"

namespace cloze {

namespace attention::hopper_forward {

constexpr int kTeams = 2;
constexpr int kWarpgroups = 2;  // of a team, besides its warp that asks
constexpr int kWarpgroupThreads = 4 * kWarpThreads;
constexpr int kRows = 64;  // queries of a warpgroup
constexpr int kWarpRows = 16;
constexpr int kQueries = kWarpgroups * kRows;
constexpr int kKeys = kDropoutKeys;
constexpr int kKeyOctets = kKeys / 8;
constexpr int kTeamThreads = kWarpgroups * kWarpgroupThreads;
constexpr int kTeamWarps = kTeamThreads / kWarpThreads;
constexpr int kThreads = kTeams * kTeamThreads + kWarpgroupThreads;
constexpr int kComputeRegisters = 112;  // 4 of these and 32 are no more than 5 of the 96 that a thread starts with
constexpr int kAskRegisters = 32;
constexpr int kStages = 4;               // of keys and values
constexpr int kQueryStages = 2;          // of queries, and of what says whose they are
constexpr int kTailBarrier = 1;          // and one more for each team
constexpr float kMostTileSum = 0x1p40f;  // of 16 probabilities of a lane
constexpr float kRaise = 36;             // so that a larger sum has a score this far above the base, in powers of two

struct Arguments {
    bf16* y;
    float* log_sum_exp;
    Packing packing;
    std::int64_t units;  // shares, some of them empty
    float log2_scale;    // of scores, for powers of two
    DropArguments drop;
};

/// Which slot of a ring comes next, and the parity of its phase.
template <int kSlots>
struct Ring {
    int slot = 0;
    int parity = 0;
    __device__ void advance() {
        parity ^= slot == kSlots - 1;
        slot = slot == kSlots - 1 ? 0 : slot + 1;
    }
};

/// A box of kKeys rows, and of kRows.
CLOZE_HD constexpr int box_words(int dim) {
    return kKeys * dim / 2;
}
CLOZE_HD constexpr int box_bytes(int dim) {
    return 4 * box_words(dim);
}

constexpr int kBarriers = 2 * (kQueryStages + kStages);

CLOZE_HD constexpr int query_words(int dim) {
    return kQueryStages * kWarpgroups * box_words(dim);
}
CLOZE_HD constexpr int key_words(int dim) {
    return kStages * box_words(dim);
}
constexpr int shared_bytes(int dim) {
    return SharedSize()
        .take<std::uint32_t>(kTeams * query_words(dim), 1024)
        .take<std::uint32_t>(kTeams * key_words(dim), 1024)
        .take<std::uint32_t>(kTeams * key_words(dim), 1024)
        .take<std::uint64_t>(kTeams * kBarriers)
        .take<Share>(kTeams * kQueryStages)
        .bytes();
}

/// What a team shares. "full": the copies have landed; "empty": all warps that compute have done with them.
template <int kDim>
struct Shared {
    std::uint32_t* queries;  // [kQueryStages][kQueries][kDim]; at the end y
    std::uint32_t* keys;     // [kStages][kKeys][kDim]
    std::uint32_t* values;   // [kStages][kKeys][kDim]
    std::uint64_t* barriers;
    Share* share;  // [kQueryStages]

    __device__ explicit Shared(int team) {
        SharedArena arena;
        queries = arena.take<std::uint32_t>(kTeams * query_words(kDim), 1024) + team * query_words(kDim);
        keys = arena.take<std::uint32_t>(kTeams * key_words(kDim), 1024) + team * key_words(kDim);
        values = arena.take<std::uint32_t>(kTeams * key_words(kDim), 1024) + team * key_words(kDim);
        barriers = arena.take<std::uint64_t>(kTeams * kBarriers) + team * kBarriers;
        share = arena.take<Share>(kTeams * kQueryStages) + team * kQueryStages;
    }
    __device__ std::uint32_t* queries_of(int slot, int warpgroup) const {
        return queries + (slot * kWarpgroups + warpgroup) * box_words(kDim);
    }
    __device__ std::uint32_t* keys_of(int slot) const { return keys + slot * box_words(kDim); }
    __device__ std::uint32_t* values_of(int slot) const { return values + slot * box_words(kDim); }
    __device__ std::uint32_t barrier(int index) const { return shared_address(barriers) + 8 * index; }
    __device__ std::uint32_t full(int slot) const { return barrier(slot); }
    __device__ std::uint32_t empty(int slot) const { return barrier(kStages + slot); }
    __device__ std::uint32_t queries_full(int slot) const { return barrier(2 * kStages + slot); }
    __device__ std::uint32_t queries_empty(int slot) const { return barrier(2 * kStages + kQueryStages + slot); }

    /// By one thread.
    __device__ void start_barriers() const {
        for (int i = 0; i < kStages; ++i) {
            mbarrier_init(full(i), 1);
            mbarrier_init(empty(i), kTeamWarps);
        }
        for (int i = 0; i < kQueryStages; ++i) {
            mbarrier_init(queries_full(i), 1);
            mbarrier_init(queries_empty(i), kTeamWarps);
        }
        fence_mbarrier_init();
    }
};

/// Tiles of keys, from `first` to `last`.
struct KeyTiles {
    int first, last;
};

/// Those that `queries` queries from `query` on see, at least one of which there is.
__device__ KeyTiles tiles_seen(const Sight& sight, int query, int queries, int length) {
    const int last_query = query + queries < length ? query + queries - 1 : length - 1;
    return {sight.only_future ? query / kKeys : 0, (sight.only_past ? last_query : length - 1) / kKeys};
}

// ---- The warp that asks for tiles.

template <int kDim>
__device__ void ask_for_queries(const Shared<kDim>& shared, const TensorMap& map, const Share& share, int slot) {
    const int boxes = share.sequence.length - share.first_query > kRows ? 2 : 1;
    shared.share[slot] = share;
    mbarrier_arrive_expect(shared.queries_full(slot), boxes * box_bytes(kDim));
    for (int i = 0; i < boxes; ++i) {
        tensor_copy(shared_address(shared.queries_of(slot, i)), map, share.head * kDim,
                    share.sequence.first_row + share.first_query + i * kRows, shared.queries_full(slot));
    }
}

template <int kDim>
__device__ void ask_for_keys(const Shared<kDim>& shared, const TensorMap& map, int hidden, const Share& share, int tile,
                             int slot) {
    const int row = share.sequence.first_row + tile * kKeys, column = share.head * kDim;
    mbarrier_arrive_expect(shared.full(slot), 2 * box_bytes(kDim));
    tensor_copy(shared_address(shared.keys_of(slot)), map, hidden + column, row, shared.full(slot));
    tensor_copy(shared_address(shared.values_of(slot)), map, 2 * hidden + column, row, shared.full(slot));
}

/// A team's shares, in the order of their numbers, each with the tiles of keys it sees; at the end a share of a length
/// below 0.
template <int kDim>
__device__ void ask(int team, const Packing& packing, const TensorMap& map, std::int64_t units) {
    const Shared<kDim> shared(team);
    Ring<kQueryStages> queries;
    Ring<kStages> keys;
    const bool asks = lane_index() == 0;
    for (std::int64_t unit = kTeams * block_x() + team; unit < units; unit += kTeams * blocks_x()) {
        const Share share = share_of<kQueries>(packing, unit);
        if (share.empty()) continue;
        mbarrier_wait(shared.queries_empty(queries.slot), queries.parity ^ 1);
        if (asks) ask_for_queries(shared, map, share, queries.slot);
        queries.advance();
        const KeyTiles tiles = tiles_seen(packing.sight, share.first_query, kQueries, share.sequence.length);
        for (int tile = tiles.first; tile <= tiles.last; ++tile) {
            mbarrier_wait(shared.empty(keys.slot), keys.parity ^ 1);
            if (asks) ask_for_keys(shared, map, static_cast<int>(packing.hidden), share, tile, keys.slot);
            keys.advance();
        }
    }
    mbarrier_wait(shared.queries_empty(queries.slot), queries.parity ^ 1);
    if (asks) {
        shared.share[queries.slot].sequence.length = -1;
        mbarrier_arrive(shared.queries_full(queries.slot));
    }
}

// ---- The warps that compute. What all lanes of a warp have alike is said to be so: then tiles, their addresses and
// dropout's key cost no registers of threads, and the tensor cores' descriptors no moves.

__device__ Share alike(const Share& share) {
    return {{warp_alike(share.sequence.index), warp_alike(share.sequence.first_row), warp_alike(share.sequence.length)},
            warp_alike(share.head),
            warp_alike(share.first_query)};
}

using Scores = float[kKeys / 2];
using Probabilities = std::uint32_t[kKeys / 16][4];  // as left factors

/// A thread's part of a warp's 16 rows: y, not divided yet, and what is summed over the keys. Probabilities are
/// relative to 2^base; -infinity: the row has seen nothing yet, +infinity: there is no such row. `sum` is of the lane's
/// columns only.
template <int kDim>
struct Rows {
    float out[kDim / 2] = {};
    float base[2];
    float sum[2] = {};
    bool settled = false;  // no base of the warp is -infinity

    __device__ Rows(int first_query, int length) {
#pragma unroll
        for (int half = 0; half < 2; ++half) {
            base[half] = first_query + 8 * half + lane_group() < length ? -kInfinity : kInfinity;
        }
    }
};

__device__ void hide(Scores& score, const Sight& sight, int first_query, int first_key, int length) {
    const int thread = thread_index_here();
#pragma unroll
    for (int half = 0; half < 2; ++half) {
        const KeyRange seen = sight.keys(first_query + 8 * half + lane_group(thread), length);
#pragma unroll
        for (int e = 0; e < 2; ++e) {
            const int key = first_key + lane_pair(thread) + e;
#pragma unroll
            for (int n = 0; n < kKeyOctets; ++n) {
                if (key + 8 * n < seen.first || key + 8 * n >= seen.end) score[4 * n + 2 * half + e] = -kInfinity;
            }
        }
    }
}

/// Raises the bases of rows whose largest score lies kRaise above, and scales what was summed. Whether one does is
/// decided row by row: neighbours of a sequence must not change its bits.
template <int kDim>
__device__ void raise_bases(Rows<kDim>& rows, const Scores& score, float log2_scale) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
        float largest = fmaxf(score[2 * half], score[2 * half + 1]);
#pragma unroll
        for (int n = 1; n < kKeyOctets; ++n) {
            largest = fmaxf(largest, fmaxf(score[4 * n + 2 * half], score[4 * n + 2 * half + 1]));
        }
        largest = fmaxf(largest, shuffle_xor(largest, 1));
        const float before = rows.base[half], now = fmaxf(largest, shuffle_xor(largest, 2)) * log2_scale;
        const bool raise = now - before > kRaise;
        const float correction = !raise ? 1.0f : before == -kInfinity ? 0.0f : fast_exp2(before - now);
        rows.base[half] = raise ? now : before;
        rows.sum[half] *= correction;
#pragma unroll
        for (int n = 0; n < kDim / 8; ++n) {
            rows.out[4 * n + 2 * half] *= correction;
            rows.out[4 * n + 2 * half + 1] *= correction;
        }
    }
    rows.settled = warp_ballot(rows.base[0] == -kInfinity || rows.base[1] == -kInfinity) == 0;
}

/// Powers of two relative to the rows' bases, rounded, and their sums, which are not rounded. Tile n of the scores,
/// rows of `half`, is word 2 * (n % 2) + half of the left factor of keys 16 (n / 2) and on.
template <int kDim>
__device__ void exponentiate(Probabilities& probability, float (&sum)[2], const Scores& score, const Rows<kDim>& rows,
                             float log2_scale) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
        // A row that has seen nothing yet must not subtract infinities.
        const float base = rows.base[half] == -kInfinity ? 0.0f : rows.base[half];
        sum[half] = 0;
#pragma unroll
        for (int n = 0; n < kKeyOctets; ++n) {
            const float low = fast_exp2(fmaf(score[4 * n + 2 * half], log2_scale, -base));
            const float high = fast_exp2(fmaf(score[4 * n + 2 * half + 1], log2_scale, -base));
            sum[half] += low;
            sum[half] += high;
            probability[n / 2][n % 2 * 2 + half] = pack_bf16(low, high);
        }
    }
}

template <int kDim>
__device__ void take_scores(Probabilities& probability, Rows<kDim>& rows, const Scores& score, float log2_scale) {
    float sum[2];
#pragma unroll 1
    for (bool raise = !rows.settled;; raise = true) {
        if (raise) raise_bases(rows, score, log2_scale);
        exponentiate(probability, sum, score, rows, log2_scale);
        // A NaN is not too large: it goes on into y.
        if (raise || warp_ballot(sum[0] >= kMostTileSum || sum[1] >= kMostTileSum) == 0) break;
    }
    rows.sum[0] += sum[0];
    rows.sum[1] += sum[1];
}

/// Where dropout's bits of a share are.
struct Draws {
    DropoutKey key;
    std::uint64_t sample;
};

__device__ Draws draws_of(const DropArguments& drop, int sequence) {
    const PhiloxKey key = drop.state->dropout_key;
    const std::uint64_t sample = drop.sample[sequence];
    const std::uint64_t high = warp_alike(static_cast<std::uint32_t>(sample >> 32));
    return {{{warp_alike(key.low), warp_alike(key.high)}, drop.layer, DropoutSite::attention_probabilities},
            high << 32 | warp_alike(static_cast<std::uint32_t>(sample))};
}

/// What dropout keeps of a warp's 16 x 64 probabilities: byte by byte, of even columns and of odd ones.
struct Kept {
    std::uint32_t low[4], high[4];
};

__device__ Kept draw(const Draws& draws, ByteThreshold threshold, int head, int first_query, int first_key) {
    const auto bits = [&](int key) {
        return attention_dropout_bits(draws.key, draws.sample, static_cast<std::uint32_t>(head),
                                      static_cast<std::uint32_t>(first_query / kDropoutQueries),
                                      static_cast<std::uint32_t>(first_key / kDropoutKeys),
                                      static_cast<std::uint32_t>(lane_group()), static_cast<std::uint32_t>(key));
    };
    const PhiloxBits low = bits(lane_pair()), high = bits(lane_pair() + 1);
    Kept kept;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
        kept.low[i] = bytes_at_least(low.word[i], threshold);
        kept.high[i] = bytes_at_least(high.word[i], threshold);
    }
    return kept;
}

__device__ void drop_probabilities(Probabilities& probability, const Kept& kept) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {  // query half i / 2, key octets 4 (i % 2) and on
#pragma unroll
        for (int byte = 0; byte < 4; ++byte) {
            const int n = i % 2 * 4 + byte;
            probability[n / 2][n % 2 * 2 + i / 2] &= keep_pair(kept.low[i], kept.high[i], byte);
        }
    }
}

/// A tile of queries, keys or values, as a left or right factor.
template <int kDim>
__device__ MatrixDescriptor descriptor_of(const std::uint32_t* tile) {
    constexpr int kEightRows = 8 * 2 * kDim;
    if constexpr (kDim == 64) {
        return descriptor_128(shared_address(tile), box_bytes(kDim), kEightRows);
    } else {
        return descriptor_64(shared_address(tile), box_bytes(kDim), kEightRows);
    }
}

/// Starts score = queries keys^T.
template <int kDim>
__device__ void start_scores(Scores& score, const std::uint32_t* queries, const std::uint32_t* keys) {
    const MatrixDescriptor left = descriptor_of<kDim>(queries), right = descriptor_of<kDim>(keys);
    wgmma_fence();
#pragma unroll
    for (int k = 0; k < kDim / 16; ++k) {
        wgmma_m64<kKeys, false>(score, advance(left, 32 * k), advance(right, 32 * k), k > 0);
    }
    wgmma_commit();
}

/// Starts out += probability values.
template <int kDim>
__device__ void start_output(float (&out)[kDim / 2], const Probabilities& probability, const std::uint32_t* values) {
    const MatrixDescriptor right = descriptor_of<kDim>(values);
    wgmma_fence();
#pragma unroll
    for (int k = 0; k < kKeys / 16; ++k) {
        wgmma_m64<kDim, true>(out, probability[k], advance(right, 16 * 2 * kDim * k), true);
    }
    wgmma_commit();
}

/// Waits for a tile of keys. Where the sequence ends in it, values behind its end become zeros: they may be NaN, which
/// probabilities of 0 would not hide.
template <int kDim>
__device__ void take_tile(const Shared<kDim>& shared, const Ring<kStages>& keys, int rows) {
    mbarrier_wait(shared.full(keys.slot), keys.parity);
    if (rows >= kKeys) return;
    const int thread = thread_index_here();
    std::uint32_t* values = shared.values_of(keys.slot);
    for (int i = rows * (kDim / 2) + thread % kTeamThreads; i < box_words(kDim); i += kTeamThreads) values[i] = 0;
    fence_async_shared();
    named_barrier_wait(kTailBarrier + thread / kTeamThreads, kTeamThreads);  // the team's zeros are written
}

/// A warp has done with what a barrier guards.
__device__ void release(std::uint32_t barrier) {
    warp_barrier();  // all lanes have
    if (lane_index() == 0) mbarrier_arrive(barrier);
}

template <int kDim>
__device__ void skip_tiles(const Shared<kDim>& shared, Ring<kStages>& keys, int first, int last, int length) {
    for (int tile = first; tile <= last; ++tile) {
        take_tile(shared, keys, length - tile * kKeys);
        release(shared.empty(keys.slot));
        keys.advance();
    }
}

/// The tiles that a warpgroup's queries see. Of each, first the scores; the product with its values goes on while those
/// of the next tile are started.
template <int kDim, bool kDrops>
__device__ void add_tiles(Rows<kDim>& rows, const Shared<kDim>& shared, Ring<kStages>& keys,
                          const std::uint32_t* queries, const Arguments& a, const Share& share, int query,
                          const KeyTiles& tiles) {
    const int length = share.sequence.length;
    int last_slot = 0;
    Draws draws;
    if constexpr (kDrops) draws = draws_of(a.drop, share.sequence.index);
    for (int tile = tiles.first; tile <= tiles.last; ++tile) {
        const int key = tile * kKeys;
        Scores score;
        take_tile(shared, keys, length - key);
        start_scores<kDim>(score, queries, shared.keys_of(keys.slot));
        wgmma_wait<0>();
        wgmma_hold(score);
        wgmma_hold(rows.out);
        if (tile > tiles.first) release(shared.empty(last_slot));
        if (!a.packing.sight.all(query, kWarpRows, key, kKeys, length)) {
            hide(score, a.packing.sight, query, key, length);
        }
        Probabilities probability;
        take_scores(probability, rows, score, a.log2_scale);
        if constexpr (kDrops) drop_probabilities(probability, draw(draws, a.drop.threshold, share.head, query, key));
        start_output<kDim>(rows.out, probability, shared.values_of(keys.slot));
        last_slot = keys.slot;
        keys.advance();
    }
    wgmma_wait<0>();
    wgmma_hold(rows.out);
    release(shared.empty(last_slot));
}

/// Writes y and log_sum_exp of a warp's rows, through its rows of the tile of queries, which `row` is the first of.
template <int kDim>
__device__ void finish_rows(const Rows<kDim>& rows, std::uint32_t* tile, int row, const Arguments& a,
                            const Share& share) {
    const int thread = thread_index_here();
    const std::int64_t first_row = share.sequence.first_row + share.first_query;
    const int count = share.sequence.length - share.first_query;
    float factor[1][2], out[1][kDim / 8][4];
#pragma unroll
    for (int half = 0; half < 2; ++half) {
        float sum = rows.sum[half];
        sum += shuffle_xor(sum, 1);
        sum += shuffle_xor(sum, 2);
        factor[0][half] = sum == 0 ? 0.0f : a.drop.keep_scale / sum;
        const int own_row = row + 8 * half + lane_group(thread);
        if (lane_pair(thread) == 0 && own_row < count) {
            a.log_sum_exp[share.head * a.packing.tokens + first_row + own_row] =
                sum == 0 ? -kInfinity : fmaf(rows.base[half], kLn2, logf(sum));
        }
    }
#pragma unroll
    for (int i = 0; i < kDim / 2; ++i) out[0][i / 4][i % 4] = rows.out[i];
    store_rounded<kDim>(tile, row, 0, out, factor);
    warp_barrier();  // the warp's rows of the tile are written
    write_rows<kDim, kWarpRows, kDim / kPieceColumns>(a.y + first_row * a.packing.hidden + share.head * kDim,
                                                      a.packing.hidden, count, tile, row, 0);
    fence_async_shared();  // the next queries come by the copy engine
}

template <int kDim, bool kDrops>
__device__ void compute(int warp, const Arguments& a) {
    const Shared<kDim> shared(warp / kTeamWarps);
    const int warpgroup = warp / 4 % kWarpgroups, warp_row = warp % kTeamWarps * kWarpRows;
    Ring<kQueryStages> ring;
    Ring<kStages> keys;
    for (;; ring.advance()) {
        mbarrier_wait(shared.queries_full(ring.slot), ring.parity);
        const Share share = alike(shared.share[ring.slot]);
        const int length = share.sequence.length, query = share.first_query + warpgroup * kRows;
        if (length < 0) return;
        const KeyTiles all = tiles_seen(a.packing.sight, share.first_query, kQueries, length);
        if (query < length) {
            const KeyTiles own = tiles_seen(a.packing.sight, query, kRows, length);
            skip_tiles(shared, keys, all.first, own.first - 1, length);
            Rows<kDim> rows(share.first_query + warp_row, length);
            add_tiles<kDim, kDrops>(rows, shared, keys, shared.queries_of(ring.slot, warpgroup), a, share,
                                    share.first_query + warp_row, own);
            skip_tiles(shared, keys, own.last + 1, all.last, length);
            finish_rows(rows, shared.queries_of(ring.slot, 0), warp_row, a, share);
        } else {
            skip_tiles(shared, keys, all.first, all.last, length);
        }
        release(shared.queries_empty(ring.slot));
    }
}

template <int kDim, bool kDrops>
__global__ void __launch_bounds__(kThreads, 1) forward_kernel(const __grid_constant__ TensorMap map, Arguments a) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL) || defined(CLOZE_EMULATED)
    if (thread_index() == 0) {
        for (int team = 0; team < kTeams; ++team) Shared<kDim>(team).start_barriers();
        prefetch_tensor_map(map);
    }
    clear_outside(a.packing, block_x(), blocks_x(), [&](std::int64_t row) {
        clear_row(a.y + row * a.packing.hidden, a.packing.hidden);
        for (int head = thread_index(); head < a.packing.heads; head += kThreads) {
            a.log_sum_exp[head * a.packing.tokens + row] = -kInfinity;
        }
    });
    block_barrier();  // the barriers are there for all
    if (thread_index() >= kTeams * kTeamThreads) {
        lower_registers<kAskRegisters>();
        const int team = warp_index() - kTeams * kTeamWarps;
        if (team < kTeams) ask<kDim>(team, a.packing, map, a.units);
    } else {
        raise_registers<kComputeRegisters>();
        compute<kDim, kDrops>(warp_alike(warp_index()), a);
    }
#endif
}

template <int kDim, bool kDrops>
void start(const AttentionForward& a, Stream stream) {
    const std::int64_t units = (a.y.rows / kQueries + a.offset.cols - 1) * a.heads;
    require(units <= 0x7fffffff, "attention_forward: ", units, " shares of ", kQueries, " queries are too many");
    const std::int64_t blocks = (units + kTeams - 1) / kTeams, multiprocessors = current_device().multiprocessors;
    launch("attention_forward", forward_kernel<kDim, kDrops>,
           {.grid = {.x = std::clamp<std::int64_t>(blocks, 1, multiprocessors)},
            .threads = kThreads,
            .shared_bytes = shared_bytes(kDim)},
           stream, tensor_map(a.qkv, kKeys, kDim),
           Arguments{.y = a.y.data<bf16>(),
                     .log_sum_exp = a.log_sum_exp.data<float>(),
                     .packing = packing_of(a.y, a.offset, a.heads, a.visible),
                     .units = units,
                     .log2_scale = static_cast<float>(1.4426950408889634 / std::sqrt(static_cast<double>(kDim))),
                     .drop = drop_arguments(a.dropout)});
}

}  // namespace attention::hopper_forward

namespace device_code::hopper {

void attention_forward(const AttentionForward& a, Stream stream) {
    using attention::hopper_forward::start;
    if (a.y.rows == 0) return;
    const bool drops = attention_dropout_rate(a.dropout.probability).threshold != 0;
    if (a.y.cols / a.heads == 64) {
        drops ? start<64, true>(a, stream) : start<64, false>(a, stream);
    } else {
        drops ? start<32, true>(a, stream) : start<32, false>(a, stream);
    }
}

}  // namespace device_code::hopper

}  // namespace cloze
