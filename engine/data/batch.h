// A micro-batch: whole sequences laid end to end without padding, in buffers of fixed capacity. What the model reads.
// Unused rows hold ids that are valid and weights that are zero. Tested by tests/data/batch_test.cpp.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "kernels/core/step_state.h"

namespace cloze {

struct Sample;

/// Fixed for a run: the shape of every micro-batch.
struct BatchCapacity {
    std::int64_t tokens = 0;
    std::int64_t sequences = 0;
    std::int64_t masked = 0;  // masked-LM predictions
};

/// Host arrays of one micro-batch; T, S, P are the capacities above. Every id, offset and label has been range-checked.
struct Batch {
    BatchCapacity capacity{};
    BatchCounts counts{};

    std::vector<std::int32_t> token_id;             // [T]
    std::vector<std::int32_t> position_id;          // [T]  position in the sequence; also keys dropout
    std::vector<std::int32_t> type_id;              // [T]  0 up to and including the first [SEP], then 1
    std::vector<std::int32_t> token_order;          // [T]  rows sorted by token_id, stable; padding rows last
    std::vector<std::int32_t> position_order;       // [T]  rows sorted by position_id, stable; padding rows last
    std::vector<std::int32_t> type_order;           // [T]  rows sorted by type_id, stable; padding rows last
    std::vector<std::uint64_t> row_sample;          // [T]  sample of the row: its index in the run's stream
    std::vector<std::int32_t> offset;               // [S + 1]  first row of each sequence; unused ones are empty
    std::vector<std::int32_t> first_row;            // [S]  row of [CLS]; 0 for unused sequences
    std::vector<std::uint64_t> sequence_sample;     // [S]
    std::vector<std::int32_t> next_sentence_label;  // [S]  0 = B really follows, 1 = random (BERT and HuggingFace)
    std::vector<std::int32_t> masked_row;           // [P]  row of each prediction; 0 for unused ones
    std::vector<std::int32_t> masked_label;         // [P]  the token that was there
    std::vector<std::uint64_t> head_sample;         // [P + S]  sample of the rows that heads read: masked, then [CLS]
    std::vector<std::int32_t> head_position;        // [P + S]  position of these
};

/// The micro-batches of one optimizer step, and the sums that normalise its losses.
struct StepBatches {
    std::vector<Batch> micro;  // in stream order: exactly M, or this rank's share of them
    std::int64_t masked = 0;   // sums over `micro`
    std::int64_t sequences = 0;
    std::int64_t tokens = 0;
};

/// What ids may be, for the range check: ids and labels below vocabulary_size, positions below positions, types
/// below 2.
struct BatchLimits {
    std::int64_t vocabulary_size;
    std::int64_t positions;
};

/// An empty micro-batch: all rows unused.
Batch empty_batch(const BatchCapacity& capacity);

/// Appends one sequence under its stream index. Throws Fault::input naming the sample when an id, label or position is
/// out of range, Fault::internal when the capacity does not hold it.
void append_sample(Batch& batch, const Sample& sample, std::uint64_t sample_index, const BatchLimits& limits);

/// Sorts the orders; after the last append_sample(). O(T + vocabulary_size).
void finish_batch(Batch& batch, const BatchLimits& limits);

}  // namespace cloze
