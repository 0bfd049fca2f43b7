// A micro-batch as the ops take it: views of the arrays of engine/data/batch.h, where the model runs, and the way to
// there. Tested by tests/train/device_trainer_test.cpp.
#pragma once

#include "engine/data/batch.h"
#include "engine/device/arena.h"
#include "engine/device/device.h"

namespace cloze {

/// T, S, P are the capacities; the meaning of each field stands in engine/data/batch.h.
struct BatchTensors {
    BatchCapacity capacity;
    const BatchCounts* counts = nullptr;             // lies where the tensors lie
    Tensor token_id, position_id, type_id;           // [T]  i32
    Tensor token_order, position_order, type_order;  // [T]  i32
    Tensor row_sample;                               // [T]  u64
    Tensor offset;                                   // [S + 1]  i32
    Tensor first_row;                                // [S]  i32
    Tensor sequence_sample;                          // [S]  u64
    Tensor next_sentence_label;                      // [S]  i32
    Tensor masked_row, masked_label;                 // [P]  i32
    Tensor head_sample;                              // [P + S]  u64
    Tensor head_position;                            // [P + S]  i32
};

/// Views of a batch in host memory; `batch` stays where it is while they are used.
BatchTensors host_tensors(const Batch& batch);

/// Brings micro-batches to fixed addresses on a device, one copied while the one before is computed:
///
///   batch -> pinned[i % 2] -> staged[i % 2] -> tensors()
///            host              copy stream     compute stream
class BatchFeed {
public:
    BatchFeed(const BatchCapacity& capacity, const Device& device);

    /// From here on in the compute stream, tensors() hold `batch`, which is free when this returns. Waits while both
    /// pinned buffers are on their way.
    void put(const Batch& batch);

    const BatchTensors& tensors() const { return tensors_; }

    /// Device memory of a feed, without making one.
    static std::int64_t planned_bytes(const BatchCapacity& capacity);

private:
    struct Slot {
        PinnedBuffer pinned;
        DeviceBuffer staged;
        Event copied, taken;  // pinned is free, staged is free
        bool used = false;
    };

    Compute compute_;
    Stream copies_;
    Arena arena_;
    BatchTensors tensors_;
    Slot slots_[2];
    std::int64_t puts_ = 0;
    LastWait last_copy_, last_wait_;
};

}  // namespace cloze
