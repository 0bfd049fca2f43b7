// Second half of a column sum on a device: the rows of partial sums that blocks have written, added.
//
//   sum[c] = (or +=) partial[0][c] + partial[1][c] + ...
//
// In an order that the shape fixes: sixteen runs of consecutive chunks, each in order, then the runs in order.
// Tested by every op that sums columns on a device.
#pragma once

#include <cstdint>

#include "kernels/core/stream.h"

namespace cloze {

struct ChunkSums {
    const char* op;        // the op that sums, for messages
    float* sum;            // [cols]             out
    const float* partial;  // [chunks, cols]     in, rows `stride` elements apart
    std::int64_t chunks;   // 0: the sum is 0
    std::int64_t stride;
    std::int64_t cols;
    bool accumulate;  // false: overwrite; true: add
};

void sum_chunks(const ChunkSums& arguments, Stream stream);

}  // namespace cloze
