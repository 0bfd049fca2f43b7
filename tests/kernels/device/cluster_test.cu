// Blocks of a cluster: ranks, loads and stores in each other's shared memory, and arrivals at each other's mbarriers.
#include "kernels/core/launch.h"
#include "kernels/device/block.h"
#include "kernels/device/cluster.h"
#include "kernels/device/shared.h"
#include "tests/kernels/device/device_testing.h"

using namespace cloze;
using namespace cloze::test;

namespace {

constexpr int kBlocks = 4;  // of a cluster
constexpr int kThreads = 64;
constexpr int kFloats = 4 * kThreads;

// Each block adds up all blocks' numbers, in the order of their ranks.
__global__ void sum_over_cluster(float* out, const float* in) {
    float* tile = SharedArena().take<float>(kFloats);
    const std::int64_t first = block_x() * kFloats + 4 * thread_index();
    store4(tile + 4 * thread_index(), load4(in + first));
    cluster_arrive();
    cluster_wait();  // all blocks have written
    Floats4 sum = {};
    for (int rank = 0; rank < kBlocks; ++rank) {
        const std::uint32_t own = shared_address(tile + 4 * thread_index());
        const Floats4 x = load_remote(remote_address(own, rank));
        for (int i = 0; i < 4; ++i) sum[i] += static_cast<float>(rank + 1) * x[i];
    }
    sum[0] += 1000.0f * static_cast<float>(cluster_rank());
    cluster_arrive();
    store4(out + first, sum);
    cluster_wait();  // nobody reads this block any more
}

// Numbers go round: each block hands its tile to the next, which tells it when it has taken it.
__global__ void pass_round(float* out, const float* in, int rounds) {
    SharedArena arena;
    float* tile = arena.take<float>(kFloats);
    const std::uint32_t full = shared_address(arena.take<std::uint64_t>(2)), empty = full + 8;
    if (thread_index() == 0) {
        mbarrier_init(full, kThreads);
        mbarrier_init(empty, kThreads);
        fence_mbarrier_init();
    }
    cluster_arrive();
    cluster_wait();  // the mbarriers of all blocks are ready
    const int next = (cluster_rank() + 1) % kBlocks, previous = (cluster_rank() + kBlocks - 1) % kBlocks;
    const std::uint32_t own = shared_address(tile + 4 * thread_index());
    Floats4 held = load4(in + block_x() * kFloats + 4 * thread_index());
    for (int round = 0; round < rounds; ++round) {
        mbarrier_wait_cluster(empty, (round + 1) % 2);  // the next block has taken the round before
        store_remote(remote_address(own, next), held);
        mbarrier_arrive_remote(remote_address(full, next));
        mbarrier_wait_cluster(full, round % 2);
        held = load4(tile + 4 * ((thread_index() + 1) % kThreads));
        mbarrier_arrive_remote(remote_address(empty, previous));
    }
    store4(out + block_x() * kFloats + 4 * thread_index(), held);
    cluster_arrive();
    cluster_wait();  // nobody reaches this block any more
}

std::vector<float> numbered(int count) {
    std::vector<float> values(static_cast<std::size_t>(count));
    for (int i = 0; i < count; ++i) values[static_cast<std::size_t>(i)] = static_cast<float>(i % 977);
    return values;
}

}  // namespace

TEST_CASE("blocks of a cluster read each other's shared memory") {
    if (!hopper_or_skip()) return;
    for_schedules(2 * schedules(), [] {
        constexpr int kClusters = 3;
        const std::vector<float> x = numbered(kClusters * kBlocks * kFloats);
        const DeviceVector<float> in(x), out(kClusters * kBlocks * kFloats);
        launch(
            "test", sum_over_cluster,
            {.grid = {.x = kClusters * kBlocks}, .threads = kThreads, .shared_bytes = 4 * kFloats, .cluster = kBlocks},
            {}, out.data(), in.data());
        const std::vector<float> values = out.values();
        for (int i = 0; i < kClusters * kBlocks * kFloats; ++i) {
            const int cluster = i / (kBlocks * kFloats), rank = i / kFloats % kBlocks;
            float sum = 0;
            for (int r = 0; r < kBlocks; ++r) {
                sum += static_cast<float>(r + 1) *
                       x[static_cast<std::size_t>((cluster * kBlocks + r) * kFloats + i % kFloats)];
            }
            REQUIRE(values[static_cast<std::size_t>(i)] ==
                    sum + (i % 4 == 0 ? 1000.0f * static_cast<float>(rank) : 0.0f));
        }
    });
}

TEST_CASE("blocks of a cluster hand tiles round by remote stores and arrivals") {
    if (!hopper_or_skip()) return;
    for_schedules(2 * schedules(), [] {
        constexpr int kRounds = 5;
        const std::vector<float> x = numbered(kBlocks * kFloats);
        const DeviceVector<float> in(x), out(kBlocks * kFloats);
        launch("test", pass_round,
               {.grid = {.x = kBlocks}, .threads = kThreads, .shared_bytes = 4 * kFloats + 16, .cluster = kBlocks}, {},
               out.data(), in.data(), kRounds);
        const std::vector<float> values = out.values();
        for (int i = 0; i < kBlocks * kFloats; ++i) {
            const int rank = (i / kFloats + kBlocks * kRounds - kRounds) % kBlocks, at = (i + 4 * kRounds) % kFloats;
            REQUIRE(values[static_cast<std::size_t>(i)] == x[static_cast<std::size_t>(rank * kFloats + at)]);
        }
    });
}
