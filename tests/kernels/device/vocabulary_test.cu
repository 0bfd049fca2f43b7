// Threads, shuffles, reductions, barriers, vectors, bf16 and fast functions of kernels/device against plain loops.
#include <algorithm>
#include <numeric>

#include "kernels/core/launch.h"
#include "kernels/device/block.h"
#include "kernels/device/bytes.h"
#include "kernels/device/math.h"
#include "kernels/device/shared.h"
#include "kernels/device/vector.h"
#include "tests/kernels/device/device_testing.h"

using namespace cloze;
using namespace cloze::test;

namespace {

__device__ std::int64_t flat_index() {
    return (block_y() * blocks_x() + block_x()) * threads_per_block() + thread_index();
}

__global__ void write_positions(int* thread, int* lane, int* warp) {
    thread[flat_index()] = thread_index();
    lane[flat_index()] = lane_index();
    warp[flat_index()] = warp_index();
}

__global__ void collect_lanes(float* xored, float* from, std::uint32_t* votes, float* sum, float* largest,
                              const float* x) {
    const std::int64_t i = flat_index();
    xored[i] = shuffle_xor(x[i], 5);
    from[i] = shuffle_from(x[i], (lane_index() * 7 + 3) % 32);
    votes[i] = warp_ballot(x[i] > 0);
    sum[i] = warp_sum(x[i]);
    largest[i] = warp_max(x[i]);
}

__global__ void collect_integers(std::int32_t* largest, int* votes, int* thread, const std::int32_t* x) {
    const std::int64_t i = flat_index();
    largest[i] = warp_max(x[i]);
    votes[i] = count_votes(warp_ballot(x[i] > 0));
    thread[i] = thread_index_here();
}

__global__ void reduce_block(float* sum, float* largest, const float* x) {
    SharedArena arena;
    float* first = arena.take<float>(kBlockReductionFloats);
    float* second = arena.take<float>(kBlockReductionFloats);
    sum[flat_index()] = block_sum(x[flat_index()], first);
    largest[flat_index()] = block_max(x[flat_index()], second);
}

// Warps 0 and 1 hand a tile to warps 2 and 3 and back, by two named barriers, several times.
__global__ void pass_tiles(float* out, int rounds) {
    float* tile = SharedArena().take<float>(64);
    constexpr int kFull = 1, kEmpty = 2, kEverybody = 128;
    const int i = thread_index() % 64;
    for (int round = 0; round < rounds; ++round) {
        if (thread_index() < 64) {
            if (round > 0) named_barrier_wait(kEmpty, kEverybody);
            tile[i] = static_cast<float>(round * 64 + i);
            named_barrier_arrive(kFull, kEverybody);
        } else {
            named_barrier_wait(kFull, kEverybody);
            out[round * 64 + i] = tile[63 - i];
            if (round + 1 < rounds) named_barrier_arrive(kEmpty, kEverybody);
        }
    }
}

template <typename T>
__global__ void add_one(T* y, const T* x, std::int64_t count) {
    for (std::int64_t i = flat_index() * 8; i < count; i += blocks_x() * threads_per_block() * 8) {
        Floats8 v = load8(x + i, Cache::stream);
        for (int k = 0; k < 8; ++k) v[k] += 1;
        store8(y + i, v, Cache::stream);
    }
}

template <typename T>
__global__ void load_first(float* y, const T* x, int wanted) {
    const std::int64_t i = flat_index() * 8;
    store8(y + i, load8_or_zero(thread_index() < wanted, x + i));
}

__global__ void round_pairs(std::uint32_t* pair, std::uint32_t* positive, const float* x) {
    pair[flat_index()] = pack_bf16(x[2 * flat_index()], x[2 * flat_index() + 1]);
    positive[flat_index()] = pack_bf16_positive(x[2 * flat_index()], x[2 * flat_index() + 1]);
}

__global__ void copy_vectors(float* y, float* twice, const float* x) {
    copy_16(y + 4 * flat_index(), x + 4 * flat_index());
    const Floats2 pair = load2(x + 2 * flat_index());
    store2(twice + 2 * flat_index(), {{2 * pair.value[0], 2 * pair.value[1]}});
}

__global__ void compare_bytes(std::uint32_t* at_least, std::uint32_t* permuted, const std::uint32_t* x,
                              ByteThreshold threshold) {
    const std::int64_t i = flat_index();
    at_least[i] = bytes_at_least(x[i], threshold);
    permuted[2 * i] = permute_bytes(x[i], x[(i + 1) % 64], 0x7250u);
    permuted[2 * i + 1] = permute_bytes(x[i], x[(i + 1) % 64], 0xdf98u);
}

__global__ void compute_functions(float* y, const float* x, std::int64_t count) {
    const std::int64_t i = flat_index();
    if (i >= count) return;
    y[i] = fast_exp2(x[i]);
    y[count + i] = fast_log2(fabsf(x[i]));
    y[2 * count + i] = fast_reciprocal(x[i]);
    y[3 * count + i] = fast_rsqrt(fabsf(x[i]));
    y[4 * count + i] = fast_exp(x[i]);
    y[5 * count + i] = fast_sigmoid(x[i]);
    y[6 * count + i] = fast_tanh(x[i]);
}

std::vector<float> random_floats(std::int64_t count, std::uint64_t seed, double low = -1, double high = 1) {
    const Array array = random_array(DType::f32, 1, count, seed, low, high);
    std::vector<float> values(static_cast<std::size_t>(count));
    for (std::int64_t i = 0; i < count; ++i) values[static_cast<std::size_t>(i)] = static_cast<float>(array[i]);
    return values;
}

}  // namespace

