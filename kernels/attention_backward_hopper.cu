// Attention backward for compute capability 9.0: products by wgmma, tiles by the copy engine (TMA), no atomics, the
// same bits in every run.
//
// A block, one a multiprocessor, takes heads of sequences, the longest first, by turns there and back, so that blocks
// have about as much to do. As in kernels/attention_backward.cu it goes over tiles of 128 keys, and for each over tiles
// of 64 queries; dk and dv of the keys stay in registers, dq of the key tiles so far is a sum in scratch. Its warps do
// one thing each and hand tiles on by mbarriers, so that whoever waits leaves the tensor cores to the others:
//
//   loader, 1 warp          asks for tiles: two of keys and values, four stages of queries, dy and y ahead
//   helpers, 3 warps        what both score groups need of a tile of queries: delta = dy . y, log_sum_exp, the bits of
//                           dropout, zeros behind the sequence. Philox thus runs beside the products, once for 4 warps
//   score groups, 2 x 4     64 keys each: scores and gradients of probabilities, transposed, so that they are left
//                           factors of dv and dk as they stand in registers; ds goes to shared memory
//   dquery group, 4 warps   dq += ds k of a tile of queries, one or two tiles behind; its sum so far is copied from
//                           scratch a tile ahead
//
// Chosen by count from these, per 128 x 128 scores of 64 columns (2,560 cycles of tensor cores, 1,024 of exponentials):
//
//   cluster of 4 blocks     128 keys each, dq by distributed shared memory: 24 of 32 KiB go between multiprocessors, at
//                           15 bytes a cycle 1,600 cycles; the four go in step, and three idle where a sequence is
//                           short
//   dq in shared memory     128 KiB of 227 at 512 queries: no slot of keys ahead, 512 cycles more of shared memory, and
//                           scratch all the same where sequences are longer
//   dq in scratch (this)    48 KiB more between the multiprocessor and the second-level cache (80 in all, 15 bytes a
//                           cycle), asynchronous to the products
//
// Budget of a multiprocessor for 64 queries x 128 keys (5.2 MFLOP), in cycles: tensor cores 1,280; shared memory 1,300
// (wgmma's operands 128 KiB, ds 16, copies 16); exponentials 512; instructions of a scheduler 1,230, with dropout
// 1,780. Predicted of an H200 at 1.75 GHz, before any was measured: 2,500 cycles, with dropout 2,900, or 450 and 390
// TFLOP/s at 512; at 128 memory's limit of 344 to 85 %. docs/kernels.md has what was measured.
//
// Tested by tests/kernels/device/attention_test.cpp.
#include <algorithm>
#include <cmath>

#include "kernels/attention_backward_hopper.cuh"
#include "kernels/core/device_info.h"
#include "kernels/core/launch.h"
#include "kernels/device/vector4.h"

