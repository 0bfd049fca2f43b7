// What a run would take on a GPU, worked out without one: every byte of its memory, its FLOPs and about how long it
// would be at it. The layouts are the run's own, so bytes are exact; times come from engine/device/device_profile.h and
// the shares in step_cost.cpp, so they are estimates. Tested by tests/train/plan_test.cpp and, against a device's
// memory, tests/train/device_trainer_test.cpp.
#pragma once

#include <memory>
#include <optional>

#include "engine/data/dataset.h"
#include "engine/train/run_plan.h"
#include "engine/train/step_cost.h"

namespace cloze {

/// A part of the device's memory by what it is for.
struct MemoryGroup {
    std::string name;
    std::int64_t bytes;
};

/// Of everything a run allocates there, the products' workspace included; the largest of a kind are apart.
std::vector<MemoryGroup> memory_groups(const BertConfig& config, const TrainerOptions& options);

struct TrainingPlan {
    StepShape shape;
    TrainerOptions trainer;
    std::int64_t memory_bytes;
    double step_flops;   // as the literature counts them: step_flops() of engine/train/run_plan.h
    double step_tokens;  // in use, on average

    double expected_step_seconds(const BertConfig& config, const DeviceProfile& profile) const;
};

/// Plans one recipe for micro-batches of any size. One process, one GPU.
class Planner {
public:
    /// Reads the data when the recipe has some; without, every sequence is one of max_seq_length tokens. Throws as
    /// plan_run() does.
    Planner(const RunRecipe& recipe, int threads);

    const RunRecipe& recipe() const { return recipe_; }  // vocab_size filled in
    const std::vector<std::string>& notes() const { return notes_; }

    TrainingPlan plan() const { return plan_of(recipe_); }

    /// The largest micro-batch that `bytes` of device memory hold, up to 2^20 tokens, in a step of one for each virtual
    /// rank. Nothing where not even one sequence fits.
    std::optional<TrainingPlan> largest(std::int64_t bytes) const;

private:
    TrainingPlan plan_of(const RunRecipe& recipe) const;
    TrainingPlan filled(std::int64_t tokens) const;
    std::int64_t scaled_bytes(std::int64_t tokens, const TrainingPlan& known) const;
    double mean_length() const;

    RunRecipe recipe_;
    std::vector<std::string> notes_;
    std::shared_ptr<const Sampler> sampler_;  // absent without data
    std::shared_ptr<const EpochPlan> epoch_;
};

}  // namespace cloze
