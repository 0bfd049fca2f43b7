// Learning-rate schedules with warm-up. `t` counts updates from 0, w = warm-up steps, T = total
// steps.
//
//   linear         base * t / w while t < w, then base * (T - t) / (T - w)            HuggingFace; continuous
//   google-linear  base * t / w while t < w, else base * (1 - t / T)                  Google's code; drops at t = w
//   poly           base * t / w while t < w, else base * (1 - t / T) ^ degree         NVIDIA's LAMB recipe, degree 0.5
//   constant       base * t / w while t < w, then base
//
// With a warm-up the very first update has rate 0, as in the references. Tested by tests/train/schedule_test.cpp.
#pragma once

#include <cstdint>
#include <string>

namespace cloze {

enum class ScheduleKind : std::uint8_t { linear, google_linear, poly, constant };

/// Throws Fault::usage for an unknown name, listing the known ones.
ScheduleKind schedule_from(const std::string& name);
const char* name_of(ScheduleKind kind);

struct Schedule {
    ScheduleKind kind;
    double base;  // peak learning rate
    std::int64_t warmup_steps;
    std::int64_t total_steps;
    double degree = 0.5;  // poly only

    /// Rate of update t. From t = total_steps on the decaying schedules are 0.
    double at(std::int64_t t) const;
};

}  // namespace cloze
