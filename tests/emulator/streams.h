// Who waits for what. The emulator runs work at once, so a program that frees memory before it waited for the work
// would pass. So each stream counts the work it was given, and the host remembers up to where it has waited: a vector
// clock, carried by events. Tested by tests/emulator/streams_test.cpp.
#pragma once

#include <cstdint>
#include <map>

#include "kernels/core/stream.h"

namespace cloze::emulated {

/// Of each stream, how many pieces of work are done when this point is reached.
using StreamPoint = std::map<const void*, std::int64_t>;

void* open_stream();
void close_stream(void* handle) noexcept;

/// Work: a launch, a copy, a fill. Throws for a stream that was destroyed, or never made.
void give_work(Stream stream);
StreamPoint point_of(Stream stream);
/// What comes in `stream` from now on starts after `point`.
void hold_back(Stream stream, const StreamPoint& point);
/// The host waits.
void wait_for(const StreamPoint& point);

/// Memory goes, of the device or pinned.
void note_release() noexcept;

/// What tests ask.
struct StreamCounts {
    std::int64_t given = 0;           // pieces of work, to all streams
    std::int64_t early_releases = 0;  // of memory, while the host had not waited for all work
};
StreamCounts stream_counts();
/// Pieces of work given to one stream.
std::int64_t given_to(Stream stream);
bool all_waited_for();

}  // namespace cloze::emulated
