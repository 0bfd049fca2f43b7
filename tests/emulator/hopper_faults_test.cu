// Faults that only compute capability 9.0 can commit, each planted once: mbarriers, the copy engine, wgmma, clusters.
// As faults_test.cu: the emulator must name each under every schedule, and the right kernel beside it must pass.
#include "kernels/core/launch.h"
#include "kernels/device/block.h"
#include "kernels/device/cluster.h"
#include "kernels/device/mbarrier.h"
#include "kernels/device/proxy.h"
#include "kernels/device/shared.h"
#include "kernels/device/tensor_copy.h"
#include "kernels/device/wgmma.h"
#include "tests/emulator/emulator.h"
#include "tests/kernels/device/device_testing.h"

using namespace cloze;
using namespace cloze::test;

namespace {

constexpr int kThreads = 128;
constexpr int kTileElements = 64 * 64;
constexpr int kTileBytes = 2 * kTileElements;

struct Launch {
    int threads = kThreads;
    std::int64_t blocks = 1;
    int cluster = 1;
};

template <typename Kernel>
std::string message_of(Kernel kernel, Launch shape) {
    const DeviceVector<float> out(1 << 16);
    const DeviceVector<bf16> in(std::vector<bf16>(kTileElements, bf16(1.0f)));
    const TensorMap map = tensor_map({in.data(), 64, 64, 64, DType::bf16, Place::device}, 64, 64);
    return error_of([&] {
        launch("planted", kernel,
               {.grid = {.x = shape.blocks},
                .threads = shape.threads,
                .shared_bytes = 3 * kTileBytes + 1024,
                .cluster = shape.cluster},
               {}, out.data(), map);
    });
}

/// kernel(out, map of [64, 64] ones) must fail with one of `words` in its message, under every seed.
void expect_fault(void (*kernel)(float*, TensorMap), const std::vector<std::string>& words, Launch shape = {}) {
    for_schedules(2 * schedules(), [&] {
        const std::string message = message_of(kernel, shape);
        INFO("message: " << message);
        CHECK(message.find("device: planted: ") == 0);
        bool found = false;
        for (const std::string& word : words) found = found || message.find(word) != std::string::npos;
        CHECK(found);
    });
}

void expect_none(void (*kernel)(float*, TensorMap), Launch shape = {}) {
    for_schedules(2 * schedules(), [&] { CHECK(message_of(kernel, shape) == ""); });
}

struct Places {
    bf16* tile[3];
    std::uint32_t full, empty;
    __device__ Places() {
        SharedArena arena;
        for (bf16*& t : tile) t = arena.take<bf16>(kTileElements, 1024);
        full = shared_address(arena.take<std::uint64_t>(2));
        empty = full + 8;
    }
    __device__ std::uint32_t address(int i) const { return shared_address(tile[i]); }
    __device__ MatrixDescriptor descriptor(int i) const { return descriptor_128(address(i), 0, 1024); }
};

__device__ void initialise(const Places& places) {
    if (thread_index() == 0) {
        mbarrier_init(places.full, 1);
        mbarrier_init(places.empty, kThreads);
        fence_mbarrier_init();
    }
    block_barrier();  // the mbarriers are ready
}

// mbarriers and copies

enum class Plant {
    nothing,
    no_fence,
    no_barrier,
    no_wait,
    wrong_parity,
    wrong_phase,
    too_few_bytes,
    too_many_bytes,
    no_arrival,
    overwritten,
    twice,
    misaligned,
    odd_column,
    beside,
    early_overwrite,
    early_copy,
    unwaited,
};

// One tile, copied and read, twice into the same place.
template <Plant plant>
__global__ void copy_twice(float* out, const __grid_constant__ TensorMap map) {
    const Places places;
    if (thread_index() == 0) {
        mbarrier_init(places.full, 1);
        if (plant == Plant::twice) mbarrier_init(places.full, 1);
        mbarrier_init(places.empty, kThreads);
        if (plant != Plant::no_fence) fence_mbarrier_init();
        if (plant == Plant::overwritten) places.tile[2][kTileElements + 2].bits = 1;
    }
    if (plant != Plant::no_barrier) block_barrier();  // the mbarriers are ready
    constexpr int announced = plant == Plant::too_few_bytes    ? kTileBytes
                              : plant == Plant::too_many_bytes ? 3 * kTileBytes
                                                               : 2 * kTileBytes;
    for (int round = 0; round < 2; ++round) {
        if (thread_index() == 0) {
            if (plant != Plant::early_copy) mbarrier_wait(places.empty, (round + 1) % 2);
            if (plant != Plant::no_arrival) mbarrier_arrive_expect(places.full, announced);
            tensor_copy(places.address(0) + (plant == Plant::misaligned ? 512 : 0), map, 0, 0, places.full);
            tensor_copy(places.address(1), map, plant == Plant::odd_column ? 4 : 0, plant == Plant::beside ? 64 : 0,
                        places.full);
        }
        if (plant == Plant::unwaited) continue;
        const int parity =
            plant == Plant::wrong_parity || (plant == Plant::wrong_phase && round == 1) ? (round + 1) % 2 : round % 2;
        if (plant != Plant::no_wait) mbarrier_wait(places.full, parity);
        out[round * kThreads + thread_index()] = places.tile[0][thread_index()];
        out[round * kThreads + thread_index()] += places.tile[1][thread_index()];
        if (plant == Plant::early_overwrite) places.tile[1][0].bits = 0;
        mbarrier_arrive(places.empty);
    }
}

__global__ void wait_for_nothing(float*, const __grid_constant__ TensorMap) {
    const Places places;
    initialise(places);
    mbarrier_wait(places.full, 0);
}

__global__ void wait_without_mbarrier(float*, const __grid_constant__ TensorMap) {
    const Places places;
    mbarrier_wait(places.full, 1);
}

__global__ void arrive_too_often(float*, const __grid_constant__ TensorMap map) {
    const Places places;
    initialise(places);
    if (thread_index() == 0) {
        mbarrier_arrive_expect(places.full, kTileBytes + 16);
        mbarrier_arrive(places.full);
        tensor_copy(places.address(0), map, 0, 0, places.full);
    }
}

// wgmma

enum class Product {
    right,
    no_first_fence,
    no_fence_behind_d,
    no_fence_behind_a,
    d_read_early,
    d_written_early,
    d_never_waited,
    one_group_too_few,
    no_proxy_fence,
    no_barrier,
    tile_overwritten,
    tile_copied_over,
    other_descriptors,
    half_a_warp,
    other_lines,
    tile_in_the_middle,
};

template <Product product>
__global__ void multiply(float* out, const __grid_constant__ TensorMap map) {
    const Places places;
    initialise(places);
    for (int i = thread_index(); i < 2 * kTileElements; i += kThreads) places.tile[0][i] = bf16(1.0f);
    if (product != Product::no_proxy_fence) fence_async_shared();
    if (product != Product::no_barrier) block_barrier();  // the tiles are written
    float d[32], e[32];
    std::uint32_t a[4] = {0x3f803f80u, 0x3f803f80u, 0x3f803f80u, 0x3f803f80u};
    for (float& element : d) element = 1;
    if (product != Product::no_first_fence) wgmma_fence();
    if (product == Product::no_fence_behind_d) d[3] = 2;
    if (product == Product::no_fence_behind_a) a[3] = 0;
    MatrixDescriptor first = places.descriptor(0);
    if (product == Product::other_descriptors && warp_index() == 3) first = advance(first, 32);
    if (product == Product::tile_in_the_middle) first = advance(first, 256);
    if (product == Product::other_lines && warp_index() == 3) {
        wgmma_m64<64, false>(d, first, places.descriptor(1), true);
    } else if (product != Product::half_a_warp || lane_index() < 16) {
        wgmma_m64<64, false>(d, first, places.descriptor(1), true);
    }
    wgmma_commit();
    wgmma_m64<64, false>(e, a, places.descriptor(1), false);
    wgmma_commit();
    if (product == Product::d_read_early) out[thread_index()] = d[7];
    if (product == Product::d_written_early) e[31] = 0;
    if (product == Product::tile_overwritten && thread_index() == 0) places.tile[1][0] = bf16(0.0f);
    if (product == Product::tile_copied_over && thread_index() == 0) {
        mbarrier_arrive_expect(places.full, kTileBytes);
        tensor_copy(places.address(1), map, 0, 0, places.full);
    }
    if (product == Product::d_never_waited) return;
    if (product == Product::one_group_too_few) {
        wgmma_wait<1>();
    } else {
        wgmma_wait<0>();
    }
    wgmma_hold(d);
    wgmma_hold(e);
    for (int i = 0; i < 32; ++i) out[i * kThreads + thread_index()] = d[i] + e[i];
    if (product == Product::tile_copied_over) mbarrier_wait(places.full, 0);
}

// A tile that the copy engine brings again while one warpgroup may still multiply the old one: the consumer arrives at
// `empty` before it has waited for its wgmma.
template <bool waits>
__global__ void release_before_wait(float* out, const __grid_constant__ TensorMap map) {
    const Places places;
    initialise(places);
    const bool producer = thread_index() == kThreads;
    for (int round = 0; round < 2; ++round) {
        if (producer) {
            mbarrier_wait(places.empty, (round + 1) % 2);
            mbarrier_arrive_expect(places.full, kTileBytes);
            tensor_copy(places.address(0), map, 0, 0, places.full);
        } else if (thread_index() < kThreads) {
            float d[32];
            mbarrier_wait(places.full, round);
            wgmma_fence();
            wgmma_m64<64, false>(d, places.descriptor(0), places.descriptor(0), false);
            wgmma_commit();
            if (!waits) mbarrier_arrive(places.empty);
            wgmma_wait<0>();
            wgmma_hold(d);
            if (waits) mbarrier_arrive(places.empty);
            out[block_x() * kThreads + thread_index()] = d[0];
        }
    }
}

template <int producer, int consumer>
__global__ void ask_for_registers(float* out, const __grid_constant__ TensorMap) {
    if (warp_index() < 4) {
        lower_registers<producer>();
    } else {
        raise_registers<consumer>();
    }
    out[thread_index()] = 0;
}

// Clusters

enum class Reach { right, no_start, no_order, no_end, no_fence, plain_wait, arrive_twice, no_such_block };

template <Reach reach>
__global__ void read_next_block(float* out, const __grid_constant__ TensorMap) {
    const Places places;
    float* floats = reinterpret_cast<float*>(places.tile[0]);
    if (reach == Reach::no_order) {
        cluster_arrive();
        cluster_wait();
    }
    for (int i = 0; i < 4; ++i) floats[4 * thread_index() + i] = 1;
    if (reach != Reach::no_start && reach != Reach::no_order) {
        cluster_arrive();
        if (reach == Reach::arrive_twice && thread_index() == 5) cluster_arrive();
        cluster_wait();  // all blocks have written
    }
    const int next = reach == Reach::no_such_block ? 2 : 1 - cluster_rank();
    const Floats4 x = load_remote(remote_address(shared_address(floats + 4 * thread_index()), next));
    if (reach != Reach::no_end) {
        cluster_arrive();
        cluster_wait();  // nobody reads this block any more
    }
    out[block_x() * kThreads + thread_index()] = x[0];
}

template <Reach reach>
__global__ void store_into_next_block(float* out, const __grid_constant__ TensorMap) {
    const Places places;
    float* floats = reinterpret_cast<float*>(places.tile[0]);
    if (thread_index() == 0) {
        mbarrier_init(places.full, kThreads);
        if (reach != Reach::no_fence) fence_mbarrier_init();
    }
    cluster_arrive();
    cluster_wait();  // the mbarriers are ready
    const int next = 1 - cluster_rank();
    store_remote(remote_address(shared_address(floats + 4 * thread_index()), next), {{1, 2, 3, 4}});
    if (reach != Reach::no_order) mbarrier_arrive_remote(remote_address(places.full, next));
    if (reach == Reach::no_order) mbarrier_arrive(places.full);
    if (reach == Reach::plain_wait) {
        mbarrier_wait(places.full, 0);
    } else {
        mbarrier_wait_cluster(places.full, 0);
    }
    out[block_x() * kThreads + thread_index()] = floats[4 * (kThreads - 1 - thread_index())];
    cluster_arrive();
    cluster_wait();  // nobody reaches this block any more
}

}  // namespace

