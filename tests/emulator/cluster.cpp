// Blocks of a cluster: their barrier, and accesses to each other's shared memory. Looked for besides races: a block
// that is reached before it is known to run, or that returns while another may still reach it.
#include "tests/emulator/cluster.h"

#include <algorithm>
#include <cstring>

#include "kernels/device/emulated.h"
#include "tests/emulator/block.h"
#include "tests/emulator/memory.h"

namespace cloze::emulated {

namespace {

constexpr int kAccessBytes = 16;

// Of a thread at the cluster's barrier.
constexpr char kAway = 0, kArrived = 1, kOpen = 2;

void open_if_complete(Cluster& cluster) {
    Barrier& barrier = cluster.barrier;
    if (barrier.arrived == 0 || barrier.arrived < cluster.live) return;
    for (Thread& thread : cluster.threads) {
        char& state = cluster.at_barrier[static_cast<std::size_t>(thread.slot)];
        if (state == kArrived) state = kOpen;
    }
    cluster.known_at_barrier = barrier.meeting.known;
    for (const int slot : barrier.waiting) wake(cluster.threads[static_cast<std::size_t>(slot)]);
    barrier.waiting.clear();
    barrier.meeting = {};
    barrier.arrived = 0;
}

}  // namespace

Remote::Remote(std::uint32_t address, Site site) : thread_(*current_thread()) {
    Cluster& cluster = *current_cluster();
    const int rank = rank_of(address);
    if (rank != thread_.rank) {
        const int threads = cluster.run->threads;
        Block& block = cluster.blocks[static_cast<std::size_t>(rank)];
        if (block.live == 0) fault("block ", rank, " of the cluster, which is reached at ", site, ", has returned");
        const Knowledge& known = cluster.clocks.view(thread_.slot);
        const auto first = known.begin() + rank * threads;
        if (std::none_of(first, first + threads, [](std::uint32_t time) { return time > 0; })) {
            fault("block ", rank, " of the cluster is reached at ", site, " before it is known to run: cluster_wait()");
        }
        block.remote_access.resize(cluster.threads.size(), 0);
        block.remote_access[static_cast<std::size_t>(thread_.slot)] = known[static_cast<std::size_t>(thread_.slot)];
    }
    thread_.reaches_remote = true;
}

Remote::~Remote() {
    thread_.reaches_remote = false;
}

void notice_exit_of_cluster(const Thread& thread) {
    Cluster& cluster = *current_cluster();
    open_if_complete(cluster);
    Block& block = cluster.blocks[static_cast<std::size_t>(thread.rank)];
    learn(block.known_at_exit, cluster.clocks.view(thread.slot));
    if (block.live > 0) return;
    for (std::size_t slot = 0; slot < block.remote_access.size(); ++slot) {
        if (block.remote_access[slot] <= known_time(block.known_at_exit, slot)) continue;
        const Thread& other = cluster.threads[slot];
        cluster.failure = text("block ", thread.rank, " of the cluster returns while ", other,
                               " may still reach its shared memory: cluster_arrive(), cluster_wait()");
    }
}

int cluster_rank() {
    return current_thread()->rank;
}

void cluster_arrive(Site site) {
    const Emulating emulating;
    maybe_switch();
    Cluster& cluster = *current_cluster();
    const Thread& thread = *current_thread();
    char& state = cluster.at_barrier[static_cast<std::size_t>(thread.slot)];
    if (state != kAway) fault("cluster_arrive at ", site, ": the thread has arrived already, and not waited");
    state = kArrived;
    cluster.clocks.release(thread.slot, cluster.barrier.meeting);
    ++cluster.barrier.arrived;
    open_if_complete(cluster);
    maybe_switch();
}

void cluster_wait(Site site) {
    const Emulating emulating;
    maybe_switch();
    Cluster& cluster = *current_cluster();
    const Thread& thread = *current_thread();
    char& state = cluster.at_barrier[static_cast<std::size_t>(thread.slot)];
    if (state == kAway) fault("cluster_wait at ", site, ": the thread has not arrived");
    if (state == kArrived) {
        cluster.barrier.waiting.push_back(thread.slot);
        sleep({"cluster_wait", site});
    }
    state = kAway;
    cluster.clocks.acquire_more(thread.slot, cluster.known_at_barrier);
    maybe_switch();
}

std::uint32_t remote_address(std::uint32_t address, int rank) {
    const Emulating emulating;
    if (rank < 0 || rank >= static_cast<int>(current_cluster()->blocks.size())) {
        fault("remote_address: the cluster has no block ", rank);
    }
    return cluster_address(address, rank);
}

void load_remote(float* x, std::uint32_t address, Site site) {
    const Emulating emulating;
    maybe_switch();
    const Remote remote(address, site);
    const unsigned char* from = at_shared_address(address);
    touch(from, kAccessBytes, kAccessBytes, AccessKind::read, __builtin_return_address(0));
    std::memcpy(x, from, kAccessBytes);
}

void store_remote(std::uint32_t address, const float* x, Site site) {
    const Emulating emulating;
    maybe_switch();
    const Remote remote(address, site);
    unsigned char* to = at_shared_address(address);
    touch(to, kAccessBytes, kAccessBytes, AccessKind::write, __builtin_return_address(0));
    std::memcpy(to, x, kAccessBytes);
}

}  // namespace cloze::emulated
