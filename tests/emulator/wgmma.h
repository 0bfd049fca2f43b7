// wgmma as an actor of its own: the tensor cores of a warpgroup read shared memory some time between the call and the
// wait, in the order of the calls, and leave d at the wait of each warp. Until then d is NaN, which nobody may touch.
// a in registers is taken at the call: what the kernel's variables hold afterwards is another register's business.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <list>
#include <string>
#include <vector>

#include "kernels/device/site.h"
#include "tests/emulator/races.h"

namespace cloze::emulated {

struct Cluster;
struct Thread;

/// Which words of a thread's stack, where g++ keeps what nvcc keeps in registers, it has touched since its last
/// wgmma_fence(), and which belong to a wgmma that it has not waited for.
struct RegisterLog {
    std::vector<std::uint64_t> touched, written;  // a bit a word
    std::size_t low = 0, high = 0;                // words [low, high) may be set
    struct Range {
        const float* start;
        int count;
    };
    std::vector<Range> in_flight;
};

/// The running thread reads or writes its stack.
void note_register_access(const void* address, std::size_t bytes, AccessKind kind, const void* return_address);

/// d of a warpgroup between the first wgmma and the wait.
struct Accumulators {
    std::array<float*, kWarpgroup> d;  // by thread
    int n;
    std::vector<float> value;  // [64, n]
    int last_group;
    unsigned delivered = 0;  // a bit a warp: d has its result
};

struct PendingWgmma {
    int group;
    Accumulators* to;
    int n;
    bool a_in_registers;
    std::vector<std::uint32_t> a_words;  // [thread, 4]
    std::uint64_t a, b;
    bool a_mn_major, b_mn_major, accumulate;
    int rank;  // of the block
};

struct Warpgroup {
    int arrived = 0;
    Site site = {nullptr, 0};
    std::array<void*, kWarpgroup> posted = {};
    std::array<int, 4> open_group = {1, 1, 1, 1};  // by warp
    std::list<Accumulators> accumulators;
    std::deque<PendingWgmma> pending;
};

/// Executes the next wgmma of one warpgroup, where there is any.
bool execute_one_wgmma(Cluster& cluster);

/// What is wrong if this thread returns now; else empty.
std::string unfinished_wgmma(const Thread& thread);

}  // namespace cloze::emulated
