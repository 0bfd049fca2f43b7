// Attention forward for compute capability 9.0: products by wgmma, tiles by the copy engine (TMA).
//
// A block, one a multiprocessor, is two teams that do not wait for each other. A team takes 128 queries of a head after
// the other, each of its two warpgroups 64 of them; one more warp finds the work and asks for tiles, ahead of those who
// compute. Why these:
//
//   four warpgroups   each a plain chain of products, exponentials, products. While one waits for its scores, another
//                     multiplies and two take exponentials; nothing makes them take turns but the hardware.
//   128 queries       few rows are idle where sequences are short; keys and values are read again for every 128.
//   64 keys           scores 32, y 32 and probabilities 16 registers a thread, of 112. A Philox call serves 16
//                     queries x 64 keys.
//   no maximum        probabilities are 2^(score - base) with a base that is a row's largest score of the first keys
//                     it sees. Floats have the same precision wherever they lie: later scores may exceed the base by
//                     2^36, which the sum of a tile tells afterwards. Then, which is seldom, base and sums are raised
//                     and the tile is taken again.
//   dropout           its bits are drawn between the exponentials and the product that wants them. Drawn while the
//                     scores are multiplied, they keep the products that they stand between waiting.
//   y                 goes through the tile of queries, 16 rows a warp, so that whole rows are written.
//
// Budget of a multiprocessor for 128 x 128 scores of 64 columns (4.2 MFLOP), in cycles: tensor cores 1,024, shared
// memory 1,020, exponentials 1,024, instructions of a scheduler 770, with dropout 1,360; 32 KiB from the second-level
// cache. docs/kernels.md has more, what was predicted and what was measured.
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

inline constexpr int kTeams = 2;
inline constexpr int kWarpgroups = 2;  // of a team, besides its warp that asks
inline constexpr int kWarpgroupThreads = 4 * kWarpThreads;
inline constexpr int kRows = 64;  // queries of a warpgroup
inline constexpr int kWarpRows = 16;
inline constexpr int kQueries = kWarpgroups * kRows;
inline constexpr int kKeys = kDropoutKeys;
inline constexpr int kKeyOctets = kKeys / 8;
inline constexpr int kTeamThreads = kWarpgroups * kWarpgroupThreads;
inline constexpr int kTeamWarps = kTeamThreads / kWarpThreads;
inline constexpr int kThreads = kTeams * kTeamThreads + kWarpgroupThreads;
inline constexpr int kComputeRegisters = 112;  // for each that asks, four compute: together 5 times the 96 of the start
inline constexpr int kAskRegisters = 32;
inline constexpr int kStages = 4;               // of keys and values
inline constexpr int kQueryStages = 2;          // of queries, and of what says whose they are
inline constexpr int kTailBarrier = 1;          // and one more for each team
inline constexpr float kMostTileSum = 0x1p40f;  // of 16 probabilities of a lane
inline constexpr float kRaise = 36;  // so that a larger sum has a score this far above the base, in powers of two

struct Arguments {
    bf16* y;
    float* log_sum_exp;
    Packing packing;
    std::int64_t units;  // shares, some of them empty
    float log2_scale;    // of scores, for powers of two
    DropArguments drop;
};

/// What a team computes next, found by the warp that asks: a share, and the sample that dropout takes for it.
struct Unit {
    Share share;
    std::uint64_t sample;
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

inline constexpr int kBarriers = 2 * (kQueryStages + kStages);

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
        .take<Unit>(kTeams * kQueryStages)
        .bytes();
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

__device__ MatrixDescriptor alike(const MatrixDescriptor& x) {
    const std::uint64_t high = warp_alike(static_cast<std::uint32_t>(x.bits >> 32));
    return {high << 32 | warp_alike(static_cast<std::uint32_t>(x.bits))};
}

/// What a team shares. "full": the copies have landed; "empty": all warps that compute have done with them. What all
/// lanes of a warp have alike is said to be so: then descriptors and addresses cost no registers of threads and no
/// moves, and what follows from one is not computed anew in each tile.
template <int kDim>
struct Shared {
    std::uint32_t* queries;  // [kQueryStages][kQueries][kDim]; at the end y
    std::uint32_t* keys;     // [kStages][kKeys][kDim]
    std::uint32_t* values;   // [kStages][kKeys][kDim]
    Unit* unit;              // [kQueryStages]
    std::uint32_t barriers;
    MatrixDescriptor query, key, value;  // of the first slots

