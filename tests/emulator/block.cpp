#include <algorithm>
#include <map>
#include <memory>
#include <numeric>

#include "kernels/core/error.h"
#include "kernels/device/emulated.h"
#include "tests/emulator/access_counts.h"
#include "tests/emulator/cluster.h"
#include "tests/emulator/emulator.h"
#include "tests/emulator/memory.h"
#include "tests/emulator/streams.h"
#include "tests/emulator/warp.h"

namespace cloze::emulated {

namespace {

Cluster* running_cluster = nullptr;
thread_local Thread* running_thread = nullptr;  // of the host's thread that runs the block; others run no kernel

std::uint64_t next_random(std::uint64_t& state) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state;
}

bool is_random(const Cluster& cluster) {
    return cluster.seed > 1;
}

void thread_body(void* argument) {
    Thread& thread = *static_cast<Thread*>(argument);
    Cluster& cluster = *running_cluster;
    cluster.run->call(cluster.run->arguments);
    const Emulating emulating;
    thread.finished = true;
    cluster.runnable.reset(static_cast<std::size_t>(thread.slot));
    --cluster.live;
    --current_block().live;
    finish_copies_of(thread);
    notice_exit(thread);
    thread.fiber.suspend();
}

/// The runnable thread that comes next: ascending, descending, or from a random start.
int pick(Cluster& cluster, int last) {
    const int count = static_cast<int>(cluster.threads.size());
    const int step = cluster.seed == 1 ? -1 : 1;
    int at =
        is_random(cluster) ? static_cast<int>(random_below(cluster, static_cast<std::uint32_t>(count))) : last + step;
    for (int tried = 0; tried < count; ++tried, at += step) {
        at = (at + count) % count;
        if (cluster.runnable[static_cast<std::size_t>(at)]) return at;
    }
    return -1;
}

/// Threads that wait for the same thing, as ranges: "0-31, 33".
std::string ranges(const std::vector<int>& sorted) {
    std::string all;
    for (std::size_t i = 0; i < sorted.size();) {
        std::size_t end = i;
        while (end + 1 < sorted.size() && sorted[end + 1] == sorted[end] + 1) ++end;
        all += text(all.empty() ? "" : ", ", sorted[i]);
        if (end > i) all += text("-", sorted[end]);
        i = end + 1;
    }
    return all;
}

std::string deadlock_report(const Cluster& cluster) {
    std::map<std::string, std::vector<int>> by_reason;
    for (const Thread& thread : cluster.threads) {
        const Wait& wait = thread.wait;
        const std::string phase = wait.mbarrier == nullptr ? "" : text(": ", MbarrierPhase{*wait.mbarrier});
        const std::string of = cluster.blocks.size() == 1 ? "" : text(" of block ", thread.rank, " of the cluster");
        const std::string reason =
            thread.finished ? text(of, " has returned") : text(of, " waits for ", wait.what, " at ", wait.site, phase);
        by_reason[reason].push_back(thread.index);
    }
    std::string report = text("deadlock in block (", cluster.x, ", ", cluster.y, ")");
    for (const auto& [reason, threads] : by_reason) report += text("; thread ", ranges(threads), reason);
    return report;
}

bool is_anything_under_way(const Cluster& cluster) {
    return !cluster.engine.copies.empty() ||
           std::any_of(cluster.warpgroups.begin(), cluster.warpgroups.end(),
                       [](const Warpgroup& warpgroup) { return !warpgroup.pending.empty(); });
}

/// Copies and products that nobody waits for yet happen in between, under random schedules.
void advance_asynchronous(Cluster& cluster) {
    if (!is_random(cluster) || !is_anything_under_way(cluster) || random_below(cluster, 8) != 0) return;
    random_below(cluster, 2) == 0 ? land_one(cluster) : execute_one_wgmma(cluster);
}

void run_threads(Cluster& cluster) {
    int last = cluster.seed == 1 ? static_cast<int>(cluster.threads.size()) : -1;
    while (cluster.live > 0 && cluster.failure.empty()) {
        advance_asynchronous(cluster);
        const int next = pick(cluster, last);
        if (next < 0) {
            if (land_one(cluster)) continue;
            if (cluster.failure.empty()) cluster.failure = deadlock_report(cluster);
            return;
        }
        running_thread = &cluster.threads[static_cast<std::size_t>(next)];
        running_thread->fiber.resume();
        running_thread = nullptr;
        last = next;
    }
}

void start_thread(Cluster& cluster, int slot) {
    Thread& thread = cluster.threads[static_cast<std::size_t>(slot)];
    thread.index = slot % cluster.run->threads;
    thread.rank = slot / cluster.run->threads;
    thread.slot = slot;
    thread.finished = false;
    thread.emulating = 0;
    thread.may_touch_global = !cluster.run->programmatic;
    thread.reaches_remote = false;
    thread.registers = nullptr;
    thread.wait = {};
    thread.stack = pooled_stack(slot);
    thread.fiber.start(thread.stack, thread_body, &thread);
    cluster.runnable.set(static_cast<std::size_t>(slot));
}

std::string run_cluster(Cluster& cluster) {
    const GridRun& run = *cluster.run;
    const int count = run.threads * run.cluster;
    cluster.threads.resize(static_cast<std::size_t>(count));
    cluster.gatherings.assign(static_cast<std::size_t>(count / kWarp), {});
    cluster.copies.assign(static_cast<std::size_t>(count), {});
    cluster.barrier = {};
    cluster.at_barrier.assign(static_cast<std::size_t>(count), 0);
    cluster.mbarriers.clear();
    cluster.engine.copies.clear();
    cluster.clocks.start(count, run.threads);
    cluster.warpgroups.assign(static_cast<std::size_t>(cluster.clocks.warpgroups()), {});
    std::string().swap(cluster.failure);  // without memory: end_launch() would leave it on a stack that nobody unwinds
    cluster.live = count;
    cluster.blocks.assign(static_cast<std::size_t>(run.cluster), {});
    for (int rank = 0; rank < run.cluster; ++rank) {
        Block& block = cluster.blocks[static_cast<std::size_t>(rank)];
        block.live = run.threads;
        block.registers.assign(static_cast<std::size_t>(run.threads / kWarp), 0);
        start_shared_memory(run.shared_bytes, rank);
    }
    for (int slot = 0; slot < count; ++slot) start_thread(cluster, slot);
    running_cluster = &cluster;
    run_threads(cluster);
    if (cluster.failure.empty()) cluster.failure = unfinished_mbarriers();
    running_cluster = nullptr;
    running_thread = nullptr;
    return cluster.failure;
}

/// Which cluster of the grid runs at `position`.
std::int64_t cluster_at(const GridRun& run, std::uint64_t seed, std::int64_t position) {
    const std::int64_t count = run.blocks_x * run.blocks_y / run.cluster;
    if (seed == 0) return position;
    if (seed == 1) return count - 1 - position;
    // An odd multiplier that shares no factor with the count walks every cluster once.
    std::int64_t stride = static_cast<std::int64_t>(seed % static_cast<std::uint64_t>(count)) | 1;
    while (std::gcd(stride, count) != 1) stride += 2;
    return static_cast<std::int64_t>(
        (static_cast<std::uint64_t>(stride) * static_cast<std::uint64_t>(position) + seed) %
        static_cast<std::uint64_t>(count));
}

}  // namespace