TEST_CASE("a kernel runs once on each thread of each block, which knows its place") {
    if (!device_or_skip()) return;
    for_schedules(schedules(), [] {
        DeviceVector<int> thread(6 * 96), lane(6 * 96), warp(6 * 96);
        launch("test", write_positions, {.grid = {.x = 3, .y = 2}, .threads = 96}, {}, thread.data(), lane.data(),
               warp.data());
        const std::vector<int> threads = thread.values(), lanes = lane.values(), warps = warp.values();
        for (int i = 0; i < 6 * 96; ++i) {
            const auto at = static_cast<std::size_t>(i);
            REQUIRE(threads[at] == i % 96);
            REQUIRE(lanes[at] == i % 32);
            REQUIRE(warps[at] == i % 96 / 32);
        }
    });
}

TEST_CASE("shuffles, votes and warp reductions equal loops over the lanes") {
    if (!device_or_skip()) return;
    for_schedules(schedules(), [] {
        constexpr std::size_t kCount = 2 * 96;
        const std::vector<float> x = random_floats(kCount, 1);
        const DeviceVector<float> in(x), xored(kCount), from(kCount), sum(kCount), largest(kCount);
        const DeviceVector<std::uint32_t> votes(kCount);
        launch("test", collect_lanes, {.grid = {.x = 2}, .threads = 96}, {}, xored.data(), from.data(), votes.data(),
               sum.data(), largest.data(), in.data());
        for (std::size_t i = 0; i < kCount; ++i) {
            const std::size_t lane = i % 32, warp = i - lane;
            std::uint32_t vote = 0;
            double total = 0;
            float most = -2;
            for (std::size_t l = 0; l < 32; ++l) {
                vote |= (x[warp + l] > 0 ? 1u : 0u) << l;
                total += static_cast<double>(x[warp + l]);
                most = std::max(most, x[warp + l]);
            }
            REQUIRE(xored.values()[i] == x[warp + (lane ^ 5)]);
            REQUIRE(from.values()[i] == x[warp + (lane * 7 + 3) % 32]);
            REQUIRE(votes.values()[i] == vote);
            REQUIRE(sum.values()[i] == Approx(total).margin(1e-5));
            REQUIRE(sum.values()[i] == sum.values()[warp]);
            REQUIRE(largest.values()[i] == most);
        }
    });
}

