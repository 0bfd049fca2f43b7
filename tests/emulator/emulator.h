// The host emulator: runs a grid of CUDA threads as fibers, one block or cluster after the other, on one host thread,
// and looks for what a device would do wrong without a word. docs/kernels.md says what it checks and what it cannot.
// Parts:
//
//   fiber         stacks and switches
//   block         threads of a block or cluster, their order, deadlock
//   warp          barriers, and collectives: shuffles, ballot
//   matrix        mma.sync, ldmatrix
//   cluster       blocks that reach each other's shared memory
//   copies        cp.async as an actor of its own; so are
//   tensor_copies     the copy engine's, and
//   wgmma             products of warpgroups
//   mbarriers     phases of arrivals and landed bytes
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
    /// Order of blocks and threads, and when copies and products happen. 0: ascending, at once. 1: descending, as late
    /// as allowed. Else: pseudo-random, with switches at every emulated operation.
    std::uint64_t seed = 0;
    bool find_races = true;
    /// Fills access_counts(): about twice as slow.
    bool count_accesses = false;
};

/// Of all launches from now on.
Settings& settings();

}  // namespace cloze::emulated