namespace cloze {

namespace {

using namespace attention;
using namespace attention::backward_hopper;

// ---- The loader: one lane starts all tensor copies.

/// All tiles of a head, in the order in which the others take them.
template <int kDim>
__device__ void load_head(const Tiles& tiles, const Arguments& a, const Head& head, KeyTurn& keys, StageTurn& stage) {
    constexpr int kWords = box_words(kDim), kBytes = box_bytes(kDim);
    const int hidden = static_cast<int>(a.packing.hidden);
    for (int key_tile = 0; key_tile * kKeys < head.length; ++key_tile, keys.next()) {
        const int boxes = key_boxes(head, key_tile);
        wait_for<Slots::keys_empty>(tiles, keys);
        const std::uint32_t keys_full = barrier_of<Slots::keys_full>(tiles, keys.slot());
        mbarrier_arrive_expect(keys_full, 2 * boxes * kBytes);
        for (int box = 0; box < boxes; ++box) {
            const int at = (2 * keys.slot() + box) * kWords, row = head.first_row + key_tile * kKeys + box * kBoxRows;
            tensor_copy(shared_address(tiles.keys + at), a.qkv, hidden + head.column, row, keys_full);
            tensor_copy(shared_address(tiles.values + at), a.qkv, 2 * hidden + head.column, row, keys_full);
        }
        const int last = head.last_query_tile(key_tile);
        for (int tile = head.first_query_tile(key_tile); tile <= last; ++tile, stage.next()) {
            const bool with_y = key_tile == head.first_key_tile(tile);
            const int at = stage.slot() * kWords, row = head.first_row + tile * kQueries;
            wait_for<Slots::stage_empty>(tiles, stage);
            const std::uint32_t full = barrier_of<Slots::stage_full>(tiles, stage.slot());
            mbarrier_arrive_expect(full, (with_y ? 3 : 2) * kBytes);
            tensor_copy(shared_address(tiles.queries + at), a.qkv, head.column, row, full);
            tensor_copy(shared_address(tiles.dout + at), a.dy, head.column, row, full);
            if (with_y) tensor_copy(shared_address(tiles.y + at), a.y, head.column, row, full);
        }
    }
}

/// A warp. Blocks take heads by turns, there and back, so that each has about as much to do.
template <int kDim>
__device__ void load(const Tiles& tiles, const Arguments& a) {
    KeyTurn keys;
    StageTurn stage;
    HeadTurn turn;
    LongestFirst<kKeys> order(a.packing);
    for (std::int64_t round = 0;; ++round, turn.next()) {
        const std::int64_t place = round % 2 == 0 ? block_x() : blocks_x() - 1 - block_x();
        const Head head = head_of<kKeys, kQueries>(a.packing, order, round * blocks_x() + place, kDim);
        if (lane_index() == 0) {
            wait_for<Slots::head_empty>(tiles, turn);
            tiles.heads[turn.slot()] = {head.sequence, head.head, head.length, head.first_row};
            mbarrier_arrive(barrier_of<Slots::head_full>(tiles, turn.slot()));
            load_head<kDim>(tiles, a, head, keys, stage);
        }
        warp_barrier();  // the others wait for the lane that loads
        if (head.length == 0) return;
    }
}

// ---- Helpers: what is made of a tile of queries once, for both score groups. Each warp takes every third tile.

/// Rows [first, end) of a tile become zero: what lies behind a sequence may be anything.
template <int kDim>
__device__ void clear_rows(std::uint32_t* tile, int first, int end) {
    const int lane = thread_index_here() % kWarpThreads;
    for (int i = first * kDim / 2 + lane; i < end * kDim / 2; i += kWarpThreads) tile[i] = 0;
}

/// dy[row] . y[row], of tiles.
template <int kDim>
__device__ float row_product(const std::uint32_t* dout, const std::uint32_t* y, int row) {
    float sum = 0;
#pragma unroll 2
    for (int piece = 0; piece < kDim / kPieceColumns; ++piece) {
        const int word = byte_of<kDim>(row, piece) / 4;
        const Floats8 left = load8(reinterpret_cast<const bf16*>(dout + word)),
                      right = load8(reinterpret_cast<const bf16*>(y + word));
#pragma unroll
        for (int c = 0; c < kPieceColumns; ++c) sum = fmaf(left[c], right[c], sum);
    }
    return sum;
}

/// Everything for a tile of queries and one of keys that needs no wgmma, by a warp; then the stage is ready.
/// A lane has rows `lane` and `lane` + 32.
template <int kDim, bool kDrops>
__device__ void prepare(const Tiles& tiles, const Arguments& a, const HeadTurn& turn, int query_tile, int key_tile,
                        const StageTurn& stage, const KeyTurn& keys) {
    const Head head = head_here<kDim>(tiles, a.packing, turn);
    const int first_query = query_tile * kQueries, queries = head.length - first_query;
    const std::int64_t at = head.head * a.packing.tokens + (head.first_row + first_query);
    const bool first_visit = key_tile == head.first_key_tile(query_tile);
    float log_sum_exp[kLaneRows], delta[kLaneRows];
    read_statistics(log_sum_exp, delta, a, at, queries, first_visit);
    if constexpr (kDrops) {
        draw_keep(tiles.keep + stage.slot() * kScoreGroups * kQueryBlocks * kWarpThreads, a, head, query_tile,
                  key_tile);
    }
    wait_for<Slots::stage_full>(tiles, stage);
    std::uint32_t* dout = tiles.dout + stage.slot() * box_words(kDim);
#pragma unroll
    for (int i = 0; i < kLaneRows; ++i) {
        const int row = i * kWarpThreads + thread_index_here() % kWarpThreads;
        if (first_visit && row < queries) {
            delta[i] = row_product<kDim>(dout, tiles.y + stage.slot() * box_words(kDim), row) * a.drop.keep_rate;
            a.delta[at + row] = delta[i];
        }
        tiles.log2_sum[stage.slot() * kQueries + row] =
            log_sum_exp[i] == -kInfinity ? kInfinity : log_sum_exp[i] * kLog2E;
        tiles.delta[stage.slot() * kQueries + row] = delta[i];
    }
    if (queries < kQueries) {
        warp_barrier();  // the lanes have read dy
        clear_rows<kDim>(tiles.queries + stage.slot() * box_words(kDim), queries, kQueries);
        clear_rows<kDim>(dout, queries, kQueries);
    }
    const int key_rows = head.length - key_tile * kKeys, loaded = key_boxes(head, key_tile) * kBoxRows;
    if (query_tile == head.first_query_tile(key_tile) && key_rows < loaded) {
        wait_for<Slots::keys_full>(tiles, keys);
        clear_rows<kDim>(tiles.keys + 2 * keys.slot() * box_words(kDim), key_rows, loaded);
        clear_rows<kDim>(tiles.values + 2 * keys.slot() * box_words(kDim), key_rows, loaded);
    }
    fence_async_shared();
    arrive_at<Slots::stage_ready>(tiles, stage);
}

template <int kDim, bool kDrops>
__device__ void help(const Tiles& tiles, const Arguments& a) {
    KeyTurn keys;
    StageTurn stage;
    for (HeadTurn turn; await_head(tiles, turn); turn.next()) {
        for (int key_tile = 0; key_tile < key_tiles(tiles, turn); ++key_tile, keys.next()) {
            const int last = head_here<kDim>(tiles, a.packing, turn).last_query_tile(key_tile);
            int tile = head_here<kDim>(tiles, a.packing, turn).first_query_tile(key_tile);
            for (; tile <= last; ++tile, stage.next()) {
                wait_for<Slots::stage_empty>(tiles, stage);
                if (helper_of(turn, tile) == thread_index_here() / kWarpThreads - 1) {
                    prepare<kDim, kDrops>(tiles, a, turn, tile, key_tile, stage, keys);
                }
                arrive_at<Slots::stage_empty>(tiles, stage);  // else phases could pass by unseen
            }
        }
        arrive_at<Slots::head_empty>(tiles, turn);
    }
}

// ---- The dquery group: dq of a tile of queries, over all keys of a tile.

/// Where a thread's part of dq of the key tiles so far lies: of rows r and r + 8, with r = 16 warp + lane / 4, elements
/// 8 i to 8 i + 7 of the sum side by side in fours. Each thread reads what it has written itself.
template <int kDim>
__device__ float* so_far_of(const Arguments& a, const Head& head, int first_query, int row) {
    const std::int64_t at = head.head * a.packing.tokens + (head.first_row + first_query + row);
    return a.dquery + at * kDim + 2 * lane_pair(thread_index_here());
}

/// Starts to copy them, a tile ahead: from the second-level cache, or memory, they come too late for the product
/// itself.
template <int kDim>
__device__ void start_so_far(const Tiles& tiles, const Arguments& a, const Head& head, int query_tile) {
    const int first_query = query_tile * kQueries;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
        const int row = first_row_of_thread() + 8 * half;
        const bool inside = first_query + row < head.length;
        const float* from = so_far_of<kDim>(a, head, first_query, inside ? row : 0);
#pragma unroll
        for (int i = 0; i < kDim / 16; ++i) {
            copy_async_16(shared_address(own_so_far(tiles, half * (kDim / 16) + i)), from + 16 * i, inside ? 16 : 0);
        }
    }
    commit_copies();
}

template <int kDim>
__device__ void load_so_far(float (&sum)[kDim / 2], const Tiles& tiles) {
    wait_for_copies<0>();
#pragma unroll
    for (int half = 0; half < 2; ++half) {
#pragma unroll
        for (int i = 0; i < kDim / 16; ++i) {
            const Floats4 x = load4(own_so_far(tiles, half * (kDim / 16) + i));
#pragma unroll
            for (int e = 0; e < 4; ++e) sum[8 * i + e / 2 * 4 + 2 * half + e % 2] = x[e];
        }
    }
}

template <int kDim>
__device__ void store_so_far(const float (&sum)[kDim / 2], const Arguments& a, const Head& head, int first_query) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
        const int row = first_row_of_thread() + 8 * half;
        if (first_query + row >= head.length) continue;
        float* to = so_far_of<kDim>(a, head, first_query, row);
#pragma unroll
        for (int i = 0; i < kDim / 16; ++i) {
            const int at = 8 * i + 2 * half;
            store4(to + 16 * i, Floats4{{sum[at], sum[at + 1], sum[at + 4], sum[at + 5]}});
        }
    }
}