TEST_CASE("the largest integer of a warp, its votes and a thread's index where it stands are what they should be") {
    if (!device_or_skip()) return;
    std::vector<std::int32_t> x(64);
    for (std::size_t i = 0; i < 64; ++i) x[i] = static_cast<std::int32_t>(i * 37 % 64) - (i < 32 ? 70 : 20);
    const DeviceVector<std::int32_t> in(x), largest(64), votes(64), thread(64);
    launch("test", collect_integers, {.grid = {}, .threads = 64}, {}, largest.data(), votes.data(), thread.data(),
           in.data());
    for (std::size_t i = 0; i < 64; ++i) {
        const auto first = x.begin() + static_cast<std::ptrdiff_t>(i / 32 * 32), last = first + 32;
        CHECK(largest.values()[i] == *std::max_element(first, last));
        CHECK(votes.values()[i] == std::count_if(first, last, [](std::int32_t value) { return value > 0; }));
        CHECK(thread.values()[i] == static_cast<int>(i));
    }
}

TEST_CASE("block reductions give every thread the same bits") {
    if (!device_or_skip()) return;
    for (const int threads : {32, 96, 1024}) {
        const std::vector<float> x = random_floats(threads, 2);
        const double total = std::accumulate(x.begin(), x.end(), 0.0);
        const int shared_bytes =
            SharedSize().take<float>(kBlockReductionFloats).take<float>(kBlockReductionFloats).bytes();
        for_schedules(threads == 1024 ? 2 : schedules(), [&] {
            const DeviceVector<float> in(x), sum(threads), largest(threads);
            launch("test", reduce_block, {.grid = {}, .threads = threads, .shared_bytes = shared_bytes}, {}, sum.data(),
                   largest.data(), in.data());
            const std::vector<float> sums = sum.values(), maxima = largest.values();
            CHECK(sums[0] == Approx(total).margin(1e-4));
            CHECK(sums == std::vector<float>(x.size(), sums[0]));
            CHECK(maxima == std::vector<float>(x.size(), *std::max_element(x.begin(), x.end())));
        });
    }
}

TEST_CASE("shared memory is carved in the order of the calls, each part aligned") {
    CHECK(SharedSize().bytes() == 0);
    CHECK(SharedSize().take<std::uint8_t>(17).bytes() == 17);
    CHECK(SharedSize().take<std::uint8_t>(17).take<float>(3).bytes() == 32 + 12);
    CHECK(SharedSize().take<std::uint8_t>(16).take<float>(3).bytes() == 16 + 12);
    CHECK(SharedSize().take<float>(1).take<bf16>(64, 1024).take<float>(1).bytes() == 1024 + 128 + 4);
}

TEST_CASE("named barriers hand tiles from some warps to others and back", "[arrive]") {
    if (!device_or_skip()) return;
    for_schedules(3 * schedules(), [] {
        constexpr int kRounds = 5;
        const DeviceVector<float> out(kRounds * 64);
        launch("test", pass_tiles, {.grid = {}, .threads = 128, .shared_bytes = 256}, {}, out.data(), kRounds);
        const std::vector<float> values = out.values();
        for (std::size_t i = 0; i < values.size(); ++i) {
            REQUIRE(values[i] == static_cast<float>(i / 64 * 64 + 63 - i % 64));
        }
    });
}

TEST_CASE("vectors of eight are read and written in bf16 and f32") {
    if (!device_or_skip()) return;
    for_schedules(schedules(), [] {
        const std::vector<float> x = random_floats(520, 3);
        std::vector<bf16> half;
        for (const float value : x) half.emplace_back(value);
        const DeviceVector<float> in(x), out(520);
        const DeviceVector<bf16> half_in(half), half_out(520);
        launch("test", add_one<float>, {.grid = {.x = 2}, .threads = 32}, {}, out.data(), in.data(), 520);
        launch("test", add_one<bf16>, {.grid = {.x = 2}, .threads = 32}, {}, half_out.data(), half_in.data(), 520);
        for (std::size_t i = 0; i < 520; ++i) {
            REQUIRE(out.values()[i] == x[i] + 1);
            REQUIRE(half_out.values()[i].bits == bf16(static_cast<float>(half[i]) + 1).bits);
        }
    });
}