Settings& settings() {
    static Settings all;
    return all;
}

Cluster* current_cluster() {
    return running_cluster;
}
Thread* current_thread() {
    return running_thread;
}
Block& current_block() {
    return running_cluster->blocks[static_cast<std::size_t>(running_thread->rank)];
}

std::uint32_t random_below(Cluster& cluster, std::uint32_t below) {
    return static_cast<std::uint32_t>((next_random(cluster.random) >> 32) % below);
}

bool happens_at_once(Cluster& cluster) {
    return cluster.seed == 0 || (is_random(cluster) && random_below(cluster, 2) == 0);
}

void end_launch(std::string what) {
    running_cluster->failure = std::move(what);
    running_thread->fiber.suspend();
    __builtin_unreachable();
}

void maybe_switch() {
    if (is_random(*running_cluster) && random_below(*running_cluster, 4) == 0) running_thread->fiber.suspend();
}

void sleep(Wait wait) {
    Thread& thread = *running_thread;
    thread.wait = wait;
    running_cluster->runnable.reset(static_cast<std::size_t>(thread.slot));
    thread.fiber.suspend();
}

void wake(Thread& thread) {
    thread.wait = {};
    running_cluster->runnable.set(static_cast<std::size_t>(thread.slot));
}

std::ostream& operator<<(std::ostream& out, const Thread& thread) {
    return out << "thread " << thread.index << " (warp " << thread.warp() << ", lane " << thread.lane()
               << ") of block (" << running_cluster->x + thread.rank << ", " << running_cluster->y << ")";
}

void run_grid(const GridRun& run) {
    require(running_cluster == nullptr, run.op, ": a kernel launches a kernel");
    give_work(run.stream);
    const std::uint64_t seed = settings().seed;
    const auto refuse = [&](const std::string& what) {
        fail(Fault::device, run.op, ": ", what, "; launched at ", run.file, ":", run.line, ", emulator seed ", seed);
    };
    if (run.shared_bytes > kMostSharedBytes) {
        refuse(text(run.shared_bytes, " bytes of shared memory, a block has at most ", kMostSharedBytes));
    }
    if (run.blocks_x % run.cluster != 0) {
        refuse(text(run.blocks_x, " blocks along x are no whole clusters of ", run.cluster));
    }
    if (run.cluster > 1 && run.cluster * run.threads > kMostRaceThreads) {
        refuse(text("clusters of more than ", kMostRaceThreads, " threads are not emulated"));
    }
    static auto cluster = std::make_unique<Cluster>();
    cluster->run = &run;
    cluster->seed = seed;
    cluster->random = seed * 0x9E3779B97F4A7C15u + 0x2545F4914F6CDD1Du;
    start_launch(run.arguments, run.arguments_bytes);
    for (std::int64_t position = 0; position < run.blocks_x * run.blocks_y / run.cluster; ++position) {
        const std::int64_t first = cluster_at(run, seed, position) * run.cluster;
        cluster->x = first % run.blocks_x;
        cluster->y = first / run.blocks_x;
        const std::string failure = run_cluster(*cluster);
        if (!failure.empty()) refuse(failure);
        count_block_end();
    }
}

void wait_for_previous_kernel() {
    running_thread->may_touch_global = true;
}

int thread_index() {
    return running_thread->index;
}
int threads_per_block() {
    return running_cluster->run->threads;
}
std::int64_t block_x() {
    return running_cluster->x + running_thread->rank;
}
std::int64_t block_y() {
    return running_cluster->y;
}
std::int64_t blocks_x() {
    return running_cluster->run->blocks_x;
}
std::int64_t blocks_y() {
    return running_cluster->run->blocks_y;
}

}  // namespace cloze::emulated