/// sum += dscores [kQueries, keys] keys [keys, kDim].
template <int kDim>
__device__ void multiply_dscores(float (&sum)[kDim / 2], const Tiles& tiles, int score_slot, int key_slot, int boxes,
                                 bool accumulate) {
    wgmma_fence();
    for (int box = 0; box < boxes; ++box) {
        const MatrixDescriptor left =
            rows_descriptor<kGroupKeys>(tiles.dscores + (kScoreGroups * score_slot + box) * kPanelWords);
        const MatrixDescriptor right = rows_descriptor<kDim>(tiles.keys + (2 * key_slot + box) * box_words(kDim));
#pragma unroll
        for (int k = 0; k < kGroupKeys / 16; ++k) {
            wgmma_m64<kDim, true>(sum, advance(left, 32 * k), advance(right, 32 * kDim * k),
                                  accumulate || box > 0 || k > 0);
        }
    }
    wgmma_commit();
    wgmma_wait<0>();
    wgmma_hold(sum);
}

/// What a tile of keys adds to dq of a tile of queries, which is written after the last one.
template <int kDim>
__device__ void add_dqueries(float (&sum)[kDim / 2], const Tiles& tiles, const Arguments& a, const HeadTurn& turn,
                             int key_tile, int query_tile, const KeyTurn& keys, const ScoreTurn& scores) {
    const Head head = head_here<kDim>(tiles, a.packing, turn);
    const int first_query = query_tile * kQueries;
    const bool first_visit = key_tile == head.first_key_tile(query_tile);
    if (!first_visit) load_so_far<kDim>(sum, tiles);
    const int next = next_with_so_far(head, key_tile, query_tile);
    if (next >= 0 && next != query_tile) start_so_far<kDim>(tiles, a, head, next);
    wait_for<Slots::scores_full>(tiles, scores);
    multiply_dscores<kDim>(sum, tiles, scores.slot(), keys.slot(), key_boxes(head, key_tile), !first_visit);
    arrive_at<Slots::scores_empty>(tiles, scores);
    if (key_tile == head.last_key_tile(query_tile)) {
        const std::int64_t stride = 3 * a.packing.hidden;
        write_gradient<kDim>(a.dqkv + (head.first_row + first_query) * stride + head.column, stride,
                             head.length - first_query, tiles.gradients, sum, a.scale * a.drop.keep_scale);
    } else {
        store_so_far<kDim>(sum, a, head, first_query);
    }
    if (next == query_tile) start_so_far<kDim>(tiles, a, head, next);  // what has just been stored
}

