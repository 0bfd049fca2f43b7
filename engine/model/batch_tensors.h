// A micro-batch as the ops take it: views of the arrays of engine/data/batch.h, where the model runs.
#pragma once

#include "engine/data/batch.h"
#include "kernels/core/tensor.h"

namespace cloze {

/// T, S, P are the capacities; the meaning of each field stands in engine/data/batch.h.
struct BatchTensors {
    BatchCapacity capacity;
    const BatchCounts* counts;
    Tensor token_id, position_id, type_id;           // [T]  i32
    Tensor token_order, position_order, type_order;  // [T]  i32
    Tensor row_sample;                               // [T]  u64
    Tensor offset;                                   // [S + 1]  i32
    Tensor first_row;                                // [S]  i32
    Tensor sequence_sample;                          // [S]  u64
    Tensor next_sentence_label;                      // [S]  i32
    Tensor masked_row, masked_label;                 // [P]  i32
};

/// Views of a batch in host memory; `batch` stays where it is while they are used.
inline BatchTensors host_tensors(const Batch& batch) {
    const auto view = [](const auto& values) {
        return Tensor::host(values.data(), static_cast<std::int64_t>(values.size()));
    };
    return {.capacity = batch.capacity,
            .counts = &batch.counts,
            .token_id = view(batch.token_id),
            .position_id = view(batch.position_id),
            .type_id = view(batch.type_id),
            .token_order = view(batch.token_order),
            .position_order = view(batch.position_order),
            .type_order = view(batch.type_order),
            .row_sample = view(batch.row_sample),
            .offset = view(batch.offset),
            .first_row = view(batch.first_row),
            .sequence_sample = view(batch.sequence_sample),
            .next_sentence_label = view(batch.next_sentence_label),
            .masked_row = view(batch.masked_row),
            .masked_label = view(batch.masked_label)};
}

}  // namespace cloze
