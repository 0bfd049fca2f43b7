// cp.async against plain copies, in a pipeline as kernels use it.
#include "kernels/core/launch.h"
#include "kernels/device/block.h"
#include "kernels/device/copy_async.h"
#include "kernels/device/shared.h"
#include "tests/kernels/device/device_testing.h"

using namespace cloze;
using namespace cloze::test;

namespace {

constexpr int kThreads = 64;
constexpr int kTileFloats = kThreads * 4;  // 16 bytes a thread

// Reverses each tile, with one tile in flight while another is read.
__global__ void reverse_tiles(float* out, const float* in, int tiles) {
    float* stage = SharedArena().take<float>(2 * kTileFloats);
    const auto start = [&](int tile) {
        if (tile < tiles) {
            const int offset = thread_index() * 4;
            copy_async_16(shared_address(stage + tile % 2 * kTileFloats + offset), in + tile * kTileFloats + offset);
        }
        commit_copies();
    };
    start(0);
    for (int tile = 0; tile < tiles; ++tile) {
        start(tile + 1);
        wait_for_copies<1>();
        block_barrier();  // this tile has landed for all
        for (int i = thread_index(); i < kTileFloats; i += kThreads) {
            out[tile * kTileFloats + i] = stage[tile % 2 * kTileFloats + kTileFloats - 1 - i];
        }
        block_barrier();  // all have read this tile: the next copy may overwrite it
    }
}

// The first `count` bytes of each 16; the rest is zero.
__global__ void copy_part(std::uint8_t* out, const std::uint8_t* in, int count) {
    std::uint8_t* stage = SharedArena().take<std::uint8_t>(32 * 16);
    copy_async_16(shared_address(stage + 16 * lane_index()), in + 16 * lane_index(), count);
    commit_copies();
    wait_for_copies<0>();
    for (int i = 0; i < 16; ++i) out[16 * lane_index() + i] = stage[16 * lane_index() + i];
}

}  // namespace

TEST_CASE("cp.async in two stages delivers every tile, however late it lands") {
    if (!device_or_skip()) return;
    for_schedules(3 * schedules(), [] {
        constexpr int kTiles = 5;
        std::vector<float> x(kTiles * kTileFloats);
        for (std::size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(i);
        const DeviceVector<float> in(x), out(kTiles * kTileFloats);
        launch("test", reverse_tiles, {.grid = {}, .threads = kThreads, .shared_bytes = 2 * kTileFloats * 4}, {},
               out.data(), in.data(), kTiles);
        const std::vector<float> values = out.values();
        for (std::size_t i = 0; i < values.size(); ++i) {
            REQUIRE(values[i] == static_cast<float>(i / kTileFloats * kTileFloats + kTileFloats - 1 - i % kTileFloats));
        }
    });
}

TEST_CASE("cp.async of fewer bytes fills up with zeros") {
    if (!device_or_skip()) return;
    std::vector<std::uint8_t> x(512);
    for (std::size_t i = 0; i < x.size(); ++i) x[i] = static_cast<std::uint8_t>(i % 255 + 1);
    for (const int count : {0, 1, 6, 16}) {
        const DeviceVector<std::uint8_t> in(x), out(512);
        launch("test", copy_part, {.grid = {}, .threads = 32, .shared_bytes = 512}, {}, out.data(), in.data(), count);
        const std::vector<std::uint8_t> values = out.values();
        for (std::size_t i = 0; i < values.size(); ++i) {
            REQUIRE(values[i] == (i % 16 < static_cast<std::size_t>(count) ? x[i] : 0));
        }
    }
}
