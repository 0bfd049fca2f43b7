// What the roles of kernels/attention_backward_hopper.cu share: arguments, what lies where in shared memory, the
// mbarriers by which they hand tiles to each other, and the arithmetic between the products.
#pragma once

#include "kernels/attention_packing.cuh"
#include "kernels/attention_tiles.cuh"
#include "kernels/device/math.h"
#include "kernels/device/mbarrier.h"
#include "kernels/device/proxy.h"
#include "kernels/device/tensor_copy.h"
#include "kernels/device/wgmma.h"

namespace cloze::attention::backward_hopper {

inline constexpr int kGroupThreads = 128;  // of a warpgroup
inline constexpr int kGroupWarps = kGroupThreads / kWarpThreads;
inline constexpr int kScoreGroups = 2;
inline constexpr int kGroupKeys = 64;  // of a score group; the rows of one wgmma
inline constexpr int kKeys = kScoreGroups * kGroupKeys;
inline constexpr int kQueries = 64;
inline constexpr int kQueryBlocks = kQueries / kDropoutQueries;
inline constexpr int kBoxRows = 64;  // a tensor copy brings as many rows of one head

// Slots in shared memory, which come round.
inline constexpr int kStages = 4;      // queries, dy, y and what is made of them
inline constexpr int kKeyTiles = 2;    // keys and values
inline constexpr int kScoreTiles = 2;  // gradients of scores
inline constexpr int kHeads = 8;       // which heads of which sequences come

// Warpgroups. The first one's warps are the loader and the helpers.
inline constexpr int kHelpers = kGroupWarps - 1;
inline constexpr int kDqueryGroup = 1;
inline constexpr int kFirstScoreGroup = 2;
inline constexpr int kThreads = (kFirstScoreGroup + kScoreGroups) * kGroupThreads;

// Registers a thread: 512 threads share 65,536, which is 128 each at the start.
inline constexpr int kHelperRegisters = 56, kDqueryRegisters = 72, kScoreRegisters = 192;
static_assert(kHelperRegisters + kDqueryRegisters + kScoreGroups * kScoreRegisters <= 65536 / kGroupThreads);

using Head = HeadOfSequence<kKeys, kQueries>;

struct Arguments {
    TensorMap qkv, dy, y;  // boxes of kBoxRows rows of a head
    bf16* dqkv;
    float* dquery;  // [heads][tokens][head_dim]: dq of the key tiles so far, not scaled, a row's columns permuted
    float* delta;   // [heads][tokens]: times keep_rate
    const float* log_sum_exp;
    Packing packing;
    float log2_scale;  // of scores, for powers of two
    float scale;       // of scores
    DropArguments drop;
};

/// Which mbarriers: `full` ones end a phase when the slot holds what its readers wait for, `empty` ones when all of
/// them are done with it.
enum class Slots {
    stage_full,
    stage_ready,
    stage_empty,
    keys_full,
    keys_empty,
    scores_full,
    scores_empty,
    head_full,
    head_empty
};

struct BarrierRow {
    int first, slots, arrivals;
};

CLOZE_HD constexpr BarrierRow barrier_row(Slots which) {
    constexpr int kScoreWarps = kScoreGroups * kGroupWarps;
    switch (which) {
        case Slots::stage_full: return {0, kStages, 1};   // the loader, and its bytes
        case Slots::stage_ready: return {4, kStages, 1};  // a helper
        case Slots::stage_empty: return {8, kStages, kHelpers + kScoreWarps};
        case Slots::keys_full: return {12, kKeyTiles, 1};
        case Slots::keys_empty: return {14, kKeyTiles, kScoreWarps + kGroupWarps};
        case Slots::scores_full: return {16, kScoreTiles, kScoreWarps};
        case Slots::scores_empty: return {18, kScoreTiles, kGroupWarps};
        case Slots::head_full: return {20, kHeads, 1};
        case Slots::head_empty: return {28, kHeads, kHelpers + kScoreWarps + kGroupWarps};
    }
    return {};
}
inline constexpr int kBarriers = 36;

/// A head as it goes through shared memory; length 0: there is none, and none follows.
struct HeadSlot {
    std::int32_t sequence, head, length, first_row;
};

CLOZE_HD constexpr int box_words(int dim) {
    return kBoxRows * dim / 2;
}
CLOZE_HD constexpr int box_bytes(int dim) {
    return 4 * box_words(dim);
}
inline constexpr int kPanelWords = kQueries * kGroupKeys / 2;

struct Tiles {
    std::uint32_t* keys;       // [slot][kKeys][kDim]
    std::uint32_t* values;     // [slot][kKeys][kDim]
    std::uint32_t* queries;    // [stage][kQueries][kDim]
    std::uint32_t* dout;       // [stage][kQueries][kDim]
    std::uint32_t* y;          // [stage][kQueries][kDim]
    std::uint32_t* dscores;    // [slot][score group][kQueries][kGroupKeys]
    std::uint32_t* gradients;  // [kQueries][kDim]: dq on its way to memory
    float* so_far;        // [kDim / 8][thread of the dquery group][4]: dq of the key tiles so far, of the next tile
    float* log2_sum;      // [stage][kQueries]: log2 of the sum of exp; infinity where p is 0
    float* delta;         // [stage][kQueries]
    std::uint32_t* keep;  // [stage][score group][query block][lane]
    HeadSlot* heads;      // [slot]
    std::uint64_t* barriers;
};

constexpr int shared_bytes(int dim) {
    return SharedSize()
        .take<std::uint32_t>(kKeyTiles * 2 * box_words(dim), 1024)
        .take<std::uint32_t>(kKeyTiles * 2 * box_words(dim), 1024)
        .take<std::uint32_t>(kStages * box_words(dim), 1024)
        .take<std::uint32_t>(kStages * box_words(dim), 1024)
        .take<std::uint32_t>(kStages * box_words(dim), 1024)
        .take<std::uint32_t>(kScoreTiles * kScoreGroups * kPanelWords, 1024)
        .take<std::uint32_t>(box_words(dim), 1024)
        .take<float>(kQueries * dim)
        .take<float>(kStages * kQueries)
        .take<float>(kStages * kQueries)
        .take<std::uint32_t>(kStages * kScoreGroups * kQueryBlocks * kWarpThreads)
        .take<HeadSlot>(kHeads)
        .take<std::uint64_t>(kBarriers)
        .bytes();
}

template <int kDim>
__device__ inline Tiles take_tiles() {
    SharedArena arena;
    Tiles t;
    t.keys = arena.take<std::uint32_t>(kKeyTiles * 2 * box_words(kDim), 1024);
    t.values = arena.take<std::uint32_t>(kKeyTiles * 2 * box_words(kDim), 1024);
    t.queries = arena.take<std::uint32_t>(kStages * box_words(kDim), 1024);
    t.dout = arena.take<std::uint32_t>(kStages * box_words(kDim), 1024);
    t.y = arena.take<std::uint32_t>(kStages * box_words(kDim), 1024);
    t.dscores = arena.take<std::uint32_t>(kScoreTiles * kScoreGroups * kPanelWords, 1024);
    t.gradients = arena.take<std::uint32_t>(box_words(kDim), 1024);
    t.so_far = arena.take<float>(kQueries * kDim);
    t.log2_sum = arena.take<float>(kStages * kQueries);
    t.delta = arena.take<float>(kStages * kQueries);
    t.keep = arena.take<std::uint32_t>(kStages * kScoreGroups * kQueryBlocks * kWarpThreads);
    t.heads = arena.take<HeadSlot>(kHeads);
    t.barriers = arena.take<std::uint64_t>(kBarriers);
    return t;
}

/// How often slots have been taken, which come round: one register for the slot and the parity of its phase.
template <int kSlots>
struct Turn {
    static_assert((kSlots & (kSlots - 1)) == 0, "a power of two");
    unsigned count = 0;
    __device__ int slot() const { return static_cast<int>(count % kSlots); }
    __device__ int parity() const { return static_cast<int>(count / kSlots % 2); }
    __device__ void next() { ++count; }
};

using StageTurn = Turn<kStages>;
using KeyTurn = Turn<kKeyTiles>;
using ScoreTurn = Turn<kScoreTiles>;
using HeadTurn = Turn<kHeads>;

template <Slots which>
__device__ inline std::uint32_t barrier_of(const Tiles& tiles, int slot) {
    return shared_address(tiles.barriers + barrier_row(which).first) + 8 * static_cast<std::uint32_t>(slot);
}

/// Waits until the slot of this turn is full or, for those that fill it, empty.
template <Slots which, int kSlots>
__device__ inline void wait_for(const Tiles& tiles, const Turn<kSlots>& turn) {
    constexpr bool kEmpty = which == Slots::stage_empty || which == Slots::keys_empty || which == Slots::scores_empty ||
                            which == Slots::head_empty;
    static_assert(barrier_row(which).slots == kSlots, "the turn of these slots");
    mbarrier_wait(barrier_of<which>(tiles, turn.slot()), turn.parity() ^ (kEmpty ? 1 : 0));
}

/// A warp's arrival, for all of its lanes.
template <Slots which, int kSlots>
__device__ inline void arrive_at(const Tiles& tiles, const Turn<kSlots>& turn) {
    static_assert(barrier_row(which).slots == kSlots, "the turn of these slots");
    warp_barrier();  // the lanes are done
    if (thread_index_here() % kWarpThreads == 0) mbarrier_arrive(barrier_of<which>(tiles, turn.slot()));
}

template <Slots which>
__device__ inline void make_barriers_of(const Tiles& tiles) {
    constexpr BarrierRow kRow = barrier_row(which);
#pragma unroll
    for (int slot = 0; slot < kRow.slots; ++slot) mbarrier_init(barrier_of<which>(tiles, slot), kRow.arrivals);
}

/// By one thread, before any other uses them.
__device__ inline void make_barriers(const Tiles& tiles) {
    make_barriers_of<Slots::stage_full>(tiles);
    make_barriers_of<Slots::stage_ready>(tiles);
    make_barriers_of<Slots::stage_empty>(tiles);
    make_barriers_of<Slots::keys_full>(tiles);
    make_barriers_of<Slots::keys_empty>(tiles);
    make_barriers_of<Slots::scores_full>(tiles);
    make_barriers_of<Slots::scores_empty>(tiles);
    make_barriers_of<Slots::head_full>(tiles);
    make_barriers_of<Slots::head_empty>(tiles);
    fence_mbarrier_init();
}

/// The head whose turn it is, read where the call stands: kept, with what the compiler makes of it ahead of long loops,
/// it would fill registers.
template <int kDim>
__device__ inline Head head_here(const Tiles& tiles, const Packing& packing, const HeadTurn& turn) {
    const HeadSlot slot = tiles.heads[turn.slot()];
    return {slot.sequence, slot.head, slot.length, slot.first_row, slot.head * kDim, packing.sight};
}

/// Whether a head is left, for a warp, which arrives at head_empty when it is done with it.
__device__ inline bool await_head(const Tiles& tiles, const HeadTurn& turn) {
    wait_for<Slots::head_full>(tiles, turn);
    return tiles.heads[turn.slot()].length != 0;
}

__device__ inline int key_tiles(const Tiles& tiles, const HeadTurn& turn) {
    return (tiles.heads[turn.slot()].length + kKeys - 1) / kKeys;
}

/// How many of the two boxes of a tile of keys the sequence has rows for.
__device__ inline int key_boxes(const Head& head, int key_tile) {
    return head.length - key_tile * kKeys > kGroupKeys ? 2 : 1;
}

/// A tile of rows of kDim as a factor of wgmma. As MN-major factor its next 16 terms are 16 rows further, as K-major
/// one 32 bytes.
template <int kDim>
__device__ inline MatrixDescriptor rows_descriptor(const std::uint32_t* tile) {
    constexpr int kEightRows = 8 * 2 * kDim;
    return kDim == 64 ? descriptor_128(shared_address(tile), 0, kEightRows)
                      : descriptor_64(shared_address(tile), 0, kEightRows);
}

/// What a warp of a warpgroup holds of [64, kDim], times `factor`, goes through its own 16 rows of `tile` to memory,
/// where row r goes to destination + r * stride, if r < rows.
template <int kDim>
__device__ inline void write_gradient(bf16* destination, std::int64_t stride, int rows, std::uint32_t* tile,
                                      const float (&sum)[kDim / 2], float factor) {
    const int thread = thread_index_here(), lane = thread % kWarpThreads;
    const int row = thread / kWarpThreads % kGroupWarps * 16;
    warp_barrier();  // the lanes have read what they wrote here before
#pragma unroll
    for (int i = 0; i < kDim / 16; ++i) {
        std::uint32_t word[4];
#pragma unroll
        for (int w = 0; w < 4; ++w) {
            word[w] = pack_bf16(sum[8 * i + 2 * w] * factor, sum[8 * i + 2 * w + 1] * factor);
        }
        store_matrix<Transposed::no>(address_rows_first<kDim>(tile, row, 2 * i, lane), word);
    }
    warp_barrier();  // the warp's rows are written
    write_rows<kDim, 16, kDim / kPieceColumns>(destination, stride, rows, tile, row, 0);
}

/// The row that a thread of a warpgroup holds of a product, besides the one 8 below.
__device__ inline int first_row_of_thread() {
    const int thread = thread_index_here() % kGroupThreads;
    return thread / kWarpThreads * 16 + lane_group(thread);
}

/// The tile of queries that comes next in the head where dq of it has a sum so far, else -1.
__device__ inline int next_with_so_far(const Head& head, int key_tile, int query_tile) {
    const bool last = query_tile == head.last_query_tile(key_tile);
    const int next_key = key_tile + (last ? 1 : 0);
    const int next = last ? head.first_query_tile(next_key) : query_tile + 1;
    return next_key * kKeys < head.length && next_key != head.first_key_tile(next) ? next : -1;
}

/// A thread's own place for four of a sum so far.
__device__ inline float* own_so_far(const Tiles& tiles, int chunk) {
    return tiles.so_far + (chunk * kGroupThreads + thread_index_here() % kGroupThreads) * 4;
}

// ---- What helpers need.

/// Which helper takes a tile of queries, in all of its key tiles: by turns where heads have one tile or two.
__device__ inline int helper_of(const HeadTurn& turn, int query_tile) {
    return static_cast<int>((2 * turn.count + static_cast<unsigned>(query_tile)) % kHelpers);
}

inline constexpr int kLaneRows = kQueries / kWarpThreads;  // of a tile of queries, a lane's

/// Of the rows from `at` on that are a lane's, as soon as may be: the loads are under way while it draws. Deltas are
/// those that it has written itself.
__device__ inline void read_statistics(float (&log_sum_exp)[kLaneRows], float (&delta)[kLaneRows], const Arguments& a,
                                       std::int64_t at, int queries, bool first_visit) {
#pragma unroll
    for (int i = 0; i < kLaneRows; ++i) {
        const int row = i * kWarpThreads + thread_index_here() % kWarpThreads;
        log_sum_exp[i] = row < queries ? a.log_sum_exp[at + row] : -kInfinity;
        delta[i] = row < queries && !first_visit ? a.delta[at + row] : 0.0f;
    }
}

// ---- Dropout and derivatives.

/// What dropout keeps of 128 keys and 64 queries. A lane draws for its residues of key and query + e, for e = 0 and 1,
/// and for all keys of a score group: the top bit of byte `octet` % 4, moved down by 4 e + 2 (query half) + octet / 4,
/// is for key octet `octet`.
__device__ inline void draw_keep(std::uint32_t* keep, const Arguments& a, const Head& head, int query_tile,
                                 int key_tile) {
    const int count = key_boxes(head, key_tile) * kQueryBlocks;
#pragma unroll 1
    for (int i = 0; i < count; ++i) {
        warp_barrier();  // so that the compiler makes the round keys here, instead of keeping twenty of them
        const int lane = thread_index_here() % kWarpThreads;
        std::uint32_t word = 0;
#pragma unroll
        for (int e = 0; e < 2; ++e) {
            const PhiloxBits bits =
                drop_bits(a.drop, head.sequence, head.head, query_tile * kQueryBlocks + i % kQueryBlocks,
                          key_tile * kScoreGroups + i / kQueryBlocks, lane_pair(lane) + e, lane_group(lane));
#pragma unroll
            for (int w = 0; w < 4; ++w) {
                word |= (bytes_at_least(bits.word[w], a.drop.threshold) & 0x80808080u) >> (4 * e + w);
            }
        }
        keep[i * kWarpThreads + lane] = word;
    }
}

using Block = float[kQueries / 2];                   // [a group's keys][queries]
using LeftFactor = std::uint32_t[kQueries / 16][4];  // the same, rounded

__device__ inline void hide(Block& score, const Head& head, int first_query, int first_key) {
    const int thread = thread_index_here(), row = thread / kWarpThreads % kGroupWarps * 16 + lane_group(thread);
#pragma unroll
    for (int j = 0; j < kQueries / 8; ++j) {
#pragma unroll
        for (int e = 0; e < 2; ++e) {
            const KeyRange seen = head.sight.keys(first_query + 8 * j + lane_pair(thread) + e, head.length);
#pragma unroll
            for (int half = 0; half < 2; ++half) {
                const int key = first_key + row + 8 * half;
                if (key < seen.first || key >= seen.end) score[4 * j + 2 * half + e] = -kInfinity;
            }
        }
    }
}

/// What a lane keeps of a block of 16 queries: bit 8 half + 7 - 4 e - 2 (query half) is for its key + 8 half.
__device__ inline std::uint32_t read_keep(const std::uint32_t* keep, int block) {
    const int thread = thread_index_here(), warp = thread / kWarpThreads % kGroupWarps;
    return keep[block * kWarpThreads + thread % kWarpThreads] << (warp / 2) >> (warp % 2 * 16);
}

/// Scores become probabilities p, or -p where dropout does not keep them; `dropped` what it keeps, without the factor
/// keep_scale, rounded.
template <bool kDrops>
__device__ inline void exponentiate(Block& score, LeftFactor& dropped, const float* log2_sum, float log2_scale,
                                    const std::uint32_t* keep) {
#pragma unroll
    for (int j = 0; j < kQueries / 8; ++j) {
        const Floats2 sum = load2(log2_sum + 8 * j + lane_pair(thread_index_here()));
        std::uint32_t bits = 0;
        if constexpr (kDrops) bits = read_keep(keep, j / 2);
#pragma unroll
        for (int half = 0; half < 2; ++half) {
            float* pair = score + 4 * j + 2 * half;
#pragma unroll
            for (int e = 0; e < 2; ++e) {
                const float p = fast_exp2(fmaf(pair[e], log2_scale, -sum.value[e]));
                const std::uint32_t bit = 1u << (8 * half + 7 - 4 * e - 2 * (j % 2));
                pair[e] = !kDrops || (bits & bit) != 0 ? p : -p;
            }
            dropped[j / 2][j % 2 * 2 + half] =
                kDrops ? pack_bf16_positive(pair[0], pair[1]) : pack_bf16(pair[0], pair[1]);
        }
    }
}

/// Gradients of scores, without the factor keep_scale, rounded.
template <bool kDrops>
__device__ inline void differentiate(LeftFactor& dscore, const Block& probability, const Block& gradient,
                                     const float* deltas) {
#pragma unroll
    for (int j = 0; j < kQueries / 8; ++j) {
        const Floats2 delta = load2(deltas + 8 * j + lane_pair(thread_index_here()));
#pragma unroll
        for (int half = 0; half < 2; ++half) {
            float ds[2];
#pragma unroll
            for (int e = 0; e < 2; ++e) {
                const int i = 4 * j + 2 * half + e;
                const float p = probability[i];
                ds[e] = kDrops ? fmaf(fmaxf(p, 0.0f), gradient[i], -(fabsf(p) * delta.value[e]))
                               : p * (gradient[i] - delta.value[e]);
            }
            dscore[j / 2][j % 2 * 2 + half] = pack_bf16(ds[0], ds[1]);
        }
    }
}

/// Transposed: row i of the panel is query i.
__device__ inline void store_dscores(std::uint32_t* panel, const LeftFactor& dscore) {
    const int thread = thread_index_here(), lane = thread % kWarpThreads;
    const int piece = thread / kWarpThreads % kGroupWarps * 2;
#pragma unroll
    for (int k = 0; k < kQueries / 16; ++k) {
        store_matrix<Transposed::yes>(address_pieces_first<kGroupKeys>(panel, 16 * k, piece, lane), dscore[k]);
    }
}

/// A score group's way through the tiles.
struct Turns {
    KeyTurn keys;
    StageTurn stage;
    ScoreTurn scores;
};

/// Where the sequence has no key for the group, it still hands on what comes.
__device__ inline void skip_key_tile(const Tiles& tiles, const Head& head, int key_tile, Turns& turns) {
    const int last_tile = head.last_query_tile(key_tile);
    for (int tile = head.first_query_tile(key_tile); tile <= last_tile; ++tile) {
        wait_for<Slots::stage_ready>(tiles, turns.stage);
        arrive_at<Slots::stage_empty>(tiles, turns.stage);
        turns.stage.next();
        wait_for<Slots::scores_empty>(tiles, turns.scores);
        arrive_at<Slots::scores_full>(tiles, turns.scores);
        turns.scores.next();
    }
}

}  // namespace cloze::attention::backward_hopper
