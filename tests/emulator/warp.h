// Meetings of threads: warp collectives and barriers.
#pragma once

#include "tests/emulator/block.h"

namespace cloze::emulated {

/// Called when a thread has returned: barriers that only waited for it open; a collective that needs it faults.
void notice_exit(Thread& thread);

/// Lands all copies of a thread that returns; see copies.cpp.
void finish_copies_of(Thread& thread);

/// `post` is this lane's arguments. The last of the 32 lanes runs execute() on all of them; then all go on.
/// `operation` tells collectives apart and is their name.
void gather(const char* operation, Site site, void* post, void (*execute)(const std::array<void*, kWarp>& posted));

}  // namespace cloze::emulated
