// Who may touch which byte when: happens-before between the threads of a cluster (mostly of one block) and what they
// have started, by vector clocks; between clusters of a launch nothing is ordered, between launches everything is.
//
// An access is stamped with its actor and the actor's time; it happened before a thread's present if the thread knows
// of that time. Knowledge spreads at barriers. A shuffle moves registers and spreads none. Actors of n threads:
//
//   thread t                    t         its time counts its releases and fences
//   its copies by cp.async      n + t     the number of the group
//   wgmma of a warpgroup        4 n + w   the number of the group
//   the engine's copies that    after     the phase that they belong to, from 1 on
//     arrive at an mbarrier
//
// Places 2 n to 4 n - 1 of what a thread knows are the times of the first two kinds up to which it knows writes to be
// fenced for asynchronous readers (kernels/device/proxy.h).
//
// Each byte remembers its last writer and two readers that are not ordered before each other: with one reader,
// "read by A, read by B, write by B" would look right.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <vector>

namespace cloze::emulated {

/// An access, as a byte remembers it.
struct Stamp {
    std::uint32_t cluster = 0;  // serial number over all launches; 0: never
    std::uint32_t actor : 14 = 0;
    std::uint32_t time : 18 = 0;
    std::uint32_t code = 0;  // where in the executable
};

struct ByteHistory {
    Stamp writer;
    Stamp readers[2];
};

using Knowledge = std::vector<std::uint32_t>;  // by actor: the latest known time; 0 behind the last

inline constexpr int kWarpgroup = 128;
inline constexpr int kMostRaceThreads = 3072;  // of a cluster, so that actors fit into a Stamp
inline constexpr std::uint32_t kLatestTime = (1u << 18) - 1;

inline std::uint32_t known_time(const Knowledge& known, std::size_t actor) {
    return actor < known.size() ? known[actor] : 0;
}
/// `known` becomes the later of both, time by time.
void learn(Knowledge& known, const Knowledge& more);

/// What the threads that come to a barrier know together.
struct Meeting {
    std::shared_ptr<Knowledge> known;
    std::shared_ptr<Knowledge> merged_last;  // threads mostly know the same: merge it once
};

class Clocks {
public:
    void start(int threads, int threads_of_block);
    int actor_of_wgmma(int warpgroup) const { return 4 * threads_ + warpgroup; }
    int actor_of_mbarrier(int index) const { return 4 * threads_ + warpgroups() + index; }

    int warpgroups() const { return threads_ / threads_of_block_ * warpgroups_of_block(); }
    int warpgroup_of(int t) const {
        return t / threads_of_block_ * warpgroups_of_block() + t % threads_of_block_ / kWarpgroup;
    }
    int first_thread_of(int warpgroup) const {
        return warpgroup / warpgroups_of_block() * threads_of_block_ + warpgroup % warpgroups_of_block() * kWarpgroup;
    }

    /// Thread `t` gives what it knows to a meeting, and a new time of its own begins.
    void release(int t, Meeting& meeting);
    /// The threads take what was given. The meeting is over.
    void acquire(std::span<const int> threads, const Meeting& meeting);
    /// Thread t takes what it did not give to; nothing is over.
    void acquire_more(int t, const std::shared_ptr<Knowledge>& more);
    /// Asynchronous readers may see all writes that thread t knows of.
    void fence(int t);

    Stamp stamp_of_thread(int t, std::uint32_t code) const;
    /// A copy that thread t starts now as part of its group `group`.
    Stamp stamp_of_copy(int t, int group, std::uint32_t code) const;
    /// Thread t knows that its groups up to `group` have landed.
    void copies_landed(int t, int group);
    /// The same of the wgmma of its warpgroup.
    void wgmma_ended(int t, int group);

    bool happened_before(const Stamp& earlier, int t) const;

    /// What thread t knows, its own doings included, until the next call; and what all threads of a warpgroup know.
    const Knowledge& view(int t);
    const Knowledge& common_view(int warpgroup);

    std::uint32_t cluster() const { return cluster_; }
    int threads() const { return threads_; }

private:
    struct ThreadClock {
        std::uint32_t time = 1;
        std::uint32_t landed = 0, wgmma_ended = 0;
        std::shared_ptr<Knowledge> known;
    };
    struct CommonView {
        std::vector<std::shared_ptr<Knowledge>> of;  // what it was made of
        std::uint32_t wgmma_ended = 0;
        Knowledge known;
    };

    int warpgroups_of_block() const { return (threads_of_block_ + kWarpgroup - 1) / kWarpgroup; }

    int threads_ = 0, threads_of_block_ = 1;
    std::uint32_t cluster_ = 0;         // serial number of the present cluster
    std::vector<ThreadClock> clock_;    // by thread
    std::map<int, CommonView> common_;  // by warpgroup
    Knowledge view_;
    std::shared_ptr<Knowledge> merged_[3];  // the last two that acquire_more() has joined, and both together
};

/// Clusters that start from now on belong to a new launch.
void begin_launch_of_races();

enum class AccessKind { read, write };

/// One access to the bytes that `history` describes; faults on a race. `what` names the memory, `offset` is the first
/// byte's. A copy's accesses are judged by what thread t knows when it starts the copy.
struct RaceQuestion {
    std::span<ByteHistory> history;
    AccessKind kind;
    Stamp stamp;
    const char* what;
    std::int64_t offset;
};
void check_race(const RaceQuestion& question);

/// The same for an access that somebody else than a thread makes, who knows `view`. Looks at every `step`-th byte.
struct AsynchronousQuestion {
    RaceQuestion access;
    const Knowledge& view;
    int step = 1;
    bool fences_count = true;  // false: no fence of kernels/device lets it see what threads wrote (global memory)
};
void check_asynchronous_race(const AsynchronousQuestion& question);

}  // namespace cloze::emulated
