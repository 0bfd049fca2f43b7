// The copy engine as actors of its own: a copy reads and writes some time between the call and the moment when the
// threads that wait can know of it, at once, as late as possible or anywhere between, and in any order among others.
// Its destination is NaN until then. What it writes is ordered by its mbarrier's phase, what a store reads by its
// group.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "kernels/core/device_calls.h"

namespace cloze::emulated {

struct Cluster;
struct Thread;

/// On its way to shared memory: a box of a matrix, or bytes as they lie.
struct EngineCopy {
    device_calls::BoxedMatrix matrix;
    int col, row;
    const unsigned char* source;  // null: a box
    int bytes;
    std::uint32_t destination;  // of the cluster
    int mbarrier;
};

/// On its way from shared memory.
struct EngineStore {
    device_calls::BoxedMatrix matrix;
    int col, row;
    std::uint32_t source;  // of the cluster
    int slot, group;       // of the thread
};

/// Groups of stores of one thread.
struct StoreGroups {
    int open = 1;
    int read = 0;  // up to this one the thread knows that they have read
    bool open_has_stores = false;
};

struct Engine {
    std::vector<EngineCopy> copies;
    std::vector<EngineStore> stores;
    std::vector<StoreGroups> groups;  // by thread
};

/// Of the copies that arrive at this mbarrier.
int copies_under_way(int mbarrier);

/// Lets one copy or store land, where there is any.
bool land_one(Cluster& cluster);

/// What is wrong if this thread returns now; else empty.
std::string unfinished_stores(const Thread& thread);

}  // namespace cloze::emulated
