// Bank conflicts and uncoalesced accesses, counted where Settings::count_accesses is on: a lint that tests read. The
// k-th time each lane of a warp passes a place in the code is taken as one access of the warp.
//
// Global memory moves in sectors of 32 bytes: `moved` counts those an access touches, `needed` the fewest that could
// hold its bytes. Shared memory has 32 banks of 4 bytes; an access of 16 bytes a lane goes a quarter warp at a time:
// `moved` counts passes, `needed` the passes without a conflict.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tests/emulator/memory.h"

namespace cloze::emulated {

struct AccessCount {
    std::string place;  // file:line
    bool shared;
    std::int64_t accesses;  // of whole or partial warps
    std::int64_t moved;
    std::int64_t needed;
};

/// Of the launches since the last call of clear_access_counts(), by place.
std::vector<AccessCount> access_counts();
void clear_access_counts();

void count_access(const Located& located, std::int64_t bytes, std::uint32_t code, const void* address);
void count_block_end();

}  // namespace cloze::emulated
