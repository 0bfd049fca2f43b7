// mma.sync, ldmatrix and stmatrix against plain loops, with a different number in every element.
#include "kernels/core/launch.h"
#include "kernels/device/block.h"
#include "kernels/device/matrix.h"
#include "kernels/device/mma.h"
#include "kernels/device/shared.h"
#include "tests/kernels/device/device_testing.h"

using namespace cloze;
using namespace cloze::test;

namespace {

constexpr int kTile = 8;  // rows and columns
constexpr int kTileElements = 64;

// Tiles lie one after the other in memory, rows of 16 bytes.
template <Transposed transposed, int tiles>
__global__ void load_tiles(std::uint32_t* words, const bf16* elements) {
    bf16* shared = SharedArena().take<bf16>(tiles * kTileElements);
    for (int i = thread_index(); i < tiles * kTileElements; i += kWarpThreads) shared[i] = elements[i];
    warp_barrier();  // the tiles are written
    std::uint32_t word[tiles];
    load_matrix<transposed>(word, shared_address(shared + lane_index() % (tiles * kTile) * kTile));
    for (int i = 0; i < tiles; ++i) words[i * kWarpThreads + lane_index()] = word[i];
}

template <Transposed transposed, int tiles>
__global__ void store_tiles(bf16* elements, const std::uint32_t* words) {
    bf16* shared = SharedArena().take<bf16>(tiles * kTileElements);
    std::uint32_t word[tiles];
    for (int i = 0; i < tiles; ++i) word[i] = words[i * kWarpThreads + lane_index()];
    store_matrix<transposed>(shared_address(shared + lane_index() % (tiles * kTile) * kTile), word);
    warp_barrier();  // the tiles are written
    for (int i = thread_index(); i < tiles * kTileElements; i += kWarpThreads) elements[i] = shared[i];
}

// d += a b with a [16, 16] and b [16, 8], all row-major, fragments by hand.
__global__ void multiply(float* d, const bf16* a, const bf16* b) {
    const int group = lane_index() / 4, pair = 2 * (lane_index() % 4);
    const auto two = [](bf16 low, bf16 high) { return low.bits | static_cast<std::uint32_t>(high.bits) << 16; };
    const auto a_pair = [&](int row, int column) { return two(a[row * 16 + column], a[row * 16 + column + 1]); };
    const auto b_pair = [&](int row, int column) { return two(b[row * 8 + column], b[(row + 1) * 8 + column]); };
    const std::uint32_t a_words[4] = {a_pair(group, pair), a_pair(group + 8, pair), a_pair(group, pair + 8),
                                      a_pair(group + 8, pair + 8)};
    const std::uint32_t b_words[2] = {b_pair(pair, group), b_pair(pair + 8, group)};
    float sum[4];
    for (int i = 0; i < 4; ++i) sum[i] = d[(group + i / 2 * 8) * 8 + pair + i % 2];
    mma_m16n8k16(sum, a_words, b_words);
    for (int i = 0; i < 4; ++i) d[(group + i / 2 * 8) * 8 + pair + i % 2] = sum[i];
}

// The same through shared memory and ldmatrix: a as it lies, b transposed.
__global__ void multiply_through_shared(float* d, const bf16* a, const bf16* b) {
    SharedArena arena;
    bf16* a_tile = arena.take<bf16>(16 * 16);
    bf16* b_tile = arena.take<bf16>(16 * 8);
    for (int i = thread_index(); i < 256; i += kWarpThreads) a_tile[i] = a[i];
    for (int i = thread_index(); i < 128; i += kWarpThreads) b_tile[i] = b[i];
    warp_barrier();  // both tiles are written
    std::uint32_t a_words[4], b_words[2];
    load_matrix<Transposed::no>(a_words, shared_address(a_tile + lane_index() % 16 * 16 + lane_index() / 16 * 8));
    load_matrix<Transposed::yes>(b_words, shared_address(b_tile + lane_index() % 16 * 8));
    float sum[4] = {};
    mma_m16n8k16(sum, a_words, b_words);
    const int group = lane_index() / 4, pair = 2 * (lane_index() % 4);
    for (int i = 0; i < 4; ++i) d[(group + i / 2 * 8) * 8 + pair + i % 2] = sum[i];
}

std::vector<bf16> numbered(int count) {
    std::vector<bf16> values(static_cast<std::size_t>(count));
    for (int i = 0; i < count; ++i) values[static_cast<std::size_t>(i)].bits = static_cast<std::uint16_t>(i + 1);
    return values;
}

std::vector<bf16> random_halves(int count, std::uint64_t seed) {
    const Array array = random_array(DType::bf16, 1, count, seed);
    std::vector<bf16> values;
    for (int i = 0; i < count; ++i) values.emplace_back(array[i]);
    return values;
}

/// Number of the element that lane `lane` holds in half `half` of the word of tile `tile`.
int element_of(int tile, int lane, int half, bool transposed) {
    const int line = lane / 4, pair = 2 * (lane % 4) + half;
    return tile * kTileElements + (transposed ? pair * kTile + line : line * kTile + pair);
}

template <Transposed transposed, int tiles>
void check_tiles() {
    constexpr int kSharedBytes = tiles * kTileElements * 2;
    const DeviceVector<bf16> elements(numbered(tiles * kTileElements)), back(tiles * kTileElements);
    const DeviceVector<std::uint32_t> words(tiles * kWarpThreads);
    launch("test", load_tiles<transposed, tiles>, {.grid = {}, .threads = 32, .shared_bytes = kSharedBytes}, {},
           words.data(), elements.data());
    const std::vector<std::uint32_t> values = words.values();
    for (int tile = 0; tile < tiles; ++tile) {
        for (int lane = 0; lane < kWarpThreads; ++lane) {
            for (int half = 0; half < 2; ++half) {
                const std::uint32_t word = values[static_cast<std::size_t>(tile * kWarpThreads + lane)];
                REQUIRE((word >> (16 * half) & 0xffffu) ==
                        static_cast<std::uint32_t>(element_of(tile, lane, half, transposed == Transposed::yes) + 1));
            }
        }
    }
    if (use_device(0).compute_capability < 90) return;  // stmatrix
    launch("test", store_tiles<transposed, tiles>, {.grid = {}, .threads = 32, .shared_bytes = kSharedBytes}, {},
           back.data(), words.data());
    const std::vector<bf16> moved = back.values();
    for (std::size_t i = 0; i < moved.size(); ++i) REQUIRE(moved[i].bits == i + 1);
}

template <typename Kernel>
void check_product(Kernel kernel, int shared_bytes, float before) {
    const std::vector<bf16> a = random_halves(256, 1), b = random_halves(128, 2);
    const DeviceVector<bf16> a_in(a), b_in(b);
    const DeviceVector<float> d(std::vector<float>(128, before));
    launch("test", kernel, {.grid = {}, .threads = 32, .shared_bytes = shared_bytes}, {}, d.data(), a_in.data(),
           b_in.data());
    const std::vector<float> product = d.values();
    for (std::size_t row = 0; row < 16; ++row) {
        for (std::size_t column = 0; column < 8; ++column) {
            double sum = static_cast<double>(before);
            for (std::size_t k = 0; k < 16; ++k) {
                sum += static_cast<double>(a[row * 16 + k]) * static_cast<double>(b[k * 8 + column]);
            }
            REQUIRE(product[row * 8 + column] == Approx(sum).margin(3e-6));
        }
    }
}

}  // namespace

TEST_CASE("ldmatrix and stmatrix move each element to the lane and half that the manual draws") {
    if (!device_or_skip()) return;
    for_schedules(schedules(), [] {
        check_tiles<Transposed::no, 1>();
        check_tiles<Transposed::no, 2>();
        check_tiles<Transposed::no, 4>();
        check_tiles<Transposed::yes, 1>();
        check_tiles<Transposed::yes, 2>();
        check_tiles<Transposed::yes, 4>();
    });
}

TEST_CASE("mma_m16n8k16 adds the product of two tiles") {
    if (!device_or_skip()) return;
    for_schedules(schedules(), [] { check_product(multiply, 0, 0.5f); });
}

TEST_CASE("tiles through ldmatrix give the same product") {
    if (!device_or_skip()) return;
    for_schedules(schedules(), [] { check_product(multiply_through_shared, 512 + 256, 0); });
}