TEST_CASE("right kernels of compute capability 9.0 give no report") {
    expect_none(copy_twice<Plant::nothing>);
    expect_none(multiply<Product::right>);
    expect_none(release_before_wait<true>, {.threads = kThreads + 32});
    expect_none(release_before_wait<true>, {.threads = kThreads + 32, .blocks = 4, .cluster = 2});
    expect_none(ask_for_registers<24, 240>, {.threads = 3 * kThreads});
    expect_none(read_next_block<Reach::right>, {.blocks = 4, .cluster = 2});
    expect_none(store_into_next_block<Reach::right>, {.blocks = 4, .cluster = 2});
}

TEST_CASE("copies that are read too early, overwritten or not waited for are races") {
    expect_fault(copy_twice<Plant::no_wait>, {"a copy of the copy engine for the mbarrier at byte", "deadlock"});
    expect_fault(copy_twice<Plant::wrong_parity>, {"a copy of the copy engine", "deadlock"});
    expect_fault(copy_twice<Plant::wrong_phase>, {"a copy of the copy engine", "deadlock"});
    expect_fault(copy_twice<Plant::early_overwrite>, {"race on shared memory"});
    expect_fault(copy_twice<Plant::early_copy>, {"race on shared memory", "are still under way", "deadlock"});
    expect_fault(copy_twice<Plant::unwaited>, {"deadlock", "nobody has waited for the copies"});
}

