// Which op a step's time on a device goes into, and how far each is from what the device can do. Made of steps that
// were launched kernel by kernel under a LaunchLog. Tested by tests/tools/device_test.cpp.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "engine/files/json.h"
#include "engine/train/step_cost.h"
#include "kernels/core/launch_log.h"

namespace cloze {

/// All launches of an op, per step.
struct OpProfile {
    std::string op;
    double launches = 0;
    double seconds = 0;
    std::optional<OpCost> cost;  // absent for copies
    double limit_seconds = 0;    // of the device's profile; 0: not known
};

/// Seconds are those of a step.
struct StepProfile {
    std::string device;
    std::int64_t steps = 0;
    std::vector<OpProfile> ops;  // the longest first
    double op_seconds = 0;       // of all ops
    double step_seconds = 0;     // of the same steps, launched one kernel after the other
    double usual_seconds = 0;    // median of the steps before, launched from recorded graphs
};

class StepProfiler {
public:
    /// A step that took `seconds` from end to end, with its pairs a micro-batch.
    void add(const std::vector<LaunchLog::Entry>& entries, double seconds, double pairs);
    std::int64_t steps() const { return static_cast<std::int64_t>(steps_.size()); }

    /// `work.pairs` is filled in; `profile`: of the device, where it is known.
    StepProfile summary(StepWork work, const std::optional<DeviceProfile>& profile) const;
    /// Every launch, for Perfetto or chrome://tracing, with the summary beside.
    Json trace(const StepProfile& summary) const;

private:
    struct Step {
        std::vector<LaunchLog::Entry> entries;
        double seconds, pairs;
    };
    std::vector<Step> steps_;
};

}  // namespace cloze
