// How device code shares out flat buffers that are cut into segments (kernels/norm.h): block b takes kSegmentChunk
// elements from b * kSegmentChunk on, whatever lies there, and finds the segments it meets by bisection in the table,
// which lies on the device. So the host knows no more of the table than its length, nobody makes, keeps or copies a
// plan, and no block waits for another. Bisection among 400 segments is nine loads, from the caches after the first
// block of a multiprocessor, beside 64 KB of each f32 tensor.
//
// What a chunk has of a segment is a piece. A thread moves the same elements of the chunk whatever the pieces are: four
// neighbours a step. So the order of a piece's sum is fixed by the table, and four neighbours that two segments share
// are one thread's, for one piece after the other: no race, and no element is touched that is not the piece's. Pieces
// of one chunk follow each other, each at the cost of a trip to memory; a model has few chunks of several tensors.
//
// Tested by tests/kernels/device/norm_test.cpp and tests/kernels/device/optimizer_update_test.cpp.
#pragma once

#include "kernels/core/launch.h"
#include "kernels/device/double_sum.h"
#include "kernels/device/vector4.h"
#include "kernels/norm.h"

namespace cloze {

inline constexpr int kSegmentThreads = 256;
inline constexpr int kQuad = 4;                                        // elements of a thread's step
inline constexpr std::int64_t kSegmentStep = kSegmentThreads * kQuad;  // of the block's

/// On the device; `segment` is not read where there are none.
struct SegmentTable {
    const Segment* segment;
    std::int64_t count;
};

struct Piece {
    std::int64_t first, end;  // elements of the flat buffers
    std::int64_t segment;     // row of the table
    std::int64_t slot;        // of its partial sums, see segment_slots()
    bool decay;
};

/// The first segment that ends behind `element`; the number of segments if none does.
__device__ inline std::int64_t first_segment_behind(SegmentTable table, std::int64_t element) {
    std::int64_t low = 0, high = table.count;
    while (low < high) {
        const std::int64_t middle = (low + high) / 2;
        const Segment& segment = table.segment[middle];
        if (segment.offset + segment.count > element) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    return low;
}

/// Calls body(piece) for the pieces of this block's chunk, in ascending order; all threads call it for all of them.
template <typename Body>
__device__ void for_pieces(SegmentTable table, const Body& body) {
    const std::int64_t chunk_first = block_x() * kSegmentChunk, chunk_end = chunk_first + kSegmentChunk;
    for (std::int64_t i = first_segment_behind(table, chunk_first); i < table.count; ++i) {
        const Segment& segment = table.segment[i];
        const std::int64_t first = segment.offset, end = segment.offset + segment.count;
        if (first >= chunk_end) return;
        if (first == end) continue;
        body(Piece{.first = first < chunk_first ? chunk_first : first,
                   .end = end < chunk_end ? end : chunk_end,
                   .segment = i,
                   .slot = block_x() + i,
                   .decay = segment.decay != 0});
    }
}

/// Four elements that are the piece's.
struct WholeQuad {
    __device__ static constexpr bool has(int) { return true; }
};

/// Which of the four elements from `at` on are the piece's: [low, high), none where that is empty.
struct PartialQuad {
    int low, high;

    __device__ PartialQuad(const Piece& piece, std::int64_t at)
        : low(at >= piece.first ? 0 : static_cast<int>(piece.first - at < kQuad ? piece.first - at : kQuad)),
          high(at + kQuad <= piece.end ? kQuad : static_cast<int>(piece.end > at ? piece.end - at : 0)) {}
    __device__ bool whole() const { return low == 0 && high == kQuad; }
    __device__ bool has(int i) const { return low <= i && i < high; }
};

template <typename T>
__device__ Floats4 load_quad(const T* from, WholeQuad) {
    return load4(from, Cache::stream);
}

/// Zero where the elements are not the piece's.
template <typename T>
__device__ Floats4 load_quad(const T* from, PartialQuad quad) {
    if (quad.whole()) return load4(from, Cache::stream);
    Floats4 x = {};
#pragma unroll
    for (int i = 0; i < kQuad; ++i) {
        if (quad.has(i)) x[i] = static_cast<float>(from[i]);
    }
    return x;
}

template <typename T>
__device__ void store_quad(T* to, const Floats4& x, WholeQuad) {
    store4(to, x, Cache::stream);
}

template <typename T>
__device__ void store_quad(T* to, const Floats4& x, PartialQuad quad) {
    if (quad.whole()) return store4(to, x, Cache::stream);
#pragma unroll
    for (int i = 0; i < kQuad; ++i) {
        if (quad.has(i)) to[i] = static_cast<T>(x[i]);
    }
}

/// Calls body(first, quad_at) until the piece is through, for kSteps quads of this thread at a time: they start at
/// first, first + kSegmentStep and so on, and quad_at(start) says what of one is the piece's. Where all that the block
/// moves at a time is, the type says so, and nothing stands between the loads.
template <int kSteps, typename Body>
__device__ void for_steps(const Piece& piece, const Body& body) {
    constexpr std::int64_t kBlockElements = kSteps * kSegmentStep;
    static_assert(kSegmentChunk % kBlockElements == 0, "the steps of a chunk end with it");
    for (std::int64_t at = piece.first / kBlockElements * kBlockElements; at < piece.end; at += kBlockElements) {
        const std::int64_t first = at + thread_index() * kQuad;
        if (piece.first <= at && at + kBlockElements <= piece.end) {
            body(first, [](std::int64_t) { return WholeQuad{}; });
        } else {
            body(first, [&](std::int64_t start) { return PartialQuad(piece, start); });
        }
    }
}

/// x[first] + x[first + stride] + ... below end, added in this order. The loads do not wait for each other.
__device__ inline double strided_sum(const double* x, std::int64_t first, std::int64_t end, std::int64_t stride) {
    constexpr int kInFlight = 8;
    double sum = 0;
    for (; first < end; first += kInFlight * stride) {
        double value[kInFlight];
#pragma unroll
        for (int i = 0; i < kInFlight; ++i) value[i] = first + i * stride < end ? x[first + i * stride] : 0.0;
#pragma unroll
        for (int i = 0; i < kInFlight; ++i) sum += value[i];
    }
    return sum;
}

/// Sum of the partial sums of segment i, in every lane. Whole warps call.
__device__ inline double segment_sum(const double* partial, SegmentTable table, std::int64_t i) {
    const std::int64_t first = table.segment[i].offset, count = table.segment[i].count;
    const std::int64_t first_slot = first / kSegmentChunk + i;
    const std::int64_t end_slot = count == 0 ? first_slot : (first + count - 1) / kSegmentChunk + i + 1;
    return warp_sum(strided_sum(partial, first_slot + lane_index(), end_slot, kWarpThreads));
}

/// A block a chunk.
inline LaunchShape segment_launch(std::int64_t elements, int shared_bytes = 0) {
    return {
        .grid = {.x = divide_up(elements, kSegmentChunk)}, .threads = kSegmentThreads, .shared_bytes = shared_bytes};
}

}  // namespace cloze
