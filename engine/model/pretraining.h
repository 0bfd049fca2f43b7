// BertForPreTraining over one micro-batch: encoder, masked-LM head, next-sentence head, in buffers planned once.
//
//   loss = (sum of masked losses) / masked + (sum of next-sentence losses) / sequences
//
// where the counts are those of the whole step (all micro-batches and ranks), so that accumulation equals one big
// batch. Tested by tests/model/encoder_test.cpp and, against HuggingFace transformers, tests/model/golden_test.cpp.
#pragma once

#include "engine/model/heads.h"

namespace cloze {

/// Sums over predictions, so that micro-batches and ranks can be added.
struct LossSums {
    double masked_loss = 0;         // nats
    double next_sentence_loss = 0;  // nats
    std::int64_t masked_correct = 0;
    std::int64_t next_sentence_correct = 0;
    std::int64_t masked = 0;
    std::int64_t sequences = 0;

    LossSums& operator+=(const LossSums& other);
    double masked_mean() const { return masked == 0 ? 0 : masked_loss / static_cast<double>(masked); }
    double next_sentence_mean() const {
        return sequences == 0 ? 0 : next_sentence_loss / static_cast<double>(sequences);
    }
    double masked_accuracy() const;
    double next_sentence_accuracy() const;
};

struct PretrainingOptions {
    BatchCapacity capacity;
    DType working = DType::f32;  // f64: the reference path, on the host; bf16: devices
    Place place = Place::host;
    bool next_sentence = true;  // false: masked-LM only; pooler and next-sentence head rest
    bool backward = true;       // false: evaluation only, no gradient buffers
    bool every_row = false;     // true: the whole sequence output, which the heads do not need
};

/// In plans: the buffers of a BatchFeed.
inline constexpr const char* kMicroBatchPart = "micro-batch";

/// How many rows of the last layer go on behind attention, 0 for all: those of the heads, where they are fewer.
std::int64_t head_rows(const BertConfig& config, const PretrainingOptions& options);

/// Used in this order: put(), forward(), then backward() and keep_losses(). On a device these return before the work is
/// done; only losses() and the destructor wait.
class PretrainingModel {
public:
    /// Plans and allocates every activation and buffer, `device` (null on the host) outliving the model. Throws
    /// Fault::io or Fault::device with the tensor's name when memory is short.
    PretrainingModel(const BertConfig& config, const PretrainingOptions& options, Device* device = nullptr);

    /// The micro-batch that forward() and backward() are about from here on. On the host it must stay where it is; on a
    /// device it is copied.
    void put(const Batch& batch);
    /// Losses; when `training`, with dropout, and the gradients of the logits for backward(). `weights` are of the
    /// working type; `state` lies where the model runs.
    void forward(const ParameterView& weights, const StepState* state, bool training);
    /// Gradients of the last forward(training = true).
    void backward(const ParameterView& weights, const StepState* state, const ParameterView& gradients,
                  bool accumulate);
    /// Keeps the losses of the last forward under a number from 0, until the next of that number.
    void keep_losses(std::int64_t number);
    /// What was kept. Once work given after keep_losses() is known to be done, does not wait.
    LossSums kept_losses(std::int64_t number) const;
    /// Of the last forward; waits for it.
    LossSums losses();

    const Activations& activations() const { return activations_; }
    const BertConfig& config() const { return config_; }
    const BatchCapacity& capacity() const { return options_.capacity; }
    const Compute& compute() const { return compute_; }
    std::int64_t memory_bytes() const;

    /// What a model of these options will allocate where it runs, without allocating: the tensors of its arena, and on
    /// a device kMicroBatchPart.
    static std::vector<ArenaPart> planned_parts(const BertConfig& config, const PretrainingOptions& options);
    static std::int64_t planned_bytes(const BertConfig& config, const PretrainingOptions& options);

private:
    /// The losses of one forward on the host, once they have arrived.
    struct Kept {
        BatchCounts counts;
        LossSums sums;      // of the host path
        PinnedBuffer rows;  // of a device: loss and correctness of each prediction
    };

    void keep(Kept& kept);
    LossSums sums_of_kept(const Kept& kept) const;
    Pass pass(const ParameterView& weights, const StepState* state, bool training) const;

    BertConfig config_;
    PretrainingOptions options_;
    Compute compute_;
    Arena arena_;
    Activations activations_;
    BackwardBuffers buffers_;
    std::unique_ptr<BatchFeed> feed_;  // absent on the host
    BatchTensors batch_;
    BatchCounts counts_;  // of batch_, on the host
    std::vector<Kept> kept_;
    Kept last_;  // what losses() reads, apart from what others have kept
    LastWait last_wait_;
};

}  // namespace cloze
