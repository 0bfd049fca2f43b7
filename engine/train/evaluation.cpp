#include "engine/train/evaluation.h"

#include <algorithm>
#include <cmath>

namespace cloze {

UnigramBaseline::UnigramBaseline(const TokenStore& training, std::int64_t vocabulary_size) {
    constexpr std::int64_t kEnough = std::int64_t{64} << 20;
    std::vector<std::int64_t> counts(static_cast<std::size_t>(vocabulary_size), 1);
    std::int64_t total = vocabulary_size;
    std::vector<std::int32_t> ids;
    for (std::int64_t d = 0; d < training.documents() && total < kEnough; ++d) {
        const DocumentView document = training.document(d);
        ids.resize(static_cast<std::size_t>(document.tokens()));
        document.copy(0, 0, document.tokens(), ids.data());
        for (const std::int32_t id : ids) ++counts[static_cast<std::size_t>(id)];
        total += document.tokens();
    }
    loss_.reserve(counts.size());
    for (const std::int64_t count : counts) {
        loss_.push_back(std::log(static_cast<double>(total)) - std::log(static_cast<double>(count)));
    }
    most_frequent_ = static_cast<std::int32_t>(std::max_element(counts.begin(), counts.end()) - counts.begin());
}

HeldOutSums evaluate_held_out(PretrainingModel& model, const ParameterView& weights, const HeldOutBatches& batches,
                              const UnigramBaseline& baseline) {
    const StepState state;  // nothing in it is read without dropout and gradients
    HeldOutSums sums;
    for (std::int64_t i = 0; i < batches.count(); ++i) {
        const Batch batch = batches.batch(i);
        model.forward(weights, batch, &state, false);
        sums.model += model.losses(batch);
        for (std::int32_t row = 0; row < batch.counts.masked; ++row) {
            const std::int32_t label = batch.masked_label[static_cast<std::size_t>(row)];
            sums.unigram_loss += baseline.loss(label);
            sums.unigram_correct += label == baseline.most_frequent() ? 1 : 0;
        }
    }
    return sums;
}

}  // namespace cloze
