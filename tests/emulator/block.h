// The threads that run together, those of a block or of a cluster of blocks: who runs next, what each waits for, and
// what ends a launch.
#pragma once

#include <array>
#include <bitset>
#include <cstdint>
#include <deque>
#include <ostream>
#include <string>
#include <vector>

#include "kernels/core/emulated_grid.h"
#include "kernels/core/error.h"
#include "kernels/device/site.h"
#include "tests/emulator/fiber.h"
#include "tests/emulator/mbarriers.h"
#include "tests/emulator/races.h"
#include "tests/emulator/tensor_copies.h"
#include "tests/emulator/wgmma.h"

namespace cloze {

inline std::ostream& operator<<(std::ostream& out, Site site) {
    return out << site.file << ":" << site.line;
}

}  // namespace cloze

namespace cloze::emulated {

inline constexpr int kMostThreads = 8 * 1024;  // of a cluster
inline constexpr int kWarp = 32;

/// What a thread waits for; `what` is null while it can run.
struct Wait {
    const char* what = nullptr;
    Site site = {nullptr, 0};
    const Mbarrier* mbarrier = nullptr;  // that has to end a phase
};

struct Thread {
    int index = 0;  // in its block
    int rank = 0;   // of its block in the cluster
    int slot = 0;   // in the cluster
    Fiber fiber;
    Stack stack = {};
    bool finished = false;
    bool may_touch_global = true;      // false: of a programmatic launch, and has not waited for the kernel before
    int emulating = 0;                 // inside of the emulator's own code, whose loads and stores are not the kernel's
    bool reaches_remote = false;       // may touch shared memory of other blocks of the cluster
    RegisterLog* registers = nullptr;  // of a thread that has called wgmma_fence()
    Wait wait;

    int lane() const { return index % kWarp; }
    int warp() const { return index / kWarp; }
    int warp_slot() const { return slot / kWarp; }  // in the cluster
};

/// Lanes of one warp that have reached a collective.
struct Gathering {
    const void* operation = nullptr;  // which collective; null: none is open
    Site site = {nullptr, 0};
    int arrived = 0;
    std::array<void*, kWarp> posted = {};  // by lane: its arguments, on its stack
};

struct Barrier {
    int expected = 0;
    Site site = {nullptr, 0};
    std::vector<int> waiting;
    int arrived = 0;  // waiting or not
    Meeting meeting;
};

/// Group of cp.async that has not landed.
struct PendingCopy {
    std::uint32_t destination;
    const void* source;
    int source_bytes;
    int group;
};

struct Copies {
    std::vector<PendingCopy> pending;
    int open_group = 1;
};

struct Block {
    int live = 0;  // threads that have not returned
    std::array<Barrier, 16> barriers;
    std::vector<int> registers;                // by warp: what setmaxnreg has asked for, 0: nothing yet
    std::vector<std::uint32_t> remote_access;  // by thread of the cluster: its time at its last access to this memory
    Knowledge known_at_exit;                   // of its threads that have returned
};

struct Cluster {
    const GridRun* run;
    std::int64_t x, y;  // of the first block
    std::uint64_t seed;
    std::uint64_t random;
    std::vector<Thread> threads;  // block after block
    std::bitset<kMostThreads> runnable;
    int live = 0;
    std::vector<Block> blocks;
    std::vector<Gathering> gatherings;  // by warp
    std::vector<Copies> copies;         // by thread
    Barrier barrier;                    // of the cluster
    std::vector<char> at_barrier;       // by thread: see cluster.cpp
    std::shared_ptr<Knowledge> known_at_barrier;
    std::deque<Mbarrier> mbarriers;
    Engine engine;
    std::vector<Warpgroup> warpgroups;
    Clocks clocks;
    std::string failure;
};

/// "thread 37 (warp 1, lane 5) of block (2, 0)"
std::ostream& operator<<(std::ostream& out, const Thread& thread);

/// The cluster and the thread that run now; null on the host's own path. And the thread's block.
Cluster* current_cluster();
Thread* current_thread();
Block& current_block();

/// Stands first in every function that kernels call. While it lives, accesses are the emulator's own and not checked,
/// should it call what is instrumented.
class Emulating {
public:
    Emulating() : thread_(*current_thread()) { ++thread_.emulating; }
    ~Emulating() { --thread_.emulating; }
    Emulating(const Emulating&) = delete;
    Emulating& operator=(const Emulating&) = delete;

private:
    Thread& thread_;
};

[[noreturn]] void end_launch(std::string what);

/// Ends the launch from inside a thread: nothing of the block runs again. Since the stacks are not unwound, nothing
/// that owns memory may live across this call, or across a switch: hence parts to stream instead of a string.
template <typename... Parts>
[[noreturn]] void fault(const Parts&... parts) {
    end_launch(text(parts..., ", in ", *current_thread()));
}

/// Lets others run, at the schedule's pleasure.
void maybe_switch();
/// Sleeps until wake(); the reason shows in a deadlock report.
void sleep(Wait wait);
void wake(Thread& thread);

/// Uniform in [0, below).
std::uint32_t random_below(Cluster& cluster, std::uint32_t below);
/// Whether something asynchronous happens as soon as it is asked for, rather than later.
bool happens_at_once(Cluster& cluster);

}  // namespace cloze::emulated
