// The host emulator: runs a grid of CUDA threads as fibers, one block after the other, on one host thread, and looks
// for what a device would do wrong without a word. docs/kernels.md says what it checks and what it cannot. Its parts:
//
//   fiber         stacks and switches
//   block         threads of a block, their order, barriers, deadlock
//   warp          collectives: shuffles, ballot, mma.sync, ldmatrix
//   copies        cp.async as an actor of its own
//   memory        device and shared memory: who may touch what
//   races         who may touch it when
//   access_counts bank conflicts and uncoalesced accesses, for tests to read
//   instrumentation   calls that g++ -fsanitize=thread puts before the kernels' plain loads and stores
//   device_calls  memory, streams and events of kernels/core
//
// A fault ends the launch with Fault::device: op, what went wrong, where, in which thread, under which seed.
#pragma once

#include <cstdint>

namespace cloze::emulated {

struct Settings {
    /// Order of blocks and threads, and when asynchronous copies land. 0: ascending, copies at once. 1: descending,
    /// copies as late as allowed. Else: pseudo-random, with switches at every emulated operation.
    std::uint64_t seed = 0;
    bool find_races = true;
    /// Fills access_counts(): about twice as slow.
    bool count_accesses = false;
};

/// Of all launches from now on.
Settings& settings();

}  // namespace cloze::emulated
