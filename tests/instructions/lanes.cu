// What threads tell each other, and who they are: every output bit is fixed.
#include "kernels/core/philox.h"
#include "kernels/device/block.h"
#include "kernels/device/double_sum.h"
#include "kernels/device/shared.h"
#include "tests/instructions/case_words.h"
#include "tests/instructions/instructions.h"

namespace cloze::instructions {

namespace {

constexpr int kThreads = 96;   // of kernels on whole blocks: three warps
constexpr int kHandOver = 64;  // threads on each side of the named barriers
constexpr int kRounds = 2;

// Inputs: a value and a source for each lane, and a mask.
constexpr int kShuffleInputs = 68;

template <typename T>
__device__ T as_type(std::uint32_t bits) {
    return static_cast<T>(bits);
}
template <>
__device__ float as_type<float>(std::uint32_t bits) {
    return float_of_bits(bits);
}
__device__ std::uint32_t bits_of(float value) {
    return bits_of_float(value);
}
__device__ std::uint32_t bits_of(std::uint32_t value) {
    return value;
}
__device__ std::uint32_t bits_of(std::int32_t value) {
    return static_cast<std::uint32_t>(value);
}

template <typename T>
__global__ void shuffle(std::uint32_t* out, const std::uint32_t* in) {
    in += case_index() * kShuffleInputs;
    out += case_index() * 64;
    const T value = as_type<T>(in[lane_index()]);
    out[lane_index()] = bits_of(shuffle_xor(value, static_cast<int>(in[64] % 32)));
    out[32 + lane_index()] = bits_of(shuffle_from(value, static_cast<int>(in[32 + lane_index()] % 32)));
}

__global__ void vote(std::uint32_t* out, const std::uint32_t* in) {
    const std::int64_t at = case_index() * 32 + lane_index();
    out[at] = warp_ballot((in[at] & 1u) != 0);
}

__global__ void reduce_warp(std::uint32_t* out, const std::uint32_t* in) {
    const std::int64_t at = case_index() * 32 + lane_index();
    out[2 * at] = canonical_bits(warp_sum(float_of_bits(in[at])));
    out[2 * at + 1] = canonical_bits(warp_max(float_of_bits(in[at])));
}

__global__ void reduce_block(std::uint32_t* out, const std::uint32_t* in) {
    SharedArena arena;
    float* first = arena.take<float>(kBlockReductionFloats);
    float* second = arena.take<float>(kBlockReductionFloats);
    const std::int64_t at = case_index() * kThreads + thread_index();
    out[2 * at] = canonical_bits(block_sum(float_of_bits(in[at]), first));
    out[2 * at + 1] = canonical_bits(block_max(float_of_bits(in[at]), second));
}

__device__ void write_double(std::uint32_t* out, double value) {
    const float low = static_cast<float>(value - static_cast<double>(static_cast<float>(value)));
    out[0] = canonical_bits(static_cast<float>(value));
    out[1] = canonical_bits(low);
}

// Doubles are written as two floats, which hold every bit of these sums.
__global__ void reduce_doubles(std::uint32_t* out, const std::uint32_t* in) {
    double* scratch = SharedArena().take<double>(kBlockSumDoubles);
    const std::int64_t at = case_index() * kThreads + thread_index();
    const double value = static_cast<double>(float_of_bits(in[at]));
    out += 6 * at;
    write_double(out, shuffle_xor(value, static_cast<int>(in[case_index() * kThreads] % 32)));
    write_double(out + 2, warp_sum(value));
    write_double(out + 4, block_sum(value, scratch));
}

__global__ void exchange_in_warp(std::uint32_t* out, const std::uint32_t* in) {
    std::uint32_t* words = SharedArena().take<std::uint32_t>(32);
    const std::int64_t at = case_index() * 32 + lane_index();
    words[lane_index()] = in[at];
    warp_barrier();  // the words of all lanes are written
    out[at] = words[(lane_index() * 5 + 7) % 32];
}

__global__ void exchange_in_block(std::uint32_t* out, const std::uint32_t* in) {
    std::uint32_t* words = SharedArena().take<std::uint32_t>(kThreads);
    const std::int64_t at = case_index() * kThreads + thread_index();
    words[thread_index()] = in[at];
    block_barrier();  // the words of all threads are written
    out[at] = words[kThreads - 1 - thread_index()];
}

// Two warps write, two read, by turns.
__global__ void hand_over(std::uint32_t* out, const std::uint32_t* in) {
    constexpr int kFull = 1, kEmpty = 2, kEverybody = 2 * kHandOver;
    std::uint32_t* words = SharedArena().take<std::uint32_t>(kHandOver);
    const int i = thread_index() % kHandOver;
    for (int round = 0; round < kRounds; ++round) {
        const std::int64_t at = (case_index() * kRounds + round) * kHandOver + i;
        if (thread_index() < kHandOver) {
            if (round > 0) named_barrier_wait(kEmpty, kEverybody);
            words[i] = in[at];
            named_barrier_arrive(kFull, kEverybody);
        } else {
            named_barrier_wait(kFull, kEverybody);
            out[at] = words[kHandOver - 1 - i];
            if (round + 1 < kRounds) named_barrier_arrive(kEmpty, kEverybody);
        }
    }
}

__global__ void tell_place(std::uint32_t* out, const std::uint32_t* in) {
    const std::int64_t place[8] = {thread_index(), threads_per_block(), lane_index(), warp_index(),
                                   block_x(),      block_y(),           blocks_x(),   blocks_y()};
    out += (case_index() * kThreads + thread_index()) * 8;
    for (int i = 0; i < 8; ++i) out[i] = static_cast<std::uint32_t>(place[i]) + in[case_index()];
}

__global__ void draw(std::uint32_t* out, const std::uint32_t* in) {
    const std::int64_t at = case_index() * 32 + lane_index();
    in += 6 * at;
    const PhiloxBits bits = philox(in[0], in[1], in[2], in[3], {in[4], in[5]});
    for (int i = 0; i < 4; ++i) out[4 * at + i] = bits.word[i];
}

template <typename T>
Instruction shuffle_of(const char* name) {
    return {.name = name, .kernel = shuffle<T>, .input_words = kShuffleInputs, .output_words = 64};
}

}  // namespace

std::vector<Instruction> between_lanes() {
    return {
        shuffle_of<std::uint32_t>("shuffles of u32"),
        shuffle_of<std::int32_t>("shuffles of i32"),
        shuffle_of<float>("shuffles of f32"),
        {.name = "warp_ballot", .kernel = vote, .input_words = 32, .output_words = 32},
        {.name = "warp_sum and warp_max",
         .kernel = reduce_warp,
         .input_words = 32,
         .output_words = 64,
         .inputs = summand},
        {.name = "block_sum and block_max",
         .kernel = reduce_block,
         .input_words = kThreads,
         .output_words = 2 * kThreads,
         .inputs = summand,
         .threads = kThreads,
         .shared_bytes = 2 * 4 * kBlockReductionFloats},
        {.name = "sums of doubles",
         .kernel = reduce_doubles,
         .input_words = kThreads,
         .output_words = 6 * kThreads,
         .inputs = summand,
         .threads = kThreads,
         .shared_bytes = 8 * kBlockSumDoubles},
        {.name = "warp_barrier",
         .kernel = exchange_in_warp,
         .input_words = 32,
         .output_words = 32,
         .shared_bytes = 4 * 32},
        {.name = "block_barrier",
         .kernel = exchange_in_block,
         .input_words = kThreads,
         .output_words = kThreads,
         .threads = kThreads,
         .shared_bytes = 4 * kThreads},
        {.name = "named barriers",
         .kernel = hand_over,
         .input_words = kRounds * kHandOver,
         .output_words = kRounds * kHandOver,
         .threads = 2 * kHandOver,
         .shared_bytes = 4 * kHandOver},
        {.name = "places of threads",
         .kernel = tell_place,
         .input_words = 1,
         .output_words = 8 * kThreads,
         .threads = kThreads},
        {.name = "philox", .kernel = draw, .input_words = 6 * 32, .output_words = 4 * 32},
    };
}

}  // namespace cloze::instructions
