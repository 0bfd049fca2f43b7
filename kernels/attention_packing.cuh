// Where packed sequences lie on a device, which block takes what of them, and which keys a query sees. The host knows
// capacities only: blocks find their work in the offsets.
//
// Tested by tests/kernels/device/attention_test.cpp.
#pragma once

#include "kernels/attention.h"
#include "kernels/device/vector.h"
#include "kernels/device/warp.h"

namespace cloze::attention {

/// Keys [first, end) that a query sees; empty where end <= first.
struct KeyRange {
    int first, end;
};

/// A Visible in numbers, so that bounds are selected without branches.
struct Sight {
    bool only_past;
    bool only_future;
    int strict;  // 1: not the query's own key

    __device__ KeyRange keys(int query, int length) const {
        return {only_future ? query + strict : 0, only_past ? query + 1 - strict : length};
    }
    /// Whether each of `queries` queries from `query` on sees each of `keys` keys from `key` on.
    __device__ bool all(int query, int queries, int key, int keys, int length) const {
        const bool past = !only_past || key + keys <= query, future = !only_future || key >= query + queries;
        return key + keys <= length && past && future;
    }
};

inline Sight sight_of(Visible visible) {
    const bool strict = visible == Visible::strict_past || visible == Visible::strict_future;
    return {visible == Visible::past || visible == Visible::strict_past,
            visible == Visible::future || visible == Visible::strict_future, strict ? 1 : 0};
}

struct Packing {
    const std::int32_t* offset;  // [sequences + 1]
    std::int32_t sequences;      // of the capacity: unused ones are empty
    std::int32_t heads;
    std::int64_t tokens;
    std::int64_t hidden;
    Sight sight;
};

inline Packing packing_of(const Tensor& y, const Tensor& offset, std::int64_t heads, Visible visible) {
    return {.offset = offset.data<std::int32_t>(),
            .sequences = static_cast<std::int32_t>(offset.cols - 1),
            .heads = static_cast<std::int32_t>(heads),
            .tokens = y.rows,
            .hidden = y.cols,
            .sight = sight_of(visible)};
}

/// Rows outside every sequence, shared out over the blocks: clear(row).
template <typename Clear>
__device__ void clear_outside(const Packing& packing, std::int64_t block, std::int64_t blocks, const Clear& clear) {
    const std::int64_t before = packing.offset[0], end = packing.offset[packing.sequences];
    const std::int64_t outside = before + packing.tokens - end;
    for (std::int64_t i = block; i < outside; i += blocks) clear(i < before ? i : end + i - before);
}

__device__ inline void clear_row(bf16* row, std::int64_t cols) {
    for (std::int64_t c = thread_index() * 8; c < cols; c += threads_per_block() * 8) store8(row + c, Floats8{});
}

/// Calls body.operator()<kDim, kDrops>() with the columns of a head, 64 or 32, and whether dropout takes anything.
template <typename Body>
void visit_head(std::int64_t head_dim, const AttentionDropout& dropout, const Body& body) {
    const bool drops = attention_dropout_rate(dropout.probability).threshold != 0;
    if (head_dim == 64) {
        drops ? body.template operator()<64, true>() : body.template operator()<64, false>();
    } else {
        drops ? body.template operator()<32, true>() : body.template operator()<32, false>();
    }
}

struct Sequence {
    std::int32_t index;
    std::int32_t first_row;  // of qkv
    std::int32_t length;
};

/// A block's share: up to kRows queries of a head of a sequence.
struct Share {
    Sequence sequence;
    int head;
    int first_query;
    __device__ bool empty() const { return first_query >= sequence.length; }
};

template <int kRows>
__device__ inline int first_slot_of(const Packing& packing, int sequence) {
    return packing.offset[sequence] / kRows + sequence;
}

/// Sequence b has the slots from offset[b] / kRows + b on. They suffice: until those of b + 1 begin there are at
/// least length / kRows + 1, rounded down. So a warp finds its share by looking at 32 sequences at a time, without
/// the host's knowing lengths. Some slots stay empty.
template <int kRows>
__device__ inline Share share_of(const Packing& packing, std::int64_t block) {
    // Below 2^31, so that the division is short.
    const int slot = static_cast<int>(block) / packing.heads, head = static_cast<int>(block) % packing.heads;
    int sequence = 0, count = packing.sequences;  // the last one whose slots begin by then is among these
    while (count > 1) {
        const int step = (count + kWarpThreads - 1) / kWarpThreads, sample = lane_index() * step;
        const bool begun = sample < count && first_slot_of<kRows>(packing, sequence + sample) <= slot;
        const int last = count_votes(warp_ballot(begun)) - 1;
        if (last < 0) return {};
        sequence += last * step;
        count = count - last * step < step ? count - last * step : step;
    }
    if (count == 0 || first_slot_of<kRows>(packing, sequence) > slot) return {};
    const int first_row = packing.offset[sequence], length = packing.offset[sequence + 1] - first_row;
    return {{sequence, first_row, length}, head, (slot - first_slot_of<kRows>(packing, sequence)) * kRows};
}

template <int kRows>
__device__ inline int tiles_of(const Packing& packing, int sequence) {
    if (sequence >= packing.sequences) return 0;
    return (packing.offset[sequence + 1] - packing.offset[sequence] + kRows - 1) / kRows;
}

/// The sequences in turn, those of more tiles first, for a warp that asks for rising ranks. A block takes as long as
/// its sequence, and the longest must not be left for the end.
template <int kRows>
class LongestFirst {
public:
    __device__ explicit LongestFirst(const Packing& packing) {
        int most = 0;
        for (int first = 0; first < packing.sequences; first += kWarpThreads) {
            const int here = tiles_of<kRows>(packing, first + lane_index());
            most = here > most ? here : most;
        }
        tiles_ = warp_max(most);
    }