TEST_CASE("16 bytes and pairs of floats are moved as they are") {
    if (!device_or_skip()) return;
    const std::vector<float> x = random_floats(128, 8);
    const DeviceVector<float> in(x), out(128), twice(64);
    launch("test", copy_vectors, {.grid = {}, .threads = 32}, {}, out.data(), twice.data(), in.data());
    CHECK(out.values() == x);
    for (std::size_t i = 0; i < 64; ++i) CHECK(twice.values()[i] == 2 * x[i]);
}

TEST_CASE("bytes are compared with a threshold and permuted four at a time") {
    if (!device_or_skip()) return;
    std::vector<std::uint32_t> x(64);
    for (std::uint32_t i = 0; i < 64; ++i) x[i] = i * 0x04040404u + 0x03020100u;
    const DeviceVector<std::uint32_t> in(x), at_least(64), permuted(128);
    const auto byte_of = [](std::uint32_t word, std::size_t byte) { return word >> (8 * byte) & 0xffu; };
    for (const std::uint32_t threshold : {0u, 1u, 26u, 127u, 128u, 129u, 200u, 255u}) {
        launch("test", compare_bytes, {.grid = {}, .threads = 64}, {}, at_least.data(), permuted.data(), in.data(),
               byte_threshold(threshold));
        const std::vector<std::uint32_t> got = at_least.values(), moved = permuted.values();
        for (std::size_t i = 0; i < 64; ++i) {
            const std::uint32_t a = x[i], b = x[(i + 1) % 64];
            for (std::size_t byte = 0; byte < 4; ++byte) {
                CHECK(byte_of(got[i], byte) >> 7 == (byte_of(a, byte) >= threshold ? 1u : 0u));
            }
            CHECK(moved[2 * i] == (byte_of(a, 0) | byte_of(b, 1) << 8 | byte_of(a, 2) << 16 | byte_of(b, 3) << 24));
            const auto sign = [&](std::uint32_t word, std::size_t byte) {
                return byte_of(word, byte) >> 7 ? 0xffu : 0u;
            };
            CHECK(moved[2 * i + 1] == (sign(a, 0) | sign(a, 1) << 8 | sign(b, 3) << 16 | sign(b, 1) << 24));
        }
    }
}

TEST_CASE("loads that are not wanted are zero and touch no memory") {
    if (!device_or_skip()) return;
    constexpr int kWanted = 5;
    const std::vector<float> x = random_floats(8 * kWanted, 4);
    const std::vector<bf16> half(x.begin(), x.end());
    const DeviceVector<float> in(x), out(256), half_out(256);
    const DeviceVector<bf16> half_in(half);
    launch("test", load_first<float>, {.grid = {}, .threads = 32}, {}, out.data(), in.data(), kWanted);
    launch("test", load_first<bf16>, {.grid = {}, .threads = 32}, {}, half_out.data(), half_in.data(), kWanted);
    const std::vector<float> got = out.values(), half_got = half_out.values();
    for (std::size_t i = 0; i < 256; ++i) {
        CHECK(got[i] == (i < x.size() ? x[i] : 0.0f));
        CHECK(half_got[i] == (i < x.size() ? static_cast<float>(half[i]) : 0.0f));
    }
}