template <int kDim>
__device__ void sum_dqueries(const Tiles& tiles, const Arguments& a) {
    KeyTurn keys;
    ScoreTurn scores;
    float sum[kDim / 2] = {};
    for (HeadTurn turn; await_head(tiles, turn); turn.next()) {
        for (int key_tile = 0; key_tile < key_tiles(tiles, turn); ++key_tile, keys.next()) {
            const int last = head_here<kDim>(tiles, a.packing, turn).last_query_tile(key_tile);
            int tile = head_here<kDim>(tiles, a.packing, turn).first_query_tile(key_tile);
            wait_for<Slots::keys_full>(tiles, keys);
            for (; tile <= last; ++tile, scores.next()) {
                add_dqueries<kDim>(sum, tiles, a, turn, key_tile, tile, keys, scores);
            }
            arrive_at<Slots::keys_empty>(tiles, keys);
        }
        arrive_at<Slots::head_empty>(tiles, turn);
    }
}

// ---- Score groups: 64 keys each. Scores and gradients of probabilities are transposed, [keys, queries], so that what
// is made of them is a left factor of dv and dk as it stands in registers.

template <int kDim>
struct Sums {
    float dkey[kDim / 2];
    float dvalue[kDim / 2];
};

/// product = rows [keys, kDim] times the transpose of rows [queries, kDim].
template <int kDim>
__device__ void start_row_products(Block& product, const std::uint32_t* keys, const std::uint32_t* queries) {
    const MatrixDescriptor left = rows_descriptor<kDim>(keys), right = rows_descriptor<kDim>(queries);
#pragma unroll
    for (int k = 0; k < kDim / 16; ++k) {
        wgmma_m64<kQueries, false>(product, advance(left, 32 * k), advance(right, 32 * k), k > 0);
    }
    wgmma_commit();
}

