// A micro-batch: whole sequences laid end to end without padding, in buffers of fixed capacity. What the model reads.
// Unused rows hold ids that are valid and weights that are zero. Tested by tests/engine/batch_test.cpp.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/core/step_state.h"

namespace cloze {

/// Fixed for a run: the shape of every micro-batch.
struct BatchCapacity {
    std::int64_t tokens;
    std::int64_t sequences;
    std::int64_t masked;  // masked-LM predictions
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
};

/// The micro-batches of one optimizer step, and the sums that normalise its losses.
struct StepBatches {
    std::vector<Batch> micro;  // exactly M, in stream order
    std::int64_t masked = 0;   // over all of the step
    std::int64_t sequences = 0;
    std::int64_t tokens = 0;
};

}  // namespace cloze
