// Trainer: weights, optimizer state and the step. Knows nothing of files, signals or printing: it is given the
// micro-batches of a step and returns what happened. Tested by tests/train/trainer_test.cpp.
#pragma once

#include <string>

#include "engine/cluster/gradient_tree.h"
#include "engine/model/pretraining.h"
#include "engine/train/optimizer.h"

namespace cloze {

struct TrainerOptions {
    PretrainingOptions model;
    OptimizerRecipe optimizer;
    std::uint64_t seed;              // of dropout; the samples bring their own
    std::int64_t micro_batches;      // M, of every step
    std::int64_t virtual_ranks = 1;  // V, a power of two that divides M
};

/// How far training has come.
struct TrainerProgress {
    std::int64_t steps = 0;    // skipped ones included: the schedule's t
    std::int64_t updates = 0;  // not skipped: Adam's t, since a skipped step leaves the moments as they are
};

/// What one step did.
struct StepReport {
    std::int64_t step;  // its number, from 1
    LossSums losses;
    std::int64_t tokens;
    double learning_rate;
    double gradient_norm;         // before clipping
    bool skipped;                 // a gradient was not finite: nothing was updated
    std::string first_nonfinite;  // the parameter that showed it
};

class Trainer {
public:
    /// Allocates everything a step needs; weights and moments are zero until initialised or loaded.
    Trainer(const BertConfig& config, const TrainerOptions& options);
    Trainer(const Trainer&) = delete;
    Trainer& operator=(const Trainer&) = delete;

    /// One optimizer step over exactly M micro-batches.
    StepReport step(const StepBatches& batches);

    const ParameterTable& table() const { return table_; }
    ParameterView weights() const { return weights_; }
    ParameterView first_moment() const { return first_moment_; }
    ParameterView second_moment() const { return second_moment_; }
    /// Of the last step, for tests.
    ParameterView gradients() const { return gradients_; }
    PretrainingModel& model() { return model_; }

    /// Set when a checkpoint is loaded.
    TrainerProgress progress() const { return progress_; }
    void set_progress(const TrainerProgress& progress) { progress_ = progress; }
    std::int64_t memory_bytes() const;

    /// The bytes a trainer of these options will allocate, without allocating.
    static std::int64_t planned_bytes(const BertConfig& config, const TrainerOptions& options);

private:
    void begin_step(const StepBatches& batches);
    LossSums accumulate_gradients(const StepBatches& batches);
    void update();
    std::string first_nonfinite_parameter() const;

    TrainerOptions options_;
    ParameterTable table_;
    std::vector<int> segment_parameter_;  // rows of the table that are trained
    std::vector<Segment> segments_;       // the same, as the optimizer sees them
    PretrainingModel model_;
    Arena arena_;
    ParameterView weights_{}, first_moment_{}, second_moment_{}, gradients_{};
    Tensor segment_square_, norm_scratch_, optimizer_scratch_;
    GradientTree tree_{};
    StepState state_;
    TrainerProgress progress_;
};

}  // namespace cloze
