#include "benchmarks/bench/stopwatch.h"

#include <algorithm>
#include <cmath>

namespace cloze::bench {

namespace {

constexpr double kSampleSeconds = 400e-6;  // short calls are repeated until a sample lasts about this long
constexpr int kMostCalls = 32;
constexpr int kCallsPerCopy = 12;        // while a copy of the head start runs, the host gives about so many calls
constexpr double kCopySeconds = 150e-6;  // of the head start, about
constexpr std::int64_t kWarmUpSets = 3;

Timing summary(std::vector<double> seconds, int calls) {
    std::sort(seconds.begin(), seconds.end());
    const auto at = [&](double quantile) {
        return seconds[static_cast<std::size_t>(std::lround(quantile * static_cast<double>(seconds.size() - 1)))];
    };
    return {.median = at(0.5),
            .low = at(0.25),
            .high = at(0.75),
            .samples = static_cast<int>(seconds.size()),
            .calls = calls};
}

}  // namespace

Stopwatch::Stopwatch(std::int64_t flush_bytes) : from_(flush_bytes), to_(flush_bytes) {
    fill_bytes(from_.address(), 0x5a, flush_bytes, stream_);
}

void Stopwatch::head_start(int calls) {
    for (int copy = 0; copy <= calls / kCallsPerCopy; ++copy) {
        copy_on_device(to_.address(), from_.address(), to_.bytes(), stream_);
    }
}

std::vector<double> Stopwatch::samples(const Work& work, int calls, int count) {
    while (events_.size() < 2 * static_cast<std::size_t>(count)) events_.emplace_back();
    for (int sample = 0; sample < count; ++sample) {
        if (work.restore) work.restore(next_set_ % work.sets, stream_);
        head_start(calls);
        events_[2 * static_cast<std::size_t>(sample)].record(stream_);
        for (int call = 0; call < calls; ++call) work.call(next_set_++ % work.sets, stream_);
        events_[2 * static_cast<std::size_t>(sample) + 1].record(stream_);
    }
    cloze::wait(stream_);
    std::vector<double> seconds;
    for (int sample = 0; sample < count; ++sample) {
        const std::size_t first = 2 * static_cast<std::size_t>(sample);
        seconds.push_back(events_[first + 1].seconds_since(events_[first]) / calls);
    }
    return seconds;
}

Timing Stopwatch::time(const Work& work, const Effort& effort) {
    samples(work, 1, static_cast<int>(std::min(work.sets, kWarmUpSets)));
    const double once = summary(samples(work, 1, std::min(3, effort.least_samples)), 1).median;
    // A restored set serves one call.
    const int calls =
        work.restore ? 1
                     : std::clamp(static_cast<int>(std::ceil(kSampleSeconds / std::max(once, 1e-7))), 1, kMostCalls);
    const double sample_seconds = calls * once + kCopySeconds * (1 + calls / kCallsPerCopy);
    const int count =
        static_cast<int>(std::clamp(effort.seconds / sample_seconds, static_cast<double>(effort.least_samples),
                                    static_cast<double>(effort.most_samples)));
    return summary(samples(work, calls, count), calls);
}

Timing Stopwatch::time_briefly(const Work& work, int samples_wanted) {
    samples(work, 1, 1);
    return summary(samples(work, 1, samples_wanted), 1);
}

double Stopwatch::empty_pair() {
    return time_briefly({.sets = 1, .call = [](std::int64_t, Stream) {}}, 11).median;
}

}  // namespace cloze::bench
