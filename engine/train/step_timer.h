// Where a step's time goes where it is computed: on a device by events between its parts, which cost it about a
// microsecond each and are read when the step is known to be done; on the host by the clock. Tested by
// tests/train/trainer_test.cpp and device_trainer_test.cpp.
#pragma once

#include <chrono>
#include <memory>
#include <vector>

#include "engine/device/compute.h"
#include "kernels/core/stream.h"

namespace cloze {

enum class StepPart : std::uint8_t { input, forward, backward, optimizer };

/// Seconds of a step, or of several. Their sum is less than the step where the device had to wait for the host.
struct StepTimes {
    double input = 0;     // micro-batches to where they are computed
    double forward = 0;   // losses included
    double backward = 0;  // virtual ranks' sums included
    double optimizer = 0;

    double sum() const { return input + forward + backward + optimizer; }
    StepTimes& operator+=(const StepTimes& other);
    StepTimes operator/(double steps) const {
        return {input / steps, forward / steps, backward / steps, optimizer / steps};
    }
};

/// Keeps the times of the last two steps, which may be under way together.
class StepTimer {
public:
    explicit StepTimer(const Compute& compute) : compute_(compute) {}

    void start(std::int64_t step);
    /// All work given since start() or the last lap belongs to `part`.
    void lap(StepPart part);
    /// Of a step that is done, the last or the one before.
    StepTimes times(std::int64_t step) const;

private:
    using Clock = std::chrono::steady_clock;
    struct Mark {
        StepPart part;
        std::unique_ptr<Event> event;  // of a device
        Clock::time_point at;          // of the host
    };
    struct Step {
        std::vector<Mark> marks;  // kept, with their events, from step to step
        std::size_t used = 0;
    };

    void mark(StepPart part);

    Compute compute_;
    Step steps_[2];
    Step* running_ = nullptr;
};

}  // namespace cloze
