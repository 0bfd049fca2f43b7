// Second half of a column sum on a device: the rows of partial sums that blocks have written, added.
//
//   sums[s][c] = (or +=) partial[0][s][c] + partial[1][s][c] + ...
//
// Several sums of one kernel go in one launch: each alone costs more to start than to add. The order is fixed by the
// shape: thirty-two runs of consecutive chunks, each in order, then the runs in order. Tested by every op that sums
// columns on a device.
#pragma once

#include <cstdint>

#include "kernels/core/stream.h"

namespace cloze {

struct ChunkSums {
    const char* op;        // the op that sums, for messages
    float* sums[3];        // [cols] each            out, the last ones null = not wanted
    const float* partial;  // [chunks, sums, cols]   in, chunks `stride` elements apart
    std::int64_t chunks;   // 0: the sum is 0
    std::int64_t stride;
    std::int64_t cols;
    bool accumulate;  // false: overwrite; true: add
};

void sum_chunks(const ChunkSums& arguments, Stream stream);

}  // namespace cloze
