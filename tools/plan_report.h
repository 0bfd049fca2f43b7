// What `cloze plan` shows. Tested by tests/tools/plan_test.cpp.
#pragma once

#include "engine/files/json.h"
#include "engine/train/plan.h"
#include "tools/console.h"

namespace cloze {

/// A card to plan for. `profile` is absent where only its memory is known.
struct PlannedCard {
    std::string name;
    std::int64_t usable_bytes;
    std::optional<DeviceProfile> profile;
    std::optional<TrainingPlan> largest;  // absent: not one sequence fits
};

struct PlanReport {
    const Planner& planner;
    TrainingPlan plan;
    std::vector<PlannedCard> cards;
    std::int64_t max_steps;  // 0: not said
};

void print_plan(Console& console, const PlanReport& report);
Json plan_json(const PlanReport& report);

}  // namespace cloze
