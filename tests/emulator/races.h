// Who may touch which byte when: happens-before between the threads of a block and their asynchronous copies, by vector
// clocks; between blocks of a launch nothing is ordered, between launches everything is.
//
// Actors of a block of n threads: thread t is actor t, the copies it has started are actor n + t. An access is stamped
// with its actor and the actor's time; it happened before a thread's present if the thread knows of that time.
// Knowledge spreads at barriers. A shuffle moves registers and spreads none.
//
// Each byte remembers its last writer and two readers that are not ordered before each other: with one reader,
// "read by A, read by B, write by B" would look right.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

namespace cloze::emulated {

/// An access, as a byte remembers it.
struct Stamp {
    std::uint32_t block = 0;  // serial number over all launches; 0: never
    std::uint32_t actor : 12 = 0;
    std::uint32_t time : 20 = 0;
    std::uint32_t code = 0;  // where in the executable
};

struct ByteHistory {
    Stamp writer;
    Stamp readers[2];
};

using Knowledge = std::vector<std::uint32_t>;  // by actor: the latest known time

/// What the threads that come to a barrier know together.
struct Meeting {
    std::shared_ptr<Knowledge> known;
    std::shared_ptr<Knowledge> merged_last;  // threads mostly know the same: merge it once
};

class Clocks {
public:
    void start(int threads);

    /// Thread `t` gives what it knows to a meeting, and a new time of its own begins.
    void release(int t, Meeting& meeting);
    /// The threads take what was given. The meeting is over.
    void acquire(std::span<const int> threads, const Meeting& meeting);

    Stamp stamp_of_thread(int t, std::uint32_t code) const;
    /// A copy that thread t starts now as part of its group `group`.
    Stamp stamp_of_copy(int t, int group, std::uint32_t code) const;
    /// Thread t knows that its groups up to `group` have landed.
    void copies_landed(int t, int group);

    bool happened_before(const Stamp& earlier, int t) const;

    int threads() const { return threads_; }

private:
    struct ThreadClock {
        std::uint32_t time = 1;
        std::uint32_t landed = 0;
        std::shared_ptr<Knowledge> known;
    };

    int threads_ = 0;
    std::uint32_t block_ = 0;         // serial number of the present block
    std::vector<ThreadClock> clock_;  // by thread
};

/// Blocks that start from now on belong to a new launch.
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

}  // namespace cloze::emulated