    /// The sequence that comes `rank`-th; -1 for those that are empty. No rank may be below an earlier one.
    __device__ int nth(const Packing& packing, int rank) {
        while (tiles_ > 0) {
            for (; first_ < packing.sequences; first_ += kWarpThreads) {
                const int here = tiles_of<kRows>(packing, first_ + lane_index());
                if (here < tiles_ && here > next_) next_ = here;
                const std::uint32_t votes = warp_ballot(here == tiles_);
                const int count = count_votes(votes), among = rank - passed_;
                if (among < count) {
                    const bool chosen = here == tiles_ && count_votes(votes & ((1u << lane_index()) - 1)) == among;
                    return warp_max(chosen ? first_ + lane_index() : -1);
                }
                passed_ += count;
            }
            tiles_ = warp_max(next_);
            next_ = first_ = 0;
        }
        return -1;
    }

private:
    int tiles_;       // of the sequences that come now
    int next_ = 0;    // the most tiles of shorter ones, of those this lane has seen
    int first_ = 0;   // of the 32 sequences that come now
    int passed_ = 0;  // how many came before these
};

/// A head of a sequence, and which of its tiles of kKeys keys and kQueries queries meet. Addresses are computed from
/// these few numbers where they are used, since kept they would fill registers.
template <int kKeys, int kQueries>
struct HeadOfSequence {
    int sequence;
    int head;
    int length;
    int first_row;
    int column;  // of y
    Sight sight;

    __device__ int first_query_tile(int key_tile) const { return sight.only_past ? key_tile * kKeys / kQueries : 0; }
    __device__ int last_query_tile(int key_tile) const {
        const int last_key = key_tile * kKeys + kKeys - 1;
        return (sight.only_future && last_key < length ? last_key : length - 1) / kQueries;
    }
    __device__ int first_key_tile(int query_tile) const {
        return sight.only_future ? query_tile * kQueries / kKeys : 0;
    }
    __device__ int last_key_tile(int query_tile) const {
        const int last_query = query_tile * kQueries + kQueries - 1;
        return (sight.only_past && last_query < length ? last_query : length - 1) / kKeys;
    }
};

/// Head `index` of the heads of all sequences, those of longer sequences first; of no rows behind the last one.
template <int kKeys, int kQueries>
__device__ inline HeadOfSequence<kKeys, kQueries> head_of(const Packing& packing, LongestFirst<kKeys>& order,
                                                          std::int64_t index, int head_dim) {
    const int head = static_cast<int>(index % packing.heads);
    const int sequence = order.nth(packing, static_cast<int>(index / packing.heads));
    if (sequence < 0) return {};
    const int row = packing.offset[sequence];
    return {sequence, head, packing.offset[sequence + 1] - row, row, head * head_dim, packing.sight};
}

}  // namespace cloze::attention
