// Held-out losses, and the baseline a model must beat: the unigram distribution of the training tokens.
// Tested by tests/train/run_test.cpp.
#pragma once

#include <vector>

#include "engine/data/batch_stream.h"
#include "engine/model/pretraining.h"
#include "engine/train/run.h"

namespace cloze {

/// Token frequencies of a split with one added to each, as log probabilities.
class UnigramBaseline {
public:
    /// Counts the store's tokens, at most its first 64 Mi: more moves the baseline by less than 0.001 nat.
    UnigramBaseline(const TokenStore& training, std::int64_t vocabulary_size);

    double loss(std::int32_t token) const { return loss_[static_cast<std::size_t>(token)]; }  // nats
    std::int32_t most_frequent() const { return most_frequent_; }

private:
    std::vector<double> loss_;
    std::int32_t most_frequent_ = 0;
};

/// What both know of the same held-out predictions.
struct HeldOutSums {
    LossSums model;
    double unigram_loss = 0;           // sum, nats
    std::int64_t unigram_correct = 0;  // of always saying the most frequent token
    std::int64_t random_next = 0;      // sequences whose B is random
};

Evaluation evaluation_of(const HeldOutSums& sums, std::int64_t step, bool next_sentence);

/// Runs `model` without dropout over all batches, in order.
HeldOutSums evaluate_held_out(PretrainingModel& model, const ParameterView& weights, const HeldOutBatches& batches,
                              const UnigramBaseline& baseline);

}  // namespace cloze