/// sum += left [keys, queries] rows [queries, kDim].
template <int kDim>
__device__ void start_products(float (&sum)[kDim / 2], const LeftFactor& left, const std::uint32_t* rows,
                               bool accumulate) {
    const MatrixDescriptor right = rows_descriptor<kDim>(rows);
    wgmma_fence();
#pragma unroll
    for (int k = 0; k < kQueries / 16; ++k) {
        wgmma_m64<kDim, true>(sum, left[k], advance(right, 32 * kDim * k), accumulate || k > 0);
    }
    wgmma_commit();
}

/// Starts the scores and the gradients of probabilities of the stage, as two groups of products.
template <int kDim>
__device__ void start_stage(Block& score, Block& gradient, const Tiles& tiles, const Turns& turns, int group) {
    const int key_at = (2 * turns.keys.slot() + group) * box_words(kDim), at = turns.stage.slot() * box_words(kDim);
    wait_for<Slots::stage_ready>(tiles, turns.stage);
    wait_for<Slots::stage_full>(tiles, turns.stage);
    wgmma_fence();
    start_row_products<kDim>(score, tiles.keys + key_at, tiles.queries + at);
    start_row_products<kDim>(gradient, tiles.values + key_at, tiles.dout + at);
}

template <int kDim, bool kDrops>
__device__ void pass_key_tile(Sums<kDim>& sums, const Tiles& tiles, const Arguments& a, const HeadTurn& turn,
                              int key_tile, Turns& turns, int group) {
    const int last_tile = head_here<kDim>(tiles, a.packing, turn).last_query_tile(key_tile);
    const int first_key = key_tile * kKeys + group * kGroupKeys;
    int tile = head_here<kDim>(tiles, a.packing, turn).first_query_tile(key_tile);
    Block score, gradient;
    start_stage<kDim>(score, gradient, tiles, turns, group);
    StageTurn before = turns.stage;
    for (bool first = true;; first = false, ++tile) {
        const int slot = turns.stage.slot(), first_query = tile * kQueries;
        wgmma_wait<1>();  // all but the gradients of probabilities
        wgmma_hold(score);
        if (!first) arrive_at<Slots::stage_empty>(tiles, before);
        const Head head = head_here<kDim>(tiles, a.packing, turn);
        if (!head.sight.all(first_query, kQueries, first_key, kGroupKeys, head.length)) {
            hide(score, head, first_query, first_key);
        }
        LeftFactor dropped, dscore;
        exponentiate<kDrops>(score, dropped, tiles.log2_sum + slot * kQueries, a.log2_scale,
                             tiles.keep + (slot * kScoreGroups + group) * kQueryBlocks * kWarpThreads);
        start_products<kDim>(sums.dvalue, dropped, tiles.dout + slot * box_words(kDim), !first);
        wgmma_wait<1>();  // all but those
        wgmma_hold(gradient);
        differentiate<kDrops>(dscore, score, gradient, tiles.delta + slot * kQueries);
        start_products<kDim>(sums.dkey, dscore, tiles.queries + slot * box_words(kDim), !first);
        wait_for<Slots::scores_empty>(tiles, turns.scores);
        store_dscores(tiles.dscores + (kScoreGroups * turns.scores.slot() + group) * kPanelWords, dscore);
        fence_async_shared();
        arrive_at<Slots::scores_full>(tiles, turns.scores);
        turns.scores.next();
        before = turns.stage;
        turns.stage.next();
        if (tile == last_tile) break;
        start_stage<kDim>(score, gradient, tiles, turns, group);
    }
    wgmma_wait<0>();
    wgmma_hold(sums.dvalue);
    wgmma_hold(sums.dkey);
    arrive_at<Slots::stage_empty>(tiles, before);
}

/// dk and dv of a group's keys, through its values, which are not needed any more.
template <int kDim>
__device__ void write_sums(const Sums<kDim>& sums, std::uint32_t* tile, const Arguments& a, const Head& head,
                           int first_key) {
    const std::int64_t hidden = a.packing.hidden;
    bf16* dkey = a.dqkv + (head.first_row + first_key) * 3 * hidden + hidden + head.column;
    const int rows = head.length - first_key;
    write_gradient<kDim>(dkey + hidden, 3 * hidden, rows, tile, sums.dvalue, a.drop.keep_scale);
    write_gradient<kDim>(dkey, 3 * hidden, rows, tile, sums.dkey, a.scale * a.drop.keep_scale);
}

