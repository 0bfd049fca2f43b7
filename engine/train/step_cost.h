// What one step computes and moves, op by op: the tables of `cloze plan` and of a profile stand on it. Follows the
// schedules of engine/model/encoder.cpp and heads.cpp; tests/train/step_cost_test.cpp compares it, product by product
// and launch by launch, with what a step on a device launches.
#pragma once

#include <string>
#include <vector>

#include "engine/device/device_profile.h"
#include "engine/train/trainer.h"
#include "kernels/core/cost.h"

namespace cloze {

/// All calls of an op in a step.
struct OpCost {
    std::string op;  // as kernels/core/launch_log.h names it; a product's name holds its shape
    std::int64_t calls;
    Cost cost;
    bool product = false;
};

/// What decides a step's work. Ops compute all rows of their capacities, used or not.
struct StepWork {
    BertConfig config;
    TrainerOptions trainer;
    double pairs;  // visible (query, key) pairs of a micro-batch, on average
};

/// Pairs of a micro-batch of sequences of one length.
double pairs_of(const BertConfig& config, double tokens, double mean_length);

/// The same of a step's micro-batches, on average.
double pairs_of(const BertConfig& config, const StepBatches& batches);

std::vector<OpCost> step_costs(const StepWork& work);

/// The least time an op can take on the device: its bytes at the copy's speed, or its FLOPs at the products'.
double limit_seconds(const OpCost& op, const DeviceProfile& profile);

/// The time it takes as far as steps were measured: an H200's shares of the two speeds.
double expected_seconds(const OpCost& op, const DeviceProfile& profile);

}  // namespace cloze
