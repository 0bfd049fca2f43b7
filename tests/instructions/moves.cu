// Loads, stores, tiles, asynchronous copies and conversions: every output bit is fixed.
#include "kernels/device/block.h"
#include "kernels/device/bytes.h"
#include "kernels/device/copy_async.h"
#include "kernels/device/matrix.h"
#include "kernels/device/shared.h"
#include "kernels/device/vector.h"
#include "kernels/device/vector4.h"
#include "tests/instructions/case_words.h"
#include "tests/instructions/instructions.h"

namespace cloze::instructions {

namespace {

constexpr int kRowWords = 4;  // 16 bytes
constexpr int kRows = 32;
constexpr int kTileWords = kRows * kRowWords;
constexpr int kTileBytes = 4 * kTileWords;

/// 32 rows of shared memory, lane l writing row l. The caller waits.
__device__ std::uint32_t* filled_rows(const std::uint32_t* in) {
    std::uint32_t* rows = SharedArena().take<std::uint32_t>(kTileWords);
    for (int i = 0; i < kRowWords; ++i) {
        rows[lane_index() * kRowWords + i] = in[lane_index() * kRowWords + i];
    }
    return rows;
}

__device__ void write_rows(std::uint32_t* out, const std::uint32_t* rows) {
    for (int i = 0; i < kRowWords; ++i) {
        out[lane_index() * kRowWords + i] = rows[lane_index() * kRowWords + i];
    }
}

// Inputs: rows, then for each lane the row it names, which others may name too.
constexpr int kLoadInputs = kTileWords + 32;

template <Transposed transposed, int tiles>
__global__ void load_tiles(std::uint32_t* out, const std::uint32_t* in) {
    in += case_index() * kLoadInputs;
    out += case_index() * 32 * tiles;
    const std::uint32_t* rows = filled_rows(in);
    warp_barrier();  // the rows are written
    std::uint32_t word[tiles];
    load_matrix<transposed>(word, shared_address(rows + in[kTileWords + lane_index()] % kRows * kRowWords));
    for (int i = 0; i < tiles; ++i) out[i * 32 + lane_index()] = word[i];
}

// Inputs: rows as they were, the words of each lane, and the order of the rows.
constexpr int kStoreInputs = 2 * kTileWords + 4;

template <Transposed transposed, int tiles>
__global__ void store_tiles(std::uint32_t* out, const std::uint32_t* in) {
    in += case_index() * kStoreInputs;
    out += case_index() * kTileWords;
    const std::uint32_t* rows = filled_rows(in);
    std::uint32_t word[tiles];
    for (int i = 0; i < tiles; ++i) word[i] = in[kTileWords + i * 32 + lane_index()];
    warp_barrier();  // the rows are written
    store_matrix<transposed>(shared_address(rows + permuted(lane_index(), in[2 * kTileWords]) * kRowWords), word);
    warp_barrier();  // the tiles are written
    write_rows(out, rows);
}

// Inputs: the source, for each lane what it copies and how much of it, and the order of the destinations.
constexpr int kCopyInputs = kTileWords + 32 + 4;

__global__ void copy_rows(std::uint32_t* out, const std::uint32_t* in) {
    in += case_index() * kCopyInputs;
    out += case_index() * kTileWords;
    std::uint32_t* rows = SharedArena().take<std::uint32_t>(kTileWords);
    const std::uint32_t control = in[kTileWords + lane_index()], order = in[kTileWords + 32];
    copy_async_16(shared_address(rows + permuted(lane_index(), order) * kRowWords), in + control % kRows * kRowWords,
                  static_cast<int>(control / kRows % 17));
    commit_copies();
    wait_for_copies<0>();
    warp_barrier();  // the copies of all lanes have landed
    write_rows(out, rows);
}

enum class Through { global, shared };

/// Eight elements a lane, from global memory as a stream or from shared memory.
template <typename T, Through through>
__global__ void load_eight(std::uint32_t* out, const std::uint32_t* in) {
    constexpr int kWords = 8 * static_cast<int>(sizeof(T)) / 4;  // of a lane
    in += case_index() * 32 * kWords + lane_index() * kWords;
    out += (case_index() * 32 + lane_index()) * 8;
    Floats8 x;
    if constexpr (through == Through::shared) {
        std::uint32_t* words = SharedArena().take<std::uint32_t>(32 * kWords) + lane_index() * kWords;
        for (int i = 0; i < kWords; ++i) words[i] = in[i];
        x = load8(reinterpret_cast<const T*>(words));
    } else {
        x = load8(reinterpret_cast<const T*>(in), Cache::stream);
    }
    for (int i = 0; i < 8; ++i) out[i] = bits_of_float(x[i]);
}

template <typename T, Through through>
__global__ void store_eight(std::uint32_t* out, const std::uint32_t* in) {
    constexpr int kWords = 8 * static_cast<int>(sizeof(T)) / 4;
    in += (case_index() * 32 + lane_index()) * 8;
    out += case_index() * 32 * kWords + lane_index() * kWords;
    Floats8 x;
    for (int i = 0; i < 8; ++i) x[i] = float_of_bits(in[i]);
    if constexpr (through == Through::shared) {
        std::uint32_t* words = SharedArena().take<std::uint32_t>(32 * kWords) + lane_index() * kWords;
        store8(reinterpret_cast<T*>(words), x);
        for (int i = 0; i < kWords; ++i) out[i] = words[i];
    } else {
        store8(reinterpret_cast<T*>(out), x, Cache::stream);
    }
}

/// Four elements a lane, through registers.
template <typename T>
__global__ void move_four(std::uint32_t* out, const std::uint32_t* in) {
    constexpr int kWords = 4 * static_cast<int>(sizeof(T)) / 4;
    const std::int64_t at = (case_index() * 32 + lane_index()) * kWords;
    store4(reinterpret_cast<T*>(out + at), load4(reinterpret_cast<const T*>(in + at)));
}

__global__ void move_two(std::uint32_t* out, const std::uint32_t* in) {
    const std::int64_t at = (case_index() * 32 + lane_index()) * 2;
    store2(reinterpret_cast<float*>(out + at), load2(reinterpret_cast<const float*>(in + at)));
}

__global__ void move_16_bytes(std::uint32_t* out, const std::uint32_t* in) {
    const std::int64_t at = (case_index() * 32 + lane_index()) * kRowWords;
    copy_16(out + at, in + at);
}

__global__ void choose_bytes(std::uint32_t* out, const std::uint32_t* in) {
    const std::int64_t at = case_index() * 32 + lane_index();
    out[at] = permute_bytes(in[3 * at], in[3 * at + 1], in[3 * at + 2]);
}

// Inputs: for each lane a word and the two parts of its threshold.
__global__ void compare_bytes(std::uint32_t* out, const std::uint32_t* in) {
    const std::int64_t at = case_index() * 32 + lane_index();
    const std::uint32_t subtrahend = in[2 * at + 1] % 128 * 0x01010101u, either = in[2 * at + 1] & 0x80u ? ~0u : 0u;
    out[at] = bytes_at_least(in[2 * at], {subtrahend, either}) & 0x80808080u;
}

__global__ void pack_pairs(std::uint32_t* out, const std::uint32_t* in) {
    const std::int64_t at = case_index() * 32 + lane_index();
    out[at] = pack_bf16(float_of_bits(in[2 * at]), float_of_bits(in[2 * at + 1]));
}

__global__ void unpack_pairs(std::uint32_t* out, const std::uint32_t* in) {
    const std::int64_t at = case_index() * 32 + lane_index();
    out[2 * at] = bits_of_float(low_float(in[at]));
    out[2 * at + 1] = bits_of_float(high_float(in[at]));
}

// Offsets of carved parts from the arena's start, which is aligned to 1,024 bytes.
__global__ void carve_arena(std::uint32_t* out, const std::uint32_t* in) {
    SharedArena arena;
    const std::uint32_t start = shared_address(shared_arena());
    const std::uint32_t parts[4] = {shared_address(arena.take<bf16>(3)), shared_address(arena.take<float>(5)),
                                    shared_address(arena.take<bf16>(8, 1024)), shared_address(arena.take<float>(1))};
    out += (case_index() * 32 + lane_index()) * 5;
    out[0] = start % 1024 + in[case_index()];
    for (int i = 0; i < 4; ++i) out[i + 1] = parts[i] - start;
}

template <Transposed transposed, int tiles>
Instruction load_of(const char* name) {
    return {.name = name,
            .kernel = load_tiles<transposed, tiles>,
            .input_words = kLoadInputs,
            .output_words = 32 * tiles,
            .shared_bytes = kTileBytes};
}

template <Transposed transposed, int tiles>
Instruction store_of(const char* name) {
    return {.name = name,
            .kernel = store_tiles<transposed, tiles>,
            .input_words = kStoreInputs,
            .output_words = kTileWords,
            .shared_bytes = kTileBytes,
            .compute_capability = 90};
}

template <typename T, Through through>
Instruction load8_of(const char* name) {
    return {.name = name,
            .kernel = load_eight<T, through>,
            .input_words = 32 * 8 * static_cast<int>(sizeof(T)) / 4,
            .output_words = 32 * 8,
            .shared_bytes = 32 * 8 * static_cast<int>(sizeof(T))};
}

template <typename T, Through through>
Instruction store8_of(const char* name) {
    return {.name = name,
            .kernel = store_eight<T, through>,
            .input_words = 32 * 8,
            .output_words = 32 * 8 * static_cast<int>(sizeof(T)) / 4,
            .inputs = any_float,
            .shared_bytes = 32 * 8 * static_cast<int>(sizeof(T))};
}

}  // namespace

std::vector<Instruction> data_movement() {
    constexpr auto kPlain = Transposed::no, kTransposed = Transposed::yes;
    return {
        load_of<kPlain, 1>("load_matrix x1"),
        load_of<kPlain, 2>("load_matrix x2"),
        load_of<kPlain, 4>("load_matrix x4"),
        load_of<kTransposed, 1>("load_matrix x1 transposed"),
        load_of<kTransposed, 2>("load_matrix x2 transposed"),
        load_of<kTransposed, 4>("load_matrix x4 transposed"),
        store_of<kPlain, 1>("store_matrix x1"),
        store_of<kPlain, 2>("store_matrix x2"),
        store_of<kPlain, 4>("store_matrix x4"),
        store_of<kTransposed, 1>("store_matrix x1 transposed"),
        store_of<kTransposed, 2>("store_matrix x2 transposed"),
        store_of<kTransposed, 4>("store_matrix x4 transposed"),
        {.name = "copy_async_16",
         .kernel = copy_rows,
         .input_words = kCopyInputs,
         .output_words = kTileWords,
         .shared_bytes = kTileBytes},
        load8_of<bf16, Through::global>("load8 of bf16"),
        load8_of<bf16, Through::shared>("load8 of bf16 in shared memory"),
        load8_of<float, Through::global>("load8 of f32"),
        load8_of<float, Through::shared>("load8 of f32 in shared memory"),
        store8_of<bf16, Through::global>("store8 of bf16"),
        store8_of<bf16, Through::shared>("store8 of bf16 in shared memory"),
        store8_of<float, Through::global>("store8 of f32"),
        store8_of<float, Through::shared>("store8 of f32 in shared memory"),
        {.name = "load4 and store4 of bf16", .kernel = move_four<bf16>, .input_words = 64, .output_words = 64},
        {.name = "load4 and store4 of f32", .kernel = move_four<float>, .input_words = 128, .output_words = 128},
        {.name = "load2 and store2", .kernel = move_two, .input_words = 64, .output_words = 64},
        {.name = "copy_16", .kernel = move_16_bytes, .input_words = 128, .output_words = 128},
        {.name = "permute_bytes", .kernel = choose_bytes, .input_words = 96, .output_words = 32},
        {.name = "bytes_at_least", .kernel = compare_bytes, .input_words = 64, .output_words = 32},
        {.name = "pack_bf16", .kernel = pack_pairs, .input_words = 64, .output_words = 32, .inputs = any_float},
        {.name = "low_float and high_float", .kernel = unpack_pairs, .input_words = 32, .output_words = 64},
        {.name = "shared_address",
         .kernel = carve_arena,
         .input_words = 1,
         .output_words = 32 * 5,
         .shared_bytes = 2048},
    };
}

}  // namespace cloze::instructions
