// How many micro-batches a step has and what they hold, from the batch size in sequences. Recipes state sequences; we
// pack tokens. Tested by tests/data/packing_test.cpp.
#pragma once

#include <cstdint>

#include "engine/data/batch.h"
#include "engine/data/epoch_plan.h"

namespace cloze {

struct StepShapeRequest {
    std::int64_t global_batch_size;        // sequences a step, on average
    std::int64_t micro_batch_tokens;       // at most this many tokens in a micro-batch, from the memory plan, or 2^24
    std::int64_t virtual_ranks;            // a power of two, at most 2^16; micro_batches becomes a multiple of it
    std::int64_t max_position_embeddings;  // of the model
};

struct StepShape {
    std::int64_t micro_batches = 0;  // M, a step
    BatchCapacity capacity{};        // T, S, P
    double sequences_per_step = 0;   // measured by packing: what global_batch_size comes to
    double mean_length = 0;          // tokens a sample
    double fill = 0;                 // measured: tokens in use over T
};

/// M, T, S and P, by packing the plan's own lengths: the same on every rank and machine. M is the smallest multiple of
/// the virtual ranks that respects micro_batch_tokens. T is the multiple of 16 (of 8 where that is off by 0.5 % or
/// more) that brings the mean nearest to the request, at least max_seq_length. S and P are the largest use seen over
/// tens of thousands of samples, plus a quarter for S and one longest sample's predictions for P, so that they
/// practically never bind; where one does, the micro-batch closes early and the sample waits for the next: nothing is
/// lost.
///
/// A batch too small for its virtual ranks comes out larger than asked, since every micro-batch holds at least one
/// longest sample: print sequences_per_step. Throws Fault::usage for what cannot work, saying what to change.
StepShape derive_step_shape(const StepShapeRequest& request, const Sampler& sampler, const EpochPlan& plan);

}  // namespace cloze
