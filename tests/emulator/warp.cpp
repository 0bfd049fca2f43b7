#include "tests/emulator/warp.h"

#include "kernels/core/error.h"
#include "kernels/device/emulated.h"
#include "tests/emulator/cluster.h"

namespace cloze::emulated {

namespace {

void open_if_complete(Cluster& cluster, Barrier& barrier, int expected) {
    if (barrier.arrived < expected || barrier.arrived == 0) return;
    cluster.clocks.acquire(barrier.waiting, barrier.meeting);
    for (const int slot : barrier.waiting) wake(cluster.threads[static_cast<std::size_t>(slot)]);
    barrier = {};
}

bool same(Site a, Site b) {
    return a.line == b.line && std::string_view(a.file) == b.file;
}

}  // namespace

void gather(const char* operation, Site site, void* post, void (*execute)(const std::array<void*, kWarp>&)) {
    const Emulating emulating;
    maybe_switch();
    Cluster& cluster = *current_cluster();
    Thread& thread = *current_thread();
    Gathering& gathering = cluster.gatherings[static_cast<std::size_t>(thread.warp_slot())];
    const auto thread_of = [&](int lane) -> Thread& {
        return cluster.threads[static_cast<std::size_t>(thread.warp_slot() * kWarp + lane)];
    };
    if (gathering.arrived == 0) {
        for (int lane = 0; lane < kWarp; ++lane) {
            if (thread_of(lane).finished) {
                fault(operation, " at ", site, ": lane ", lane, " has returned and cannot take part");
            }
        }
        gathering.operation = operation;
        gathering.site = site;
    }
    if (gathering.operation != operation || !same(gathering.site, site)) {
        fault("divergent warp: ", operation, " at ", site, " meets ", static_cast<const char*>(gathering.operation),
              " at ", gathering.site);
    }
    gathering.posted[static_cast<std::size_t>(thread.lane())] = post;
    if (++gathering.arrived < kWarp) {
        sleep({operation, site});
        return;
    }
    execute(gathering.posted);
    gathering.arrived = 0;
    for (int lane = 0; lane < kWarp; ++lane) {
        if (lane != thread.lane()) wake(thread_of(lane));
    }
    maybe_switch();
}

void notice_exit(Thread& thread) {
    Cluster& cluster = *current_cluster();
    Block& block = current_block();
    Barrier& whole = block.barriers[0];
    if (whole.arrived > 0) open_if_complete(cluster, whole, block.live);
    const Gathering& gathering = cluster.gatherings[static_cast<std::size_t>(thread.warp_slot())];
    if (gathering.arrived > 0) {
        cluster.failure = text(static_cast<const char*>(gathering.operation), " at ", gathering.site,
                               ": other lanes wait there, but ", thread, " has returned");
    }
    const std::string unfinished = unfinished_wgmma(thread);
    if (!unfinished.empty()) cluster.failure = text(thread, " returns while ", unfinished);
    if (cluster.blocks.size() > 1) notice_exit_of_cluster(thread);
}

void block_barrier(Site site) {
    const Emulating emulating;
    maybe_switch();
    Cluster& cluster = *current_cluster();
    Block& block = current_block();
    Thread& thread = *current_thread();
    Barrier& barrier = block.barriers[0];
    if (barrier.arrived == 0) barrier.site = site;
    if (!same(barrier.site, site)) {
        fault("divergent block: block_barrier at ", site, " meets block_barrier at ", barrier.site);
    }
    cluster.clocks.release(thread.slot, barrier.meeting);
    ++barrier.arrived;
    barrier.waiting.push_back(thread.slot);
    if (barrier.arrived == block.live) {
        open_if_complete(cluster, barrier, block.live);
        maybe_switch();
    } else {
        sleep({"block_barrier", site});
    }
}

namespace {

Barrier& arrive(int index, int threads, Site site) {
    maybe_switch();
    Cluster& cluster = *current_cluster();
    if (index < 1 || index > 15) fault("named barrier ", index, " at ", site, ": there are 1 to 15");
    if (threads < kWarp || threads % kWarp != 0 || threads > cluster.run->threads) {
        fault("named barrier ", index, " at ", site, ": ", threads, " threads of ", cluster.run->threads,
              " are not whole warps");
    }
    Barrier& barrier = current_block().barriers[static_cast<std::size_t>(index)];
    if (barrier.arrived == 0) barrier.expected = threads;
    if (barrier.expected != threads) {
        fault("named barrier ", index, " at ", site, ": ", threads, " threads expected here, ", barrier.expected,
              " by those who came before");
    }
    cluster.clocks.release(current_thread()->slot, barrier.meeting);
    ++barrier.arrived;
    return barrier;
}

}  // namespace

void named_barrier_wait(int index, int threads, Site site) {
    const Emulating emulating;
    Barrier& barrier = arrive(index, threads, site);
    barrier.waiting.push_back(current_thread()->slot);
    if (barrier.arrived == threads) {
        open_if_complete(*current_cluster(), barrier, threads);
    } else {
        sleep({"named barrier", site});
    }
    maybe_switch();
}

void named_barrier_arrive(int index, int threads, Site site) {
    const Emulating emulating;
    Barrier& barrier = arrive(index, threads, site);
    open_if_complete(*current_cluster(), barrier, threads);
    maybe_switch();
}

namespace {

struct Shuffle {
    std::uint32_t value;
    int lane;  // source, or mask of the own lane's number
    std::uint32_t result;
};

Shuffle& shuffle_of(const std::array<void*, kWarp>& posted, int lane) {
    return *static_cast<Shuffle*>(posted[static_cast<std::size_t>(lane & (kWarp - 1))]);
}

constexpr char kShuffleXor[] = "shuffle_xor";
constexpr char kShuffleFrom[] = "shuffle_from";
constexpr char kBallot[] = "warp_ballot";
constexpr char kWarpBarrier[] = "warp_barrier";

}  // namespace

std::uint32_t shuffle_xor(std::uint32_t value, int lane_mask, Site site) {
    Shuffle post{value, lane_mask, 0};
    gather(kShuffleXor, site, &post, [](const std::array<void*, kWarp>& posted) {
        for (int lane = 0; lane < kWarp; ++lane) {
            Shuffle& mine = shuffle_of(posted, lane);
            mine.result = shuffle_of(posted, lane ^ mine.lane).value;
        }
    });
    return post.result;
}

std::uint32_t shuffle_from(std::uint32_t value, int source_lane, Site site) {
    Shuffle post{value, source_lane, 0};
    gather(kShuffleFrom, site, &post, [](const std::array<void*, kWarp>& posted) {
        for (int lane = 0; lane < kWarp; ++lane) {
            Shuffle& mine = shuffle_of(posted, lane);
            mine.result = shuffle_of(posted, mine.lane).value;
        }
    });
    return post.result;
}

std::uint32_t ballot(bool predicate, Site site) {
    Shuffle post{predicate ? 1u : 0u, 0, 0};
    gather(kBallot, site, &post, [](const std::array<void*, kWarp>& posted) {
        std::uint32_t bits = 0;
        for (int lane = 0; lane < kWarp; ++lane) bits |= shuffle_of(posted, lane).value << lane;
        for (int lane = 0; lane < kWarp; ++lane) shuffle_of(posted, lane).result = bits;
    });
    return post.result;
}

void warp_barrier(Site site) {
    gather(kWarpBarrier, site, nullptr, [](const std::array<void*, kWarp>&) {
        const int first = current_thread()->warp_slot() * kWarp;
        std::vector<int> lanes;
        Meeting meeting;
        for (int lane = 0; lane < kWarp; ++lane) {
            lanes.push_back(first + lane);
            current_cluster()->clocks.release(first + lane, meeting);
        }
        current_cluster()->clocks.acquire(lanes, meeting);
    });
}

}  // namespace cloze::emulated