template <int kDim, bool kDrops>
__device__ void sum_keys(const Tiles& tiles, const Arguments& a, int group) {
    Turns turns;
    Sums<kDim> sums = {};
    for (HeadTurn turn; await_head(tiles, turn); turn.next()) {
        for (int key_tile = 0; key_tile < key_tiles(tiles, turn); ++key_tile) {
            wait_for<Slots::keys_full>(tiles, turns.keys);
            const bool any = group < key_boxes(head_here<kDim>(tiles, a.packing, turn), key_tile);
            if (any) {
                pass_key_tile<kDim, kDrops>(sums, tiles, a, turn, key_tile, turns, group);
            } else {
                skip_key_tile(tiles, head_here<kDim>(tiles, a.packing, turn), key_tile, turns);
            }
            if (any) {
                named_barrier_wait(1 + group, kGroupThreads);  // all of the group have multiplied by its values
                write_sums<kDim>(sums, tiles.values + (2 * turns.keys.slot() + group) * box_words(kDim), a,
                                 head_here<kDim>(tiles, a.packing, turn), key_tile * kKeys + group * kGroupKeys);
                fence_async_shared();
            }
            arrive_at<Slots::keys_empty>(tiles, turns.keys);
            turns.keys.next();
        }
        arrive_at<Slots::head_empty>(tiles, turn);
    }
}

template <int kDim, bool kDrops>
__global__ void __launch_bounds__(kThreads, 1) backward_kernel(const __grid_constant__ Arguments a) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL) || defined(CLOZE_EMULATED)
    const Packing& packing = a.packing;
    clear_outside(packing, block_x(), blocks_x(),
                  [&](std::int64_t row) { clear_row(a.dqkv + row * 3 * packing.hidden, 3 * packing.hidden); });
    const Tiles tiles = take_tiles<kDim>();
    if (thread_index() == 0) make_barriers(tiles);
    block_barrier();  // the barriers are there for all
    const int group = warp_index() / kGroupWarps;
    if (group == 0) {
        lower_registers<kHelperRegisters>();
        if (warp_index() == 0) {
            load<kDim>(tiles, a);
        } else {
            help<kDim, kDrops>(tiles, a);
        }
    } else if (group == kDqueryGroup) {
        lower_registers<kDqueryRegisters>();
        sum_dqueries<kDim>(tiles, a);
    } else {
        raise_registers<kScoreRegisters>();
        sum_keys<kDim, kDrops>(tiles, a, group - kFirstScoreGroup);
    }
#endif
}

template <int kDim, bool kDrops>
void start(const AttentionBackward& a, Stream stream) {
    const std::int64_t tokens = a.y.rows, sequences = a.offset.cols - 1;
    const double scale = 1 / std::sqrt(static_cast<double>(kDim));
    const std::int64_t blocks = current_device().multiprocessors;
    launch("attention_backward", backward_kernel<kDim, kDrops>,
           {.grid = {.x = std::clamp<std::int64_t>(sequences * a.heads, 1, blocks)},
            .threads = kThreads,
            .shared_bytes = shared_bytes(kDim)},
           stream,
           Arguments{.qkv = tensor_map(a.qkv, kBoxRows, kDim),
                     .dy = tensor_map(a.dy, kBoxRows, kDim),
                     .y = tensor_map(a.y, kBoxRows, kDim),
                     .dqkv = a.dqkv.data<bf16>(),
                     .dquery = a.scratch.data<float>(),
                     .delta = a.scratch.data<float>() + tokens * a.y.cols,
                     .log_sum_exp = a.log_sum_exp.data<float>(),
                     .packing = packing_of(a.y, a.offset, a.heads, a.visible),
                     .log2_scale = static_cast<float>(1.4426950408889634 * scale),
                     .scale = static_cast<float>(scale),
                     .drop = drop_arguments(a.dropout)});
}

}  // namespace

namespace device_code::hopper {

void attention_backward(const AttentionBackward& a, Stream stream) {
    if (a.y.rows == 0) return;
    attention::visit_head(a.y.cols / a.heads, a.dropout,
                          [&]<int kDim, bool kDrops>() { start<kDim, kDrops>(a, stream); });
}

}  // namespace device_code::hopper

}  // namespace cloze
