// Timing on a device by events. One sample is
//
//   restore (if the call spoils its input) | head start | event | `calls` calls, each on the next set | event
//
// and all samples of a case are handed to the stream before anybody waits. The head start is a copy of two buffers
// larger than the second-level cache: the device is busy with it while the host hands over the calls, so that launches
// are not what is timed, and it leaves none of the calls' data in the cache. What it leaves there instead is half
// unwritten, as any kernel leaves it; the calls pay for that and leave their own. Short calls share a sample, so that
// this, and the two events (about a microsecond, see empty_pair()), are little beside them. Sets of buffers take turns,
// for the same reason as the head start. Run without a GPU by tests/benchmarks/bench_test.py, on the emulator.
#pragma once

#include <deque>
#include <functional>
#include <vector>

#include "kernels/core/device_memory.h"
#include "kernels/core/stream.h"

namespace cloze::bench {

/// Seconds a call: the median of the samples and their quartiles.
struct Timing {
    double median = 0;
    double low = 0;
    double high = 0;
    int samples = 0;
    int calls = 0;  // of a sample
};

/// How long a case may take.
struct Effort {
    double seconds = 0.15;  // of timed samples and their head starts
    int least_samples = 11;
    int most_samples = 101;
};

/// What is timed.
struct Work {
    std::int64_t sets;  // of buffers, that take turns
    std::function<void(std::int64_t set, Stream stream)> call;
    std::function<void(std::int64_t set, Stream stream)> restore = {};  // not timed; absent = nothing to put back
};

class Stopwatch {
public:
    /// `flush_bytes`: of each of the two buffers of the head start.
    explicit Stopwatch(std::int64_t flush_bytes);

    Timing time(const Work& work, const Effort& effort);
    /// The same with a number of samples, after one call to warm up: for a first choice among many.
    Timing time_briefly(const Work& work, int samples);
    /// What two events with nothing between them measure.
    double empty_pair();

    Stream stream() const { return stream_; }

private:
    void head_start(int calls);
    std::vector<double> samples(const Work& work, int calls, int count);

    OwnedStream stream_;
    DeviceBuffer from_, to_;
    std::deque<Event> events_;
    std::int64_t next_set_ = 0;
};

}  // namespace cloze::bench
