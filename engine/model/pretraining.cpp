#include "engine/model/pretraining.h"

namespace cloze {
namespace {

double share(std::int64_t part, std::int64_t whole) {
    return whole == 0 ? 0 : static_cast<double>(part) / static_cast<double>(whole);
}

/// Sums the first `used` entries in order, in double.
double sum_of(const Tensor& values, std::int64_t used) {
    return visit_float(values.dtype, [&]<typename T>() {
        double sum = 0;
        for (std::int64_t i = 0; i < used; ++i) sum += static_cast<double>(values.data<T>()[i]);
        return sum;
    });
}

std::int64_t sum_of_flags(const Tensor& flags, std::int64_t used) {
    std::int64_t sum = 0;
    for (std::int64_t i = 0; i < used; ++i) sum += flags.data<std::int32_t>()[i];
    return sum;
}

/// The one layout of a model's memory, walked twice: to measure and to bind.
struct Layout {
    Activations activations;
    BackwardBuffers buffers;
};
Layout lay_out(Arena& arena, const BertConfig& config, const PretrainingOptions& options) {
    Layout layout;
    layout.activations = lay_out_activations(arena, config, options.capacity, options.working);
    if (options.backward) layout.buffers = lay_out_backward(arena, config, options.capacity, options.working);
    return layout;
}

}  // namespace

LossSums& LossSums::operator+=(const LossSums& other) {
    masked_loss += other.masked_loss;
    next_sentence_loss += other.next_sentence_loss;
    masked_correct += other.masked_correct;
    next_sentence_correct += other.next_sentence_correct;
    masked += other.masked;
    sequences += other.sequences;
    return *this;
}

double LossSums::masked_accuracy() const {
    return share(masked_correct, masked);
}
double LossSums::next_sentence_accuracy() const {
    return share(next_sentence_correct, sequences);
}

PretrainingModel::PretrainingModel(const BertConfig& config, const PretrainingOptions& options)
    : config_(config), options_(options), arena_("activations", "lower --micro-batch-tokens or take a smaller model") {
    lay_out(arena_, config_, options_);
    arena_.bind();
    Layout layout = lay_out(arena_, config_, options_);
    activations_ = std::move(layout.activations);
    buffers_ = layout.buffers;
}

std::int64_t PretrainingModel::planned_bytes(const BertConfig& config, const PretrainingOptions& options) {
    Arena arena("activations");
    lay_out(arena, config, options);
    return arena.bytes();
}

Pass PretrainingModel::pass(const ParameterView& weights, const Batch& batch, const StepState* state,
                            bool training) const {
    require(batch.capacity.tokens == options_.capacity.tokens &&
                batch.capacity.sequences == options_.capacity.sequences &&
                batch.capacity.masked == options_.capacity.masked,
            "pretraining model: a batch of ", batch.capacity.tokens, " tokens, ", batch.capacity.sequences,
            " sequences, ", batch.capacity.masked, " masked, but the model was planned for ", options_.capacity.tokens,
            ", ", options_.capacity.sequences, ", ", options_.capacity.masked);
    return {.config = config_, .weights = weights, .batch = host_tensors(batch), .state = state, .training = training};
}

void PretrainingModel::forward(const ParameterView& weights, const Batch& batch, const StepState* state,
                               bool training) {
    const Pass pass = this->pass(weights, batch, state, training);
    encoder_forward(pass, activations_);
    masked_lm_forward(pass, activations_);
    if (options_.next_sentence) next_sentence_forward(pass, activations_);
}

void PretrainingModel::backward(const ParameterView& weights, const Batch& batch, const StepState* state,
                                const ParameterView& gradients, bool accumulate) {
    const Pass pass = this->pass(weights, batch, state, true);
    masked_lm_backward(pass, activations_, buffers_, gradients, accumulate);
    if (options_.next_sentence) next_sentence_backward(pass, activations_, buffers_, gradients, accumulate);
    encoder_backward(pass, activations_, buffers_, gradients, accumulate);
}

LossSums PretrainingModel::losses(const Batch& batch) const {
    const HeadActivations& heads = activations_.heads;
    LossSums sums;
    sums.masked = batch.counts.masked;
    sums.masked_loss = sum_of(heads.masked_loss, sums.masked);
    sums.masked_correct = sum_of_flags(heads.masked_correct, sums.masked);
    sums.sequences = batch.counts.sequences;
    if (options_.next_sentence) {
        sums.next_sentence_loss = sum_of(heads.next_sentence_loss, sums.sequences);
        sums.next_sentence_correct = sum_of_flags(heads.next_sentence_correct, sums.sequences);
    }
    return sums;
}

}  // namespace cloze
