// The copy engine as actors of its own: a copy reads and writes some time between the call and the moment when the
// threads that wait can know of it, at once, as late as possible or anywhere between, and in any order among others.
// Its destination is NaN until then. What it writes is ordered by its mbarrier's phase.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/core/device_calls.h"

namespace cloze::emulated {

struct Cluster;

/// On its way to shared memory: a box of a matrix, or bytes as they lie.
struct EngineCopy {
    device_calls::BoxedMatrix matrix;
    int col, row;
    const unsigned char* source;  // null: a box
    int bytes;
    std::uint32_t destination;  // of the cluster
    int mbarrier;
};

struct Engine {
    std::vector<EngineCopy> copies;
};

/// Of the copies that arrive at this mbarrier.
int copies_under_way(int mbarrier);

/// Lets one copy land, where there is any.
bool land_one(Cluster& cluster);

}  // namespace cloze::emulated
