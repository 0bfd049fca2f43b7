// One block of threads: who runs next, what each waits for, and what ends a launch.
#pragma once

#include <array>
#include <bitset>
#include <cstdint>
#include <ostream>
#include <string>
#include <vector>

#include "kernels/core/emulated_grid.h"
#include "kernels/core/error.h"
#include "kernels/device/site.h"
#include "tests/emulator/fiber.h"
#include "tests/emulator/races.h"

namespace cloze {

inline std::ostream& operator<<(std::ostream& out, Site site) {
    return out << site.file << ":" << site.line;
}

}  // namespace cloze

namespace cloze::emulated {

inline constexpr int kMostThreads = 1024;
inline constexpr int kWarp = 32;

/// What a thread waits for; `what` is null while it can run.
struct Wait {
    const char* what = nullptr;
    Site site = {nullptr, 0};
};

struct Thread {
    int index = 0;
    Fiber fiber;
    Stack stack = {};
    bool finished = false;
    bool may_touch_global = true;  // false: of a programmatic launch, and has not waited for the kernel before
    int emulating = 0;             // inside of the emulator's own code, whose loads and stores are not the kernel's
    Wait wait;

    int lane() const { return index % kWarp; }
    int warp() const { return index / kWarp; }
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
    const GridRun* run;
    std::int64_t x, y;
    std::uint64_t seed;
    std::uint64_t random;
    std::vector<Thread> threads;
    std::bitset<kMostThreads> runnable;
    int live = 0;
    std::vector<Gathering> gatherings;  // by warp
    std::array<Barrier, 16> barriers;
    std::vector<Copies> copies;  // by thread
    Clocks clocks;
    std::string failure;
};

/// "thread 37 (warp 1, lane 5) of block (2, 0)"
std::ostream& operator<<(std::ostream& out, const Thread& thread);

/// The block and the thread that run now; null on the host's own path.
Block* current_block();
Thread* current_thread();

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
std::uint32_t random_below(Block& block, std::uint32_t below);

}  // namespace cloze::emulated
