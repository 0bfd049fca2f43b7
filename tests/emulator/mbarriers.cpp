#include "tests/emulator/mbarriers.h"

#include <cstring>

#include "kernels/device/emulated.h"
#include "tests/emulator/block.h"
#include "tests/emulator/cluster.h"
#include "tests/emulator/memory.h"

namespace cloze::emulated {

namespace {

constexpr int kMbarrierBytes = 8;

/// What stands in shared memory in place of the hardware's counters.
std::uint64_t mark_of(const Mbarrier& barrier) {
    return 0x6d62617272696572u + static_cast<std::uint64_t>(barrier.index) * 0x100000001b3u;
}

Mbarrier* find(std::uint32_t address) {
    for (Mbarrier& barrier : current_cluster()->mbarriers) {
        if (barrier.address == address) return &barrier;
    }
    return nullptr;
}

void end_phase(Mbarrier& barrier) {
    Cluster& cluster = *current_cluster();
    const int under_way = copies_under_way(barrier.index);
    if (under_way > 0) {
        std::string what = text("the phase of ", MbarrierName{barrier}, " ends while ", under_way,
                                " of its copies are still under way: too few bytes were announced");
        if (current_thread() != nullptr) end_launch(std::move(what));
        cluster.failure = std::move(what);
        return;
    }
    ++barrier.phase;
    auto known = barrier.known ? std::make_shared<Knowledge>(*barrier.known) : std::make_shared<Knowledge>();
    if (barrier.meeting.known) learn(*known, *barrier.meeting.known);
    const auto actor = static_cast<std::size_t>(cluster.clocks.actor_of_mbarrier(barrier.index));
    if (known->size() <= actor) known->resize(actor + 1, 0);
    (*known)[actor] = barrier.phase;
    barrier.known = std::move(known);
    barrier.meeting = {};
    barrier.missing = barrier.arrivals;
    for (const int slot : barrier.waiting) wake(cluster.threads[static_cast<std::size_t>(slot)]);
    barrier.waiting.clear();
}

void end_phase_if_complete(Mbarrier& barrier) {
    if (barrier.missing == 0 && barrier.bytes == 0) end_phase(barrier);
}

void arrive(Mbarrier& barrier, int bytes, const char* operation, Site site) {
    if (barrier.missing == 0) {
        fault(operation, " at ", site, ": ", MbarrierName{barrier}, " has all ", barrier.arrivals,
              " arrivals of this phase and waits for ", barrier.bytes, " bytes");
    }
    current_cluster()->clocks.release(current_thread()->slot, barrier.meeting);
    barrier.bytes += bytes;
    --barrier.missing;
    end_phase_if_complete(barrier);
}

}  // namespace

Mbarrier& mbarrier_at(std::uint32_t address, const char* operation, const void* return_address) {
    touch(at_shared_address(address), kMbarrierBytes, kMbarrierBytes, AccessKind::read, return_address);
    Mbarrier* barrier = find(cluster_address(address));
    if (barrier == nullptr) fault(operation, ": byte ", shared_offset(address), " of shared memory is no mbarrier");
    std::uint64_t mark;
    std::memcpy(&mark, at_shared_address(address), sizeof mark);
    if (mark != mark_of(*barrier)) fault(operation, ": ", MbarrierName{*barrier}, " has been overwritten");
    return *barrier;
}

void land_bytes(Mbarrier& barrier, std::int64_t bytes) {
    barrier.bytes -= bytes;
    end_phase_if_complete(barrier);
}

std::ostream& operator<<(std::ostream& out, MbarrierName name) {
    out << "the mbarrier at byte " << shared_offset(name.barrier.address) << " of shared memory";
    if (current_cluster()->blocks.size() > 1) out << " of block " << name.barrier.rank << " of the cluster";
    return out;
}

std::ostream& operator<<(std::ostream& out, MbarrierPhase phase) {
    const Mbarrier& barrier = phase.barrier;
    return out << MbarrierName{barrier} << " (its phase " << barrier.phase << " lacks " << barrier.missing
               << " arrivals and " << barrier.bytes << " bytes)";
}

void fence_mbarriers_of(int slot) {
    for (Mbarrier& barrier : current_cluster()->mbarriers) {
        if (barrier.initialised_by == slot) barrier.fenced = true;
    }
}

std::string unfinished_mbarriers() {
    for (const Mbarrier& barrier : current_cluster()->mbarriers) {
        if (barrier.bytes != 0) {
            return text("the block ends with other bytes landed than announced at ", MbarrierPhase{barrier});
        }
        if (barrier.copies_until > barrier.waited_until) {
            return text("the block ends, and nobody has waited for the copies of phase ", barrier.copies_until - 1,
                        " of ", MbarrierName{barrier});
        }
    }
    return "";
}

void mbarrier_init(std::uint32_t address, int arrivals) {
    const Emulating emulating;
    maybe_switch();
    Cluster& cluster = *current_cluster();
    const Thread& thread = *current_thread();
    touch(at_shared_address(address), kMbarrierBytes, kMbarrierBytes, AccessKind::write, __builtin_return_address(0));
    if (arrivals < 1 || arrivals >= 1 << 20) fault("mbarrier_init for ", arrivals, " arrivals");
    if (find(cluster_address(address)) != nullptr) {
        fault("mbarrier_init: byte ", shared_offset(address), " of shared memory is an mbarrier already");
    }
    const int index = static_cast<int>(cluster.mbarriers.size());
    cluster.mbarriers.push_back({.address = cluster_address(address),
                                 .index = index,
                                 .rank = thread.rank,
                                 .initialised_by = thread.slot,
                                 .arrivals = arrivals,
                                 .missing = arrivals});
    const std::uint64_t mark = mark_of(cluster.mbarriers.back());
    std::memcpy(at_shared_address(address), &mark, sizeof mark);
}

void fence_mbarrier_init() {
    const Emulating emulating;
    maybe_switch();
    fence_mbarriers_of(current_thread()->slot);
}

void fence_async_shared() {
    const Emulating emulating;
    maybe_switch();
    const Thread& thread = *current_thread();
    fence_mbarriers_of(thread.slot);
    current_cluster()->clocks.fence(thread.slot);
}

void mbarrier_arrive(std::uint32_t address, Site site) {
    const Emulating emulating;
    maybe_switch();
    arrive(mbarrier_at(address, "mbarrier_arrive", __builtin_return_address(0)), 0, "mbarrier_arrive", site);
    maybe_switch();
}

void mbarrier_arrive_expect(std::uint32_t address, int bytes, Site site) {
    const Emulating emulating;
    maybe_switch();
    if (bytes < 0 || bytes >= 1 << 20) fault("mbarrier_arrive_expect of ", bytes, " bytes at ", site);
    arrive(mbarrier_at(address, "mbarrier_arrive_expect", __builtin_return_address(0)), bytes, "mbarrier_arrive_expect",
           site);
    maybe_switch();
}

void mbarrier_arrive_remote(std::uint32_t address, Site site) {
    const Emulating emulating;
    const Remote remote(address, site);
    maybe_switch();
    Mbarrier& barrier = mbarrier_at(address, "mbarrier_arrive_remote", __builtin_return_address(0));
    if (barrier.rank != current_thread()->rank) {
        if (!barrier.fenced) {
            fault("mbarrier_arrive_remote at ", site, ": nobody has called fence_mbarrier_init() behind the start of ",
                  MbarrierName{barrier});
        }
        barrier.remote = true;
    }
    arrive(barrier, 0, "mbarrier_arrive_remote", site);
    maybe_switch();
}

void mbarrier_wait(std::uint32_t address, int parity, bool of_cluster, Site site) {
    const Emulating emulating;
    maybe_switch();
    if (parity != 0 && parity != 1) fault("mbarrier_wait at ", site, " for parity ", parity);
    Thread& thread = *current_thread();
    Mbarrier& barrier = mbarrier_at(address, "mbarrier_wait", __builtin_return_address(0));
    while (barrier.phase % 2 == static_cast<std::uint32_t>(parity)) {
        barrier.waiting.push_back(thread.slot);
        sleep({"mbarrier", site, &barrier});
    }
    if (barrier.remote && !of_cluster) {
        fault("mbarrier_wait at ", site, ": threads of other blocks arrive at ", MbarrierName{barrier},
              "; mbarrier_wait_cluster() sees what they wrote");
    }
    barrier.waited_until = barrier.phase;
    current_cluster()->clocks.acquire_more(thread.slot, barrier.known);
    maybe_switch();
}

}  // namespace cloze::emulated
