// What a run will do, settled before the first step: data, batches, memory. Tested by tests/train/run_test.cpp.
#pragma once

#include <memory>

#include "engine/data/batch_stream.h"
#include "engine/data/dataset.h"
#include "engine/data/step_shape.h"
#include "engine/train/run.h"

namespace cloze {

struct RunPlan {
    RunRecipe recipe;  // vocab_size filled in
    std::shared_ptr<const Dataset> dataset;
    std::shared_ptr<const Sampler> sampler;   // of the training split
    std::shared_ptr<const Sampler> held_out;  // of the held-out split; absent when that is empty
    StepShape shape;
    TrainerOptions trainer{};
    BatchLimits limits{};
    std::shared_ptr<Device> device;  // absent: the host
    Preflight preflight{};           // but for what only starting can tell
};

/// Opens and verifies the data, derives the shapes. Throws Fault::input or Fault::usage for what cannot work.
RunPlan plan_run(const RunRecipe& recipe, const RunHandling& handling, const RunObserver& observer);

/// Throws Fault::usage for what devices do not compute.
void require_device_recipe(const RunRecipe& recipe);

/// The data says how many tokens there are: a preset's table, or a padded one, takes that size, with a note.
void fit_vocabulary(BertConfig& model, const Dataset& data, std::vector<std::string>& notes);

/// M, T, S and P of a recipe on its data.
StepShape step_shape_of(const RunRecipe& recipe, const Sampler& sampler, const EpochPlan& epoch);

TrainerOptions trainer_options(const RunRecipe& recipe, const StepShape& shape, Place place);

/// FLOPs of a step, forward and backward (three times forward), as the BERT literature counts them; attention's pairs
/// are taken at the mean length, recomputation is not counted:
///   3 * (layers * (T (8 h^2 + 4 h i) + 4 T mean h) + 2 m (h^2 + h V) + 2 n h^2)
/// for T `tokens` in n `sequences`, m `masked`, hidden size h, intermediate size i, vocabulary V.
double step_flops(const BertConfig& config, double sequences, double tokens, double masked);

}  // namespace cloze
