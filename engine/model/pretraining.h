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
    DType working = DType::f32;  // f64: the reference path
    bool next_sentence = true;   // false: masked-LM only; pooler and next-sentence head rest
    bool backward = true;        // false: evaluation only, no gradient buffers
};

class PretrainingModel {
public:
    /// Plans and allocates every activation and buffer. Throws Fault::io with the tensor's name when memory is
    /// short.
    PretrainingModel(const BertConfig& config, const PretrainingOptions& options);

    /// Losses of `batch`; when `training`, with dropout, and the gradients of the logits for backward().
    void forward(const ParameterView& weights, const Batch& batch, const StepState* state, bool training);
    /// Gradients of the last forward(training = true). `weights` and `batch` are the ones it was given.
    void backward(const ParameterView& weights, const Batch& batch, const StepState* state,
                  const ParameterView& gradients, bool accumulate);
    /// Of the last forward.
    LossSums losses(const Batch& batch) const;

    const Activations& activations() const { return activations_; }
    const BertConfig& config() const { return config_; }
    const BatchCapacity& capacity() const { return options_.capacity; }
    std::int64_t memory_bytes() const { return arena_.bytes(); }

    /// The bytes a model of these options will allocate, without allocating.
    static std::int64_t planned_bytes(const BertConfig& config, const PretrainingOptions& options);

private:
    Pass pass(const ParameterView& weights, const Batch& batch, const StepState* state, bool training) const;

    BertConfig config_;
    PretrainingOptions options_;
    Arena arena_;
    Activations activations_;
    BackwardBuffers buffers_;
};

}  // namespace cloze
