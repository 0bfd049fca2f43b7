// cp.async as an actor of its own. The destination is NaN from the call until the copy lands: at once, at the wait, or
// anywhere between, as the seed says. The race detector takes the copy's write as unordered with everybody else's
// accesses until its thread has waited for it.
#include <algorithm>
#include <cstring>

#include "kernels/device/emulated.h"
#include "tests/emulator/block.h"
#include "tests/emulator/code_place.h"
#include "tests/emulator/emulator.h"
#include "tests/emulator/memory.h"
#include "tests/emulator/warp.h"

namespace cloze::emulated {

namespace {

constexpr int kCopyBytes = 16;

Copies& copies_of(const Thread& thread) {
    return current_cluster()->copies[static_cast<std::size_t>(thread.slot)];
}

void land(const PendingCopy& copy) {
    unsigned char* to = at_shared_address(copy.destination);
    if (copy.source_bytes > 0) std::memcpy(to, copy.source, static_cast<std::size_t>(copy.source_bytes));
    std::memset(to + copy.source_bytes, 0, static_cast<std::size_t>(kCopyBytes - copy.source_bytes));
}

void land_up_to(const Thread& thread, int group) {
    Copies& copies = copies_of(thread);
    const auto late = std::stable_partition(copies.pending.begin(), copies.pending.end(),
                                            [&](const PendingCopy& copy) { return copy.group <= group; });
    std::for_each(copies.pending.begin(), late, land);
    copies.pending.erase(copies.pending.begin(), late);
}

void check(const void* address, int bytes, AccessKind kind, const Thread& thread, const void* from) {
    const Located located = locate(address, bytes, kind, from);
    if (located.shared != (kind == AccessKind::write)) fault("copy_async_16 copies from global to shared memory only");
    if (reinterpret_cast<std::uintptr_t>(address) % kCopyBytes != 0) {
        fault("copy_async_16: byte ", located.offset, " of ", located.what, " is not aligned to 16");
    }
    if (located.history.empty()) return;
    const Stamp stamp =
        current_cluster()->clocks.stamp_of_copy(thread.slot, copies_of(thread).open_group, code_offset(from));
    check_race({located.history, kind, stamp, located.what, located.offset});
}

}  // namespace

void copy_async_16(std::uint32_t destination, const void* source, int source_bytes) {
    const Emulating emulating;
    maybe_switch();
    const void* from = __builtin_return_address(0);
    Cluster& cluster = *current_cluster();
    const Thread& thread = *current_thread();
    unsigned char* to = at_shared_address(destination);
    if (source_bytes < 0 || source_bytes > kCopyBytes) fault("copy_async_16 of ", source_bytes, " bytes");
    check(to, kCopyBytes, AccessKind::write, thread, from);
    if (source_bytes > 0) check(source, source_bytes, AccessKind::read, thread, from);

    const PendingCopy copy{destination, source, source_bytes, copies_of(thread).open_group};
    if (happens_at_once(cluster)) {
        land(copy);
        return;
    }
    std::memset(to, 0xff, kCopyBytes);
    copies_of(thread).pending.push_back(copy);
}

void commit_copies() {
    const Emulating emulating;
    maybe_switch();
    Copies& copies = copies_of(*current_thread());
    // A random earlier group may land on its own.
    Cluster& cluster = *current_cluster();
    if (cluster.seed > 1 && !copies.pending.empty() && random_below(cluster, 2) == 0) {
        land_up_to(*current_thread(), copies.pending.front().group);
    }
    ++copies.open_group;
}

void wait_for_copies(int pending_groups) {
    const Emulating emulating;
    maybe_switch();
    const Thread& thread = *current_thread();
    const int landed = copies_of(thread).open_group - 1 - pending_groups;
    if (landed > 0) {
        land_up_to(thread, landed);
        current_cluster()->clocks.copies_landed(thread.slot, landed);
    }
}

void finish_copies_of(Thread& thread) {
    Copies& copies = copies_of(thread);
    land_up_to(thread, copies.open_group);
}

}  // namespace cloze::emulated
