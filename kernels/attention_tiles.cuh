// What attention's two directions share in arithmetic: tiles of bf16 in shared memory, products of a warp from their
// fragments (kernels/device/mma.h), and what dropout keeps.
//
// Tested by tests/kernels/device/attention_test.cpp.
#pragma once

#include "kernels/attention.h"
#include "kernels/device/block.h"
#include "kernels/device/bytes.h"
#include "kernels/device/copy_async.h"
#include "kernels/device/matrix.h"
#include "kernels/device/mma.h"
#include "kernels/device/shared.h"
#include "kernels/device/vector.h"

namespace cloze::attention {

inline constexpr int kPieceColumns = 8;     // 16 bytes of a row, which one lane copies and addresses
inline constexpr int kDropoutQueries = 16;  // rows of a block of kernels/core/dropout.h
inline constexpr int kDropoutKeys = 64;     // its columns
inline constexpr float kInfinity = __builtin_inff();
inline constexpr float kLog2E = 1.44269504f;
inline constexpr float kLn2 = 0.693147181f;

// ---- Tiles: rows of kColumns bf16, 32 or 64, in words of two. The pieces of a row are permuted within 128 bytes, so
// that eight rows at one piece lie in different banks, and so do the pieces of a row: ldmatrix, the copies and the
// stores of fragments meet no conflict.

/// Which permutation row `row` has; rows 8 apart have the same.
template <int kColumns>
__device__ inline int swizzle_of(int row) {
    constexpr int kPieces = kColumns / kPieceColumns;
    static_assert(kPieces == 4 || kPieces == 8, "a row is 64 or 128 bytes");
    return row * kPieces / 8 % kPieces;
}

/// Byte of piece `piece` of row `row`.
template <int kColumns>
__device__ inline int byte_of(int row, int piece) {
    constexpr int kPieces = kColumns / kPieceColumns;
    return (row * kPieces + (piece ^ swizzle_of<kColumns>(row))) * 16;
}

/// Rows of a matrix of bf16: from `row` and `column` on.
struct Source {
    const bf16* matrix;
    std::int64_t stride;
    int row;
    int column;
    __device__ const bf16* at(int r, int c) const { return matrix + (row + r) * stride + (column + c); }
};

/// Starts to copy kRows rows; those from `rows` (at least 1) on become zero.
template <int kColumns, int kRows, int kThreads>
__device__ inline void start_rows(std::uint32_t* tile, const Source& source, int rows) {
    constexpr int kPieces = kColumns / kPieceColumns;
    static_assert(kRows * kPieces % kThreads == 0, "every thread copies as many pieces");
    const std::uint32_t address = shared_address(tile);
    const int thread = thread_index_here();
#pragma unroll
    for (int i = 0; i < kRows * kPieces / kThreads; ++i) {
        const int index = i * kThreads + thread;
        const int row = index / kPieces, piece = index % kPieces;
        const bool inside = row < rows;
        copy_async_16(address + static_cast<std::uint32_t>(byte_of<kColumns>(row, piece)),
                      source.at(inside ? row : 0, piece * kPieceColumns), inside ? 16 : 0);
    }
}

// Four tiles of 8 x 8 make a fragment of 16 x 16. With rows first, lanes 8 to 15 address the lower rows; with pieces
// first, the next piece. `row` is a multiple of 8, `piece` of 2.

template <int kColumns>
__device__ inline std::uint32_t address_rows_first(const std::uint32_t* tile, int row, int piece, int lane) {
    const int lane_row = lane % 16, lane_piece = lane / 16 ^ swizzle_of<kColumns>(lane_row);
    return shared_address(tile) +
           static_cast<std::uint32_t>((row + lane_row) * kColumns * 2 + (piece ^ lane_piece) * 16);
}

template <int kColumns>
__device__ inline std::uint32_t address_pieces_first(const std::uint32_t* tile, int row, int piece, int lane) {
    const int lane_row = lane / 16 * 8 + lane % 8, lane_piece = lane / 8 % 2 ^ swizzle_of<kColumns>(lane_row);
    return shared_address(tile) +
           static_cast<std::uint32_t>((row + lane_row) * kColumns * 2 + (piece ^ lane_piece) * 16);
}

/// Left factor [16, 16] = tile[row + i][8 piece + k].
template <int kColumns>
__device__ inline void load_left(std::uint32_t (&word)[4], const std::uint32_t* tile, int row, int piece, int lane) {
    load_matrix<Transposed::no>(word, address_rows_first<kColumns>(tile, row, piece, lane));
}

/// Left factor [16, 16] = tile[row + k][8 piece + i].
template <int kColumns>
__device__ inline void load_left_transposed(std::uint32_t (&word)[4], const std::uint32_t* tile, int row, int piece,
                                            int lane) {
    load_matrix<Transposed::yes>(word, address_pieces_first<kColumns>(tile, row, piece, lane));
}

/// Right factor [16, 16] = tile[row + k][8 piece + j], for add_product().
template <int kColumns>
__device__ inline void load_right(std::uint32_t (&word)[4], const std::uint32_t* tile, int row, int piece, int lane) {
    load_matrix<Transposed::yes>(word, address_rows_first<kColumns>(tile, row, piece, lane));
}

/// Right factor [16, 16] = tile[row + j][8 piece + k], for add_product().
template <int kColumns>
__device__ inline void load_right_transposed(std::uint32_t (&word)[4], const std::uint32_t* tile, int row, int piece,
                                             int lane) {
    load_matrix<Transposed::no>(word, address_pieces_first<kColumns>(tile, row, piece, lane));
}

/// sum[0], sum[1], side by side, += left [16, 16] right [16, 16].
__device__ inline void add_product(float (*sum)[4], const std::uint32_t (&left)[4], const std::uint32_t (&right)[4],
                                   Site site = Site::here()) {
    const std::uint32_t low[2] = {right[0], right[1]}, high[2] = {right[2], right[3]};
    mma_m16n8k16(sum[0], left, low, site);
    mma_m16n8k16(sum[1], left, high, site);
}

// Products of a warp. sum[m][n][i] is tile n of 16 x 8 in the m-th 16 rows. Row of element i, besides 16 m: lane / 4 +
// 8 (i / 2); column, besides 8 n: 2 (lane % 4) + i % 2. left[m][k] is the left factor of rows 16 m and terms 16 k on.

/// held[k][m]: left factors of rows [row, row + 16 kM) of a tile and its columns 16 k on.
template <int kColumns, int kHeld, int kM>
__device__ inline void hold_rows(std::uint32_t (&held)[kHeld][kM][4], const std::uint32_t* tile, int row) {
    const int lane = thread_index_here() % kWarpThreads;
#pragma unroll
    for (int k = 0; k < kHeld; ++k) {
#pragma unroll
        for (int m = 0; m < kM; ++m) load_left<kColumns>(held[k][m], tile, row + 16 * m, 2 * k, lane);
    }
}

/// product += rows [left_row, left_row + 16 kM) of `left` times the transpose of rows [right_row, right_row + 8 kN) of
/// `right`. The first kHeld left factors are in `held`.
template <int kColumns, int kHeld, int kM, int kN>
__device__ inline void add_row_products(float (&product)[kM][kN][4], const std::uint32_t (*held)[kM][4],
                                        const std::uint32_t* left, int left_row, const std::uint32_t* right,
                                        int right_row) {
    const int lane = thread_index_here() % kWarpThreads;
#pragma unroll
    for (int k = 0; k < kColumns / 16; ++k) {
        std::uint32_t a[kM][4];
#pragma unroll
        for (int m = 0; m < kM; ++m) {
            if (k >= kHeld) load_left<kColumns>(a[m], left, left_row + 16 * m, 2 * k, lane);
#pragma unroll
            for (int i = 0; k < kHeld && i < 4; ++i) a[m][i] = held[k][m][i];
        }
#pragma unroll
        for (int n = 0; n < kN / 2; ++n) {
            std::uint32_t b[4];
            load_right_transposed<kColumns>(b, right, right_row + 16 * n, 2 * k, lane);
#pragma unroll
            for (int m = 0; m < kM; ++m) add_product(&product[m][2 * n], a[m], b);
        }
    }
}

/// sum += left times rows [row, row + 16 kK) and the columns from 8 piece on of `right`.
template <int kColumns, int kM, int kK, int kN>
__device__ inline void add_products(float (&sum)[kM][kN][4], const std::uint32_t (&left)[kM][kK][4],
                                    const std::uint32_t* right, int row, int piece = 0) {
    const int lane = thread_index_here() % kWarpThreads;
#pragma unroll
    for (int k = 0; k < kK; ++k) {
#pragma unroll
        for (int n = 0; n < kN / 2; ++n) {
            std::uint32_t b[4];
            load_right<kColumns>(b, right, row + 16 * k, piece + 2 * n, lane);
#pragma unroll
            for (int m = 0; m < kM; ++m) add_product(&sum[m][2 * n], left[m][k], b);
        }
    }
}

__device__ inline int lane_group(int thread = thread_index()) {
    return thread % kWarpThreads / 4;
}
__device__ inline int lane_pair(int thread = thread_index()) {
    return thread % 4 * 2;
}

/// factor * sum, rounded, goes to rows [row, row + 16 kM) and the columns from 8 piece on of a tile.
template <int kColumns, int kM, int kN>
__device__ inline void store_rounded(std::uint32_t* tile, int row, int piece, const float (&sum)[kM][kN][4],
                                     const float (&factor)[kM][2]) {
    const int thread = thread_index_here();
#pragma unroll
    for (int m = 0; m < kM; ++m) {
#pragma unroll
        for (int half = 0; half < 2; ++half) {
            const int to_row = row + 16 * m + 8 * half + lane_group(thread);
#pragma unroll
            for (int n = 0; n < kN; ++n) {
                tile[(byte_of<kColumns>(to_row, piece + n) + 2 * lane_pair(thread)) / 4] =
                    pack_bf16(sum[m][n][2 * half] * factor[m][half], sum[m][n][2 * half + 1] * factor[m][half]);
            }
        }
    }
}

/// The j-th row of a tile that a warp takes. Where it takes half of the pieces of each, eight lanes take rows 4 apart,
/// which share no bank.
template <int kColumns, int kPieces>
__device__ inline int nth_row(int j) {
    constexpr int kRowPieces = kColumns / kPieceColumns;
    static_assert(kPieces == kRowPieces || kPieces == kRowPieces / 2, "all pieces or half of them");
    if constexpr (kPieces == kRowPieces) {
        return j;
    } else if constexpr (kPieces == 4) {
        return j / 8 * 8 + j % 2 * 4 + j % 8 / 2;
    } else {
        return j / 8 * 8 + j % 2 + j % 4 / 2 * 4 + j % 8 / 4 * 2;
    }
}

/// A warp writes kPieces pieces from `piece` on of kRows rows from `row` on to memory, where row r of the tile goes to
/// destination + r * stride, if r < rows.
template <int kColumns, int kRows, int kPieces>
__device__ inline void write_rows(bf16* destination, std::int64_t stride, int rows, const std::uint32_t* tile, int row,
                                  int piece) {
    const int lane = thread_index_here() % kWarpThreads;
#pragma unroll
    for (int i = 0; i < kRows * kPieces / kWarpThreads; ++i) {
        const int index = i * kWarpThreads + lane;
        const int from_row = row + nth_row<kColumns, kPieces>(index / kPieces), from_piece = piece + index % kPieces;
        if (from_row < rows) {
            copy_16(destination + from_row * stride + from_piece * kPieceColumns,
                    tile + byte_of<kColumns>(from_row, from_piece) / 4);
        }
    }
}

// ---- Dropout.

/// What a kernel takes of an AttentionDropout.
struct DropArguments {
    ByteThreshold threshold;
    float keep_scale = 1;
    float keep_rate = 1;  // 1 / keep_scale, exactly
    std::uint32_t layer = 0;
    const StepState* state = nullptr;
    const std::uint64_t* sample = nullptr;
};

inline DropArguments drop_arguments(const AttentionDropout& dropout) {
    const DropoutRate rate = attention_dropout_rate(dropout.probability);
    if (rate.threshold == 0) return {};
    return {.threshold = byte_threshold(rate.threshold),
            .keep_scale = static_cast<float>(rate.keep_scale()),
            .keep_rate = static_cast<float>(rate.steps - rate.threshold) / static_cast<float>(rate.steps),
            .layer = static_cast<std::uint32_t>(dropout.layer),
            .state = dropout.state,
            .sample = dropout.sequence_sample.data<std::uint64_t>()};
}

/// Where kernels/core/dropout.h has the 16 probabilities with these residues. Byte `octet` % 4 of word 2 * (query half)
/// + octet / 4 is for key octet `octet`. Key and sample are read where they are used: kept, with ten round keys that
/// the compiler makes of them, they would fill registers.
__device__ inline PhiloxBits drop_bits(const DropArguments& a, int sequence, int head, int query_block, int key_block,
                                       int query_mod8, int key_mod8) {
    const DropoutKey key{a.state->dropout_key, a.layer, DropoutSite::attention_probabilities};
    return attention_dropout_bits(key, a.sample[sequence], static_cast<std::uint32_t>(head),
                                  static_cast<std::uint32_t>(query_block), static_cast<std::uint32_t>(key_block),
                                  static_cast<std::uint32_t>(query_mod8), static_cast<std::uint32_t>(key_mod8));
}

/// All bits of the low half set where byte `byte` of `low` is kept, of the high half where that of `high` is; both are
/// what bytes_at_least() gave.
__device__ inline std::uint32_t keep_pair(std::uint32_t low, std::uint32_t high, int byte) {
    return permute_bytes(low, high, 0xcc88u + 0x1111u * static_cast<std::uint32_t>(byte));
}

/// x where byte `byte` of `keep` is kept, else 0.
__device__ inline float kept(float x, std::uint32_t keep, int byte) {
    const std::uint32_t mask = permute_bytes(keep, keep, 0x8888u + 0x1111u * static_cast<std::uint32_t>(byte));
    return float_of_bits(bits_of_float(x) & mask);
}

}  // namespace cloze::attention
