// Blocks of a cluster; see cluster.cpp.
#pragma once

#include <cstdint>

#include "kernels/device/site.h"

namespace cloze::emulated {

struct Thread;

/// While this lives, the running thread may touch shared memory of the block that `address` names.
class Remote {
public:
    Remote(std::uint32_t address, Site site);
    ~Remote();
    Remote(const Remote&) = delete;
    Remote& operator=(const Remote&) = delete;

private:
    Thread& thread_;
};

/// Called when a thread has returned.
void notice_exit_of_cluster(const Thread& thread);

}  // namespace cloze::emulated
