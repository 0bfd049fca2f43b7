// Host parallelism with the same bits at any number of threads: work is cut into chunks whose number depends on the
// shape alone, each chunk is computed by one thread, and partial results meet in chunk order. Tested by
// tests/kernels/core_test.cpp.
#pragma once

#include <cstdint>
#include <exception>

#include "kernels/core/integer.h"

namespace cloze {

/// Threads that host ops use from now on; 0: every processor this process may run on. Returns the number in effect.
int set_thread_count(int threads);
int thread_count();

/// Calls body(i) for i in [0, count), on OpenMP's threads where the build has OpenMP. The first exception is rethrown.
template <typename Body>
void parallel_for(std::int64_t count, const Body& body) {
    std::exception_ptr failure;
#pragma omp parallel for schedule(static) if (count > 1)
    for (std::int64_t i = 0; i < count; ++i) {
        try {
            body(i);
        } catch (...) {
#pragma omp critical
            if (!failure) failure = std::current_exception();
        }
    }
    if (failure) std::rethrow_exception(failure);
}

/// Rows per chunk of row-wise ops and of column sums. A constant: it fixes the order in which sums are added.
inline constexpr std::int64_t kRowsPerChunk = 64;

/// A device may take shorter chunks, so that few rows give work to all of it: of so many rows at least, and not more of
/// them than this.
inline constexpr std::int64_t kFewestRowsPerChunk = 16;
inline constexpr std::int64_t kMostShortChunks = 512;

/// Calls body(first, last, chunk) for the chunks of [0, count).
template <typename Body>
void parallel_chunks(std::int64_t count, std::int64_t per_chunk, const Body& body) {
    parallel_for(divide_up(count, per_chunk), [&](std::int64_t chunk) {
        const std::int64_t first = chunk * per_chunk;
        const std::int64_t last = first + per_chunk < count ? first + per_chunk : count;
        body(first, last, chunk);
    });
}

}  // namespace cloze