TEST_CASE("floats are rounded to bf16 to nearest even, NaN to 0x7fff") {
    if (!device_or_skip()) return;
    std::vector<float> x = random_floats(64, 4, -1e3, 1e3);
    const float special[] = {0.0f,     -0.0f,    1.00390625f, 1.01171875f, 1.01171875f, 1.00390625f, 3.4e38f,
                             -3.4e38f, INFINITY, -INFINITY,   NAN,         NAN,         1e-40f,      0x1p-126f};
    std::copy(std::begin(special), std::end(special), x.begin());
    const DeviceVector<float> in(x);
    const DeviceVector<std::uint32_t> out(32), positive(32);
    launch("test", round_pairs, {.grid = {}, .threads = 32}, {}, out.data(), positive.data(), in.data());
    for (std::size_t i = 0; i < 64; ++i) {
        const std::uint32_t expected = x[i] != x[i] ? 0x7fffu : bf16(x[i]).bits;
        CHECK((out.values()[i / 2] >> (16 * (i % 2)) & 0xffffu) == expected);
        if (x[i] == 0) continue;  // of either sign
        CHECK((positive.values()[i / 2] >> (16 * (i % 2)) & 0xffffu) == (x[i] < 0 ? 0 : expected));
    }
}

TEST_CASE("fast functions keep the errors they state") {
    if (!device_or_skip()) return;
    std::vector<float> x = random_floats(4096, 5, -20, 20);
    const std::vector<float> wide = random_floats(512, 6, -110, 110), narrow = random_floats(512, 7, -1e-3, 1e-3);
    x.insert(x.end(), wide.begin(), wide.end());
    x.insert(x.end(), narrow.begin(), narrow.end());
    const std::size_t count = x.size();
    const DeviceVector<float> in(x), out(static_cast<std::int64_t>(7 * count));
    launch("test", compute_functions, {.grid = {.x = static_cast<std::int64_t>(count) / 128}, .threads = 128}, {},
           out.data(), in.data(), static_cast<std::int64_t>(count));
    const std::vector<float> y = out.values();
    for (std::size_t i = 0; i < count; ++i) {
        const double v = static_cast<double>(x[i]), size = std::fabs(v);
        const auto relative = [&](std::size_t function, double exact) {
            if (std::fabs(exact) < 0x1p-125) return 0.0;  // counts as 0
            return std::fabs(static_cast<double>(y[function * count + i]) - exact) / std::fabs(exact);
        };
        const double log = std::log2(size);
        INFO("x = " << v);
        REQUIRE(relative(0, std::exp2(v)) <= 0x1p-22 * 1.3);
        REQUIRE(relative(1, log) <= (size >= 0.5 && size <= 2 ? 0x1p-21 / std::fabs(log) : 0x1p-22 * 1.3));
        REQUIRE(relative(2, 1 / v) <= 0x1p-23);
        REQUIRE(relative(3, 1 / std::sqrt(size)) <= 0x1p-22);
        if (size < 87) {
            const double exponential = 0x1p-22 * 1.3 + size * 0x1p-23;
            REQUIRE(relative(4, std::exp(v)) <= exponential);
            REQUIRE(relative(5, 1 / (1 + std::exp(-v))) <= exponential + 0x1p-22);
        }
        REQUIRE(std::fabs(static_cast<double>(y[6 * count + i]) - std::tanh(v)) <= 5e-7);
    }
}

TEST_CASE("a launch that is impossible is refused with op, shape and place, and one of no blocks does nothing") {
    if (!device_or_skip()) return;
    const DeviceVector<int> out(96);
    const auto message = [&](const LaunchShape& shape) {
        return error_of([&] { launch("test", write_positions, shape, {}, out.data(), out.data(), out.data()); });
    };
    CHECK(message({.grid = {.x = 0}, .threads = 32}) == "");
    CHECK(message({.grid = {}, .threads = 48}).find("usage: test: a launch of 1 x 1 blocks of 48 threads") == 0);
    CHECK(message({.grid = {.y = 65536}, .threads = 32}).find("vocabulary_test.cu:") != std::string::npos);
    const std::string refused = message({.grid = {}, .threads = 32, .shared_bytes = 1 << 20});  // by the device
    CHECK(refused.find("device: test: ") == 0);
    CHECK(refused.find("vocabulary_test.cu:") != std::string::npos);
}