TEST_CASE("mbarriers that are not ready, or count what does not come, are named") {
    expect_fault(copy_twice<Plant::no_fence>, {"missing fence: fence_mbarrier_init()"});
    expect_fault(copy_twice<Plant::no_barrier>, {"race on shared memory", "no mbarrier"});
    expect_fault(copy_twice<Plant::too_few_bytes>,
                 {"are still under way: too few bytes", "other bytes landed than announced", "race", "deadlock"});
    expect_fault(copy_twice<Plant::too_many_bytes>, {"deadlock"});
    expect_fault(copy_twice<Plant::no_arrival>, {"deadlock"});
    expect_fault(copy_twice<Plant::overwritten>, {"has been overwritten"});
    expect_fault(copy_twice<Plant::twice>, {"is an mbarrier already"});
    expect_fault(copy_twice<Plant::misaligned>, {"is not aligned to 1024"});
    expect_fault(copy_twice<Plant::odd_column>, {"column 4, which is not aligned to 16 bytes"});
    expect_fault(copy_twice<Plant::beside>, {"row 64, column 0 has no element of the matrix"});
    expect_fault(wait_for_nothing, {"thread 0-127 waits for mbarrier at"});
    expect_fault(wait_without_mbarrier, {"is no mbarrier"});
    expect_fault(arrive_too_often, {"has all 1 arrivals of this phase and waits for 8208 bytes"});
}

