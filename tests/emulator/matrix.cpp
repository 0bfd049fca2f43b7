// mma.sync, ldmatrix and stmatrix, lane by lane as the PTX manual draws the fragments.
#include <cstring>

#include "kernels/core/bf16.h"
#include "kernels/device/emulated.h"
#include "tests/emulator/code_place.h"
#include "tests/emulator/memory.h"
#include "tests/emulator/warp.h"

namespace cloze::emulated {

namespace {

constexpr char kMma[] = "mma_m16n8k16";
constexpr char kLoadMatrix[] = "load_matrix";
constexpr char kStoreMatrix[] = "store_matrix";
constexpr int kRowBytes = 16;

float half_of(std::uint32_t word, int half) {
    bf16 value;
    value.bits = static_cast<std::uint16_t>(word >> (16 * half));
    return value;
}

struct Mma {
    float* d;
    const std::uint32_t* a;
    const std::uint32_t* b;
};

void multiply(const std::array<void*, kWarp>& posted) {
    float a[16][16], b[16][8];
    for (int lane = 0; lane < kWarp; ++lane) {
        const Mma& mma = *static_cast<const Mma*>(posted[static_cast<std::size_t>(lane)]);
        const int group = lane / 4, pair = 2 * (lane % 4);
        for (int half = 0; half < 2; ++half) {
            a[group][pair + half] = half_of(mma.a[0], half);
            a[group + 8][pair + half] = half_of(mma.a[1], half);
            a[group][pair + 8 + half] = half_of(mma.a[2], half);
            a[group + 8][pair + 8 + half] = half_of(mma.a[3], half);
            b[pair + half][group] = half_of(mma.b[0], half);
            b[pair + 8 + half][group] = half_of(mma.b[1], half);
        }
    }
    for (int lane = 0; lane < kWarp; ++lane) {
        float* d = static_cast<const Mma*>(posted[static_cast<std::size_t>(lane)])->d;
        for (int i = 0; i < 4; ++i) {
            const int row = lane / 4 + (i / 2) * 8, column = 2 * (lane % 4) + i % 2;
            float sum = 0;
            for (int k = 0; k < 16; ++k) sum += a[row][k] * b[k][column];
            d[i] += sum;
        }
    }
}

struct MatrixMove {
    std::uint32_t* word;
    std::uint32_t row_address;
    int tiles;
    bool transposed;
};

const MatrixMove& move_of(const std::array<void*, kWarp>& posted, int lane) {
    return *static_cast<const MatrixMove*>(posted[static_cast<std::size_t>(lane)]);
}

/// Byte of element `half` of lane's word for tile `tile`: address of the row's lane, then the column in it.
unsigned char* element(const std::array<void*, kWarp>& posted, int lane, int tile, int half, bool transposed) {
    const int pair = 2 * (lane % 4) + half;
    const int row = transposed ? pair : lane / 4, column = transposed ? lane / 4 : pair;
    return at_shared_address(move_of(posted, tile * 8 + row).row_address) + 2 * column;
}

void load_tiles(const std::array<void*, kWarp>& posted) {
    for (int lane = 0; lane < kWarp; ++lane) {
        const MatrixMove& move = move_of(posted, lane);
        for (int tile = 0; tile < move.tiles; ++tile) {
            std::uint16_t halves[2];
            for (int half = 0; half < 2; ++half) {
                std::memcpy(&halves[half], element(posted, lane, tile, half, move.transposed), 2);
            }
            move.word[tile] = halves[0] | static_cast<std::uint32_t>(halves[1]) << 16;
        }
    }
}

void store_tiles(const std::array<void*, kWarp>& posted) {
    for (int lane = 0; lane < kWarp; ++lane) {
        const MatrixMove& move = move_of(posted, lane);
        for (int tile = 0; tile < move.tiles; ++tile) {
            for (int half = 0; half < 2; ++half) {
                const auto bits = static_cast<std::uint16_t>(move.word[tile] >> (16 * half));
                std::memcpy(element(posted, lane, tile, half, move.transposed), &bits, 2);
            }
        }
    }
}

/// Each lane that gives an address answers for its row.
void touch_row(std::uint32_t row_address, int tiles, AccessKind kind, const void* from) {
    if (current_thread()->lane() < 8 * tiles) touch(at_shared_address(row_address), kRowBytes, kRowBytes, kind, from);
}

}  // namespace

void mma_m16n8k16_bf16(float* d, const std::uint32_t* a, const std::uint32_t* b, Site site) {
    Mma post{d, a, b};
    gather(kMma, site, &post, multiply);
}

void load_matrix(std::uint32_t* word, std::uint32_t row_address, int tiles, bool transposed, Site site) {
    const Emulating emulating;
    touch_row(row_address, tiles, AccessKind::read, __builtin_return_address(0));
    MatrixMove post{word, row_address, tiles, transposed};
    gather(kLoadMatrix, site, &post, load_tiles);
}

void store_matrix(std::uint32_t row_address, const std::uint32_t* word, int tiles, bool transposed, Site site) {
    const Emulating emulating;
    touch_row(row_address, tiles, AccessKind::write, __builtin_return_address(0));
    MatrixMove post{const_cast<std::uint32_t*>(word), row_address, tiles, transposed};
    gather(kStoreMatrix, site, &post, store_tiles);
}

}  // namespace cloze::emulated
