// mbarriers: phases that end when all arrivals have come and all bytes have landed. Whoever waits for the end of a
// phase knows what those knew who arrived, and of the copies that belong to it.
//
// Looked for besides: a barrier that is not initialised, not ordered behind its initialisation, initialised twice or
// overwritten; a phase that ends while copies of it are still under way; bytes announced and never landed, or landed
// and never announced; copies that nobody waited for.
#pragma once

#include <cstdint>
#include <memory>
#include <ostream>
#include <string>
#include <vector>

#include "tests/emulator/races.h"

namespace cloze::emulated {

struct Mbarrier {
    std::uint32_t address;                       // of the cluster
    int index;                                   // among those of the cluster
    int rank;                                    // of its block
    int initialised_by;                          // slot of the thread
    int arrivals;                                // of each phase
    int missing;                                 // arrivals of the running phase
    std::int64_t bytes = 0;                      // announced in the running phase and not landed
    std::uint32_t phase = 0;                     // the running one: how many have ended
    std::uint32_t copies_until = 0;              // the last phase, from 1 on, that copies belong to
    std::uint32_t waited_until = 0;              // the last phase, from 1 on, that a wait saw ended
    bool fenced = false;                         // copies and other blocks see its initialisation
    bool remote = false;                         // threads of other blocks arrive
    Meeting meeting = {};                        // of the running phase
    std::shared_ptr<Knowledge> known = nullptr;  // of the phases that have ended
    std::vector<int> waiting = {};               // slots of threads
};

/// Faults unless `address` is one, and the running thread knows of its initialisation.
Mbarrier& mbarrier_at(std::uint32_t address, const char* operation, const void* return_address);

/// What a copy has brought. Needs no running thread.
void land_bytes(Mbarrier& barrier, std::int64_t bytes);

/// "the mbarrier at byte 512 of shared memory"; and with what its running phase lacks. To be streamed, since nothing
/// that owns memory may live where a launch can end.
struct MbarrierName {
    const Mbarrier& barrier;
};
struct MbarrierPhase {
    const Mbarrier& barrier;
};
std::ostream& operator<<(std::ostream& out, MbarrierName name);
std::ostream& operator<<(std::ostream& out, MbarrierPhase phase);

/// Its initialisations so far are seen by the copy engine, as thread `slot` has fenced them.
void fence_mbarriers_of(int slot);

/// What is wrong with the barriers of a cluster whose threads have all returned; else empty.
std::string unfinished_mbarriers();

}  // namespace cloze::emulated