    __device__ explicit Shared(int team) {
        SharedArena arena;
        queries = arena.take<std::uint32_t>(kTeams * query_words(kDim), 1024) + team * query_words(kDim);
        keys = arena.take<std::uint32_t>(kTeams * key_words(kDim), 1024) + team * key_words(kDim);
        values = arena.take<std::uint32_t>(kTeams * key_words(kDim), 1024) + team * key_words(kDim);
        barriers = warp_alike(shared_address(arena.take<std::uint64_t>(kTeams * kBarriers) + team * kBarriers));
        unit = arena.take<Unit>(kTeams * kQueryStages) + team * kQueryStages;
        query = alike(descriptor_of<kDim>(queries));
        key = alike(descriptor_of<kDim>(keys));
        value = alike(descriptor_of<kDim>(values));
    }
    __device__ std::uint32_t* queries_of(int slot, int warpgroup) const {
        return queries + (slot * kWarpgroups + warpgroup) * box_words(kDim);
    }
    __device__ std::uint32_t* keys_of(int slot) const { return keys + slot * box_words(kDim); }
    __device__ std::uint32_t* values_of(int slot) const { return values + slot * box_words(kDim); }
    __device__ std::uint32_t barrier(int index) const { return barriers + 8 * index; }
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

/// Those of which they see every key.
__device__ KeyTiles tiles_seen_whole(const Sight& sight, int query, int queries, int length) {
    const int end = sight.only_past && query < length ? query : length;
    return {sight.only_future ? (query + queries + kKeys - 1) / kKeys : 0, end / kKeys - 1};
}

// ---- The warp that asks for tiles.

template <int kDim>
__device__ void ask_for_queries(const Shared<kDim>& shared, const TensorMap& map, const Unit& unit, int slot) {
    const Share& share = unit.share;
    const int boxes = share.sequence.length - share.first_query > kRows ? 2 : 1;
    shared.unit[slot] = unit;
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
template <int kDim, bool kDrops>
__device__ void ask(int team, const Arguments& a, const TensorMap& map) {
    const Packing& packing = a.packing;
    const Shared<kDim> shared(team);
    Ring<kQueryStages> queries;
    Ring<kStages> keys;
    const bool asks = lane_index() == 0;
    if (asks) prefetch_tensor_map(map);
    for (std::int64_t i = kTeams * block_x() + team; i < a.units; i += kTeams * blocks_x()) {
        const Share share = share_of<kQueries>(packing, i);
        if (share.empty()) continue;
        const std::uint64_t sample = kDrops ? a.drop.sample[share.sequence.index] : 0;
        mbarrier_wait(shared.queries_empty(queries.slot), queries.parity ^ 1);
        if (asks) ask_for_queries(shared, map, {share, sample}, queries.slot);
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
        shared.unit[queries.slot].share.sequence.length = -1;
        mbarrier_arrive(shared.queries_full(queries.slot));
    }
}

// ---- The warps that compute. What all lanes of a warp have alike is said to be so: then tiles, their addresses and
// dropout's key cost no registers of threads, and the tensor cores' descriptors no moves.

__device__ Unit alike(const Unit& unit) {
    const Share& share = unit.share;
    const std::uint64_t high = warp_alike(static_cast<std::uint32_t>(unit.sample >> 32));
    return {
        {{warp_alike(share.sequence.index), warp_alike(share.sequence.first_row), warp_alike(share.sequence.length)},
         warp_alike(share.head),
         warp_alike(share.first_query)},
        high << 32 | warp_alike(static_cast<std::uint32_t>(unit.sample))};
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
        if (raise) rows.base[half] = now;
        if (warp_ballot(raise && before != -kInfinity) == 0) continue;  // nothing is summed yet, or stays as it is
        const float correction = raise ? fast_exp2(before - now) : 1.0f;
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

__device__ DropoutKey key_of(const DropArguments& drop) {
    const PhiloxKey key = drop.state->dropout_key;
    return {{warp_alike(key.low), warp_alike(key.high)}, drop.layer, DropoutSite::attention_probabilities};
}

/// Drops of a warp's 16 x 64 probabilities those that the bits at `counter`, for even columns, and the next, for odd
/// ones, do not keep.
__device__ void drop_probabilities(Probabilities& probability, PhiloxCounter counter, PhiloxKey key,
                                   ByteThreshold threshold) {
    const PhiloxBits low = philox(counter, key);
    ++counter.c0;
    const PhiloxBits high = philox(counter, key);
#pragma unroll
    for (int i = 0; i < 4; ++i) {  // query half i / 2, key octets 4 (i % 2) and on
        const std::uint32_t keep_low = bytes_at_least(low.word[i], threshold);
        const std::uint32_t keep_high = bytes_at_least(high.word[i], threshold);
#pragma unroll
        for (int byte = 0; byte < 4; ++byte) {
            const int n = i % 2 * 4 + byte;
            probability[n / 2][n % 2 * 2 + i / 2] &= keep_pair(keep_low, keep_high, byte);
        }
    }
}

/// Starts score = queries keys^T.
template <int kDim>
__device__ void start_scores(Scores& score, MatrixDescriptor queries, MatrixDescriptor keys) {
    wgmma_fence();
#pragma unroll
    for (int k = 0; k < kDim / 16; ++k) {
        wgmma_m64<kKeys, false>(score, advance(queries, 32 * k), advance(keys, 32 * k), k > 0);
    }
    wgmma_commit();
}

/// Starts out += probability values.
template <int kDim>
__device__ void start_output(float (&out)[kDim / 2], const Probabilities& probability, MatrixDescriptor values) {
    wgmma_fence();
#pragma unroll
    for (int k = 0; k < kKeys / 16; ++k) {
        wgmma_m64<kDim, true>(out, probability[k], advance(values, 16 * 2 * kDim * k), true);
    }
    wgmma_commit();
}

/// Waits for a tile of keys, of which the sequence has `rows` from its first on. Where it ends in the tile, values
/// behind its end become zeros: they may be NaN, which probabilities of 0 would not hide.
template <int kDim>
__device__ void take_tile(const Shared<kDim>& shared, const Ring<kStages>& keys, int rows, int thread) {
    mbarrier_wait(shared.full(keys.slot), keys.parity);
    if (rows >= kKeys) return;
    std::uint32_t* values = shared.values_of(keys.slot);
#pragma unroll
    for (int i = 0; i < box_words(kDim); i += kTeamThreads) {
        const int word = i + thread % kTeamThreads;
        if (word >= rows * (kDim / 2)) values[word] = 0;
    }
    fence_async_shared();
    named_barrier_wait(kTailBarrier + thread / kTeamThreads, kTeamThreads);  // the team's zeros are written
}

/// A warp has done with what a barrier guards.
__device__ void release(std::uint32_t barrier, int thread) {
    warp_barrier();  // all lanes have
    if (thread % kWarpThreads == 0) mbarrier_arrive(barrier);
}

template <int kDim>
__device__ void skip_tiles(const Shared<kDim>& shared, Ring<kStages>& keys, int first, int last, int length,
                           int thread) {
    for (int tile = first; tile <= last; ++tile) {
        take_tile(shared, keys, length - tile * kKeys, thread);
        release(shared.empty(keys.slot), thread);
        keys.advance();
    }
}

/// What a warp computes: 16 rows from `query` on of a unit's share, which see these tiles. `queries` are its
/// warpgroup's.
struct Task {
    const Unit& unit;
    KeyTiles tiles;
    MatrixDescriptor queries;
    int query;
    int thread;
};

/// The counter of dropout's bits for the first 64 keys and even columns. The first word is each lane's own.
__device__ PhiloxCounter counter_of(const Task& task, const DropoutKey& key) {
    return attention_dropout_counter(key, task.unit.sample, static_cast<std::uint32_t>(task.unit.share.head),
                                     static_cast<std::uint32_t>(task.query / kDropoutQueries), 0,
                                     static_cast<std::uint32_t>(lane_group(task.thread)),
                                     static_cast<std::uint32_t>(lane_pair(task.thread)));
}

/// Of each tile first the scores; the product with its values goes on while the scores of the next tile are started.
template <int kDim, bool kDrops>
__device__ void add_tiles(Rows<kDim>& rows, const Shared<kDim>& shared, Ring<kStages>& keys, const Arguments& a,
                          const Task& task, const DropoutKey& dropout_key) {
    const int length = task.unit.share.sequence.length, thread = task.thread;
    const KeyTiles whole = tiles_seen_whole(a.packing.sight, task.query, kWarpRows, length);
    PhiloxCounter counter;
    if constexpr (kDrops) counter = counter_of(task, dropout_key);
    int last_slot = 0;
    for (int tile = task.tiles.first; tile <= task.tiles.last; ++tile) {
        const int offset = keys.slot * box_bytes(kDim);
        Scores score;
        take_tile(shared, keys, length - tile * kKeys, thread);
        start_scores<kDim>(score, task.queries, advance(shared.key, offset));
        wgmma_wait<0>();
        wgmma_hold(score);
        wgmma_hold(rows.out);
        if (tile > task.tiles.first) release(shared.empty(last_slot), thread);
        if (tile < whole.first || tile > whole.last) {
            hide(score, a.packing.sight, task.query, tile * kKeys, length);
        }
        Probabilities probability;
        take_scores(probability, rows, score, a.log2_scale);
        if constexpr (kDrops) {
            PhiloxCounter here = counter;
            here.c1 += static_cast<std::uint32_t>(tile);
            drop_probabilities(probability, here, dropout_key.step_key, a.drop.threshold);
        }
        start_output<kDim>(rows.out, probability, advance(shared.value, offset));
        last_slot = keys.slot;
        keys.advance();
    }
    wgmma_wait<0>();
    wgmma_hold(rows.out);
    release(shared.empty(last_slot), thread);
}

/// y and log_sum_exp of a warp's rows, y through its rows of the tile of queries, of which `row` is the first; then the
/// tile is given back. Addresses are those of attention_tiles.cuh, each by one instruction from the last.
template <int kDim>
__device__ void finish_rows(const Rows<kDim>& rows, std::uint32_t* tile, int row, std::uint32_t queries_empty,
                            const Arguments& a, const Task& task) {
    constexpr int kPieces = kDim / kPieceColumns, kStep = kWarpThreads / kPieces;
    const Share& share = task.unit.share;
    const int lane = task.thread % kWarpThreads, count = share.sequence.length - share.first_query;
    const std::int64_t first_row = share.sequence.first_row + share.first_query;
    float sum[2], factor[2];
#pragma unroll
    for (int half = 0; half < 2; ++half) {
        sum[half] = rows.sum[half] + shuffle_xor(rows.sum[half], 1);
        sum[half] += shuffle_xor(sum[half], 2);
        factor[half] = sum[half] == 0 ? 0.0f : a.drop.keep_scale * fast_reciprocal(sum[half]);
    }
    // Of the four lanes of two rows, the first takes the upper row's logarithm, the second the lower one's.
    const bool lower = lane_pair(lane) == 2;
    const int own_row = row + lane_group(lane) + (lower ? 8 : 0);
    if (lane_pair(lane) <= 2 && own_row < count) {
        const float own_sum = lower ? sum[1] : sum[0], own_base = lower ? rows.base[1] : rows.base[0];
        a.log_sum_exp[share.head * a.packing.tokens + first_row + own_row] =
            own_sum == 0 ? -kInfinity : fmaf(own_base, kLn2, logf(own_sum));
    }
    const int byte = byte_of<kDim>(row + lane_group(lane), 0) + 2 * lane_pair(lane);
#pragma unroll
    for (int n = 0; n < kPieces; ++n) {
#pragma unroll
        for (int half = 0; half < 2; ++half) {
            tile[(byte ^ 16 * n) / 4 + half * 8 * kDim / 2] =
                pack_bf16(rows.out[4 * n + 2 * half] * factor[half], rows.out[4 * n + 2 * half + 1] * factor[half]);
        }
    }
    warp_barrier();  // the warp's rows of the tile are written
    const int from_row = row + lane / kPieces, piece = lane % kPieces;
    Words4 words[kWarpRows / kStep];
#pragma unroll
    for (int i = 0; i < kWarpRows / kStep; ++i) {
        words[i] = load_16(tile + byte_of<kDim>(from_row + i * kStep, piece) / 4);
    }
    fence_async_shared();  // the next queries come by the copy engine; stores to memory would be waited for here
    release(queries_empty, task.thread);
    bf16* y = a.y + (first_row + from_row) * a.packing.hidden + share.head * kDim + piece * kPieceColumns;
#pragma unroll
    for (int i = 0; i < kWarpRows / kStep; ++i) {
        if (from_row + i * kStep < count) store_16(y + i * kStep * a.packing.hidden, words[i]);
    }
}

template <int kDim, bool kDrops>
__device__ void compute(int warp, const Arguments& a) {
    const Shared<kDim> shared(warp / kTeamWarps);
    const int warpgroup = warp / 4 % kWarpgroups, warp_row = warp % kTeamWarps * kWarpRows;
    const int thread = thread_index_here();
    DropoutKey dropout_key;
    if constexpr (kDrops) dropout_key = key_of(a.drop);
    Ring<kQueryStages> ring;
    Ring<kStages> keys;
    for (;; ring.advance()) {
        mbarrier_wait(shared.queries_full(ring.slot), ring.parity);
        const Unit unit = alike(shared.unit[ring.slot]);
        const Share& share = unit.share;
        const int length = share.sequence.length, query = share.first_query + warpgroup * kRows;
        if (length < 0) return;
        const KeyTiles all = tiles_seen(a.packing.sight, share.first_query, kQueries, length);
        KeyTiles own{all.last + 1, all.last};
        if (query < length) own = tiles_seen(a.packing.sight, query, kRows, length);
        skip_tiles(shared, keys, all.first, own.first - 1, length, thread);
        if (query < length) {
            const MatrixDescriptor queries =
                advance(shared.query, (ring.slot * kWarpgroups + warpgroup) * box_bytes(kDim));
            const Task task{unit, own, queries, share.first_query + warp_row, thread};
            Rows<kDim> rows(task.query, length);
            add_tiles<kDim, kDrops>(rows, shared, keys, a, task, dropout_key);
            finish_rows(rows, shared.queries_of(ring.slot, 0), warp_row, shared.queries_empty(ring.slot), a, task);
        } else {
            release(shared.queries_empty(ring.slot), thread);
        }
        skip_tiles(shared, keys, own.last + 1, all.last, length, thread);
    }
}

template <int kDim, bool kDrops>
__global__ void __launch_bounds__(kThreads, 1) forward_kernel(const __grid_constant__ TensorMap map, Arguments a) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL) || defined(CLOZE_EMULATED)
    if (warp_index() == 0) {
        for (int team = 0; team < kTeams; ++team) {
            const Shared<kDim> shared(team);
            if (lane_index() == 0) shared.start_barriers();
        }
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
        if (team < kTeams) ask<kDim, kDrops>(team, a, map);
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
    attention::visit_head(a.y.cols / a.heads, a.dropout,
                          [&]<int kDim, bool kDrops>() { start<kDim, kDrops>(a, stream); });
}

}  // namespace device_code::hopper

}  // namespace cloze