TEST_CASE("registers of a wgmma are fenced before and left alone until the wait") {
    expect_fault(multiply<Product::no_first_fence>, {"missing fence: wgmma_fence() before the first"});
    expect_fault(multiply<Product::no_fence_behind_d>, {"missing fence: the thread has touched d"});
    expect_fault(multiply<Product::no_fence_behind_a>, {"missing fence: the thread has written a's registers"});
    expect_fault(multiply<Product::d_read_early>, {"d of a wgmma in flight is read before wgmma_wait()"});
    expect_fault(multiply<Product::d_written_early>, {"d of a wgmma in flight is written before wgmma_wait()"});
    expect_fault(multiply<Product::one_group_too_few>, {"d of a wgmma in flight is read before wgmma_wait()"});
    expect_fault(multiply<Product::d_never_waited>, {"returns while a wgmma is in flight"});
}

TEST_CASE("tiles of a wgmma are fenced, ordered and left alone until the wait") {
    expect_fault(multiply<Product::no_proxy_fence>, {"missing fence on shared memory"});
    expect_fault(multiply<Product::no_barrier>, {"race on shared memory"});
    expect_fault(multiply<Product::tile_overwritten>, {"by a wgmma of the warpgroup of thread 0"});
    expect_fault(multiply<Product::tile_copied_over>, {"by a wgmma of the warpgroup of thread 0"});
    expect_fault(release_before_wait<false>, {"by a wgmma of the warpgroup of thread 0"}, {.threads = kThreads + 32});
}

TEST_CASE("a wgmma that not all threads of a warpgroup call alike is named") {
    expect_fault(multiply<Product::other_descriptors>, {"divergent warpgroup"});
    expect_fault(multiply<Product::half_a_warp>, {"divergent", "deadlock", "meets"});
    expect_fault(multiply<Product::other_lines>, {"divergent warpgroup"});
    expect_fault(multiply<Product::tile_in_the_middle>, {"so that its rows do not lie as they are swizzled"});
    expect_fault(multiply<Product::right>, {"has no four warps"}, {.threads = 96});
}

TEST_CASE("more registers than a block has are refused") {
    expect_fault(ask_for_registers<40, 248>, {"a block has 65536"}, {.threads = 3 * kThreads});
}

TEST_CASE("blocks of a cluster that reach each other too early, too late or in disorder are named") {
    const Launch pair{.blocks = 4, .cluster = 2};
    expect_fault(read_next_block<Reach::no_start>, {"before it is known to run"}, pair);
    expect_fault(read_next_block<Reach::no_order>, {"race on shared memory"}, pair);
    expect_fault(read_next_block<Reach::no_end>, {"may still reach its shared memory", "has returned"}, pair);
    expect_fault(read_next_block<Reach::arrive_twice>, {"has arrived already"}, pair);
    expect_fault(read_next_block<Reach::no_such_block>, {"the cluster has no block 2"}, pair);
    expect_fault(store_into_next_block<Reach::no_fence>, {"nobody has called fence_mbarrier_init()"}, pair);
    expect_fault(store_into_next_block<Reach::no_order>, {"race on shared memory", "deadlock"}, pair);
    expect_fault(store_into_next_block<Reach::plain_wait>, {"mbarrier_wait_cluster() sees"}, pair);
    expect_fault(read_next_block<Reach::right>, {"are no whole clusters of 2"}, {.blocks = 3, .cluster = 2});
}
