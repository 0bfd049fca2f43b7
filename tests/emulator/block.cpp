#include "tests/emulator/block.h"

#include <algorithm>
#include <map>
#include <memory>
#include <numeric>

#include "kernels/core/error.h"
#include "kernels/device/emulated.h"
#include "tests/emulator/access_counts.h"
#include "tests/emulator/emulator.h"
#include "tests/emulator/memory.h"
#include "tests/emulator/warp.h"

namespace cloze::emulated {

namespace {

Block* running_block = nullptr;
thread_local Thread* running_thread = nullptr;  // of the host's thread that runs the block; others run no kernel

std::uint64_t next_random(std::uint64_t& state) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state;
}

bool is_random(const Block& block) {
    return block.seed > 1;
}

void thread_body(void* argument) {
    Thread& thread = *static_cast<Thread*>(argument);
    Block& block = *running_block;
    block.run->call(block.run->arguments);
    const Emulating emulating;
    thread.finished = true;
    block.runnable.reset(static_cast<std::size_t>(thread.index));
    --block.live;
    finish_copies_of(thread);
    notice_exit(thread);
    thread.fiber.suspend();
}

/// The runnable thread that comes next: ascending, descending, or from a random start.
int pick(Block& block, int last) {
    const int count = static_cast<int>(block.threads.size());
    const int step = block.seed == 1 ? -1 : 1;
    int at = is_random(block) ? static_cast<int>(random_below(block, static_cast<std::uint32_t>(count))) : last + step;
    for (int tried = 0; tried < count; ++tried, at += step) {
        at = (at + count) % count;
        if (block.runnable[static_cast<std::size_t>(at)]) return at;
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

std::string deadlock_report(const Block& block) {
    std::map<std::string, std::vector<int>> by_reason;
    for (const Thread& thread : block.threads) {
        const std::string reason = thread.finished ? std::string("has returned")
                                                   : text("waits for ", thread.wait.what, " at ", thread.wait.site);
        by_reason[reason].push_back(thread.index);
    }
    std::string report = text("deadlock in block (", block.x, ", ", block.y, ")");
    for (const auto& [reason, threads] : by_reason) report += text("; thread ", ranges(threads), " ", reason);
    return report;
}

void run_threads(Block& block) {
    int last = block.seed == 1 ? static_cast<int>(block.threads.size()) : -1;
    while (block.live > 0 && block.failure.empty()) {
        const int next = pick(block, last);
        if (next < 0) {
            block.failure = deadlock_report(block);
            return;
        }
        running_thread = &block.threads[static_cast<std::size_t>(next)];
        running_thread->fiber.resume();
        running_thread = nullptr;
        last = next;
    }
}

std::string run_block(Block& block) {
    const int count = block.run->threads;
    block.threads.resize(static_cast<std::size_t>(count));
    block.gatherings.assign(static_cast<std::size_t>(count / kWarp), {});
    block.copies.assign(static_cast<std::size_t>(count), {});
    block.barriers = {};
    block.clocks.start(count);
    std::string().swap(block.failure);  // without memory: end_launch() would leave it on a stack that nobody unwinds
    block.live = count;
    start_shared_memory(block.run->shared_bytes);
    for (int i = 0; i < count; ++i) {
        Thread& thread = block.threads[static_cast<std::size_t>(i)];
        thread.index = i;
        thread.finished = false;
        thread.emulating = 0;
        thread.may_touch_global = !block.run->programmatic;
        thread.wait = {};
        thread.stack = pooled_stack(i);
        thread.fiber.start(thread.stack, thread_body, &thread);
        block.runnable.set(static_cast<std::size_t>(i));
    }
    running_block = &block;
    run_threads(block);
    running_block = nullptr;
    running_thread = nullptr;
    return block.failure;
}

std::int64_t block_at(const GridRun& run, std::uint64_t seed, std::int64_t position) {
    const std::int64_t count = run.blocks_x * run.blocks_y;
    if (seed == 0) return position;
    if (seed == 1) return count - 1 - position;
    // An odd multiplier that shares no factor with the count walks every block once.
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

Block* current_block() {
    return running_block;
}
Thread* current_thread() {
    return running_thread;
}

std::uint32_t random_below(Block& block, std::uint32_t below) {
    return static_cast<std::uint32_t>((next_random(block.random) >> 32) % below);
}

void end_launch(std::string what) {
    running_block->failure = std::move(what);
    running_thread->fiber.suspend();
    __builtin_unreachable();
}

void maybe_switch() {
    if (is_random(*running_block) && random_below(*running_block, 4) == 0) running_thread->fiber.suspend();
}

void sleep(Wait wait) {
    Thread& thread = *running_thread;
    thread.wait = wait;
    running_block->runnable.reset(static_cast<std::size_t>(thread.index));
    thread.fiber.suspend();
}

void wake(Thread& thread) {
    thread.wait = {};
    running_block->runnable.set(static_cast<std::size_t>(thread.index));
}

std::ostream& operator<<(std::ostream& out, const Thread& thread) {
    return out << "thread " << thread.index << " (warp " << thread.warp() << ", lane " << thread.lane()
               << ") of block (" << running_block->x << ", " << running_block->y << ")";
}

void run_grid(const GridRun& run) {
    require(running_block == nullptr, run.op, ": a kernel launches a kernel");
    const std::uint64_t seed = settings().seed;
    const auto refuse = [&](const std::string& what) {
        fail(Fault::device, run.op, ": ", what, "; launched at ", run.file, ":", run.line, ", emulator seed ", seed);
    };
    if (run.shared_bytes > kMostSharedBytes) {
        refuse(text(run.shared_bytes, " bytes of shared memory, a block has at most ", kMostSharedBytes));
    }
    if (run.cluster != 1) refuse("clusters are not emulated");
    static auto block = std::make_unique<Block>();
    block->run = &run;
    block->seed = seed;
    block->random = seed * 0x9E3779B97F4A7C15u + 0x2545F4914F6CDD1Du;
    start_launch(run.arguments, run.arguments_bytes);
    for (std::int64_t position = 0; position < run.blocks_x * run.blocks_y; ++position) {
        const std::int64_t index = block_at(run, seed, position);
        block->x = index % run.blocks_x;
        block->y = index / run.blocks_x;
        const std::string failure = run_block(*block);
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
    return running_block->run->threads;
}
std::int64_t block_x() {
    return running_block->x;
}
std::int64_t block_y() {
    return running_block->y;
}
std::int64_t blocks_x() {
    return running_block->run->blocks_x;
}
std::int64_t blocks_y() {
    return running_block->run->blocks_y;
}

}  // namespace cloze::emulated
