#include "engine/model/pretraining.h"

namespace cloze {
namespace {

double share(std::int64_t part, std::int64_t whole) {
    return whole == 0 ? 0 : static_cast<double>(part) / static_cast<double>(whole);
}

/// Losses and flags of the first `used` predictions, added in order, in double.
struct Sums {
    double loss = 0;
    std::int64_t correct = 0;
};
Sums sums_of(const Tensor& loss, const Tensor& correct, std::int64_t used) {
    return visit_float(loss.dtype, [&]<typename T>() {
        Sums sums;
        for (std::int64_t i = 0; i < used; ++i) {
            sums.loss += static_cast<double>(loss.data<T>()[i]);
            sums.correct += correct.data<std::int32_t>()[i];
        }
        return sums;
    });
}

/// The four tensors that losses are read from, wherever they lie.
struct LossRows {
    Tensor masked_loss, masked_correct, next_sentence_loss, next_sentence_correct;
};

LossSums sums_of(const LossRows& rows, const BatchCounts& counts, bool next_sentence) {
    LossSums sums;
    sums.masked = counts.masked;
    sums.sequences = counts.sequences;
    const Sums masked = sums_of(rows.masked_loss, rows.masked_correct, counts.masked);
    sums.masked_loss = masked.loss;
    sums.masked_correct = masked.correct;
    if (next_sentence) {
        const Sums sentences = sums_of(rows.next_sentence_loss, rows.next_sentence_correct, counts.sequences);
        sums.next_sentence_loss = sentences.loss;
        sums.next_sentence_correct = sentences.correct;
    }
    return sums;
}

LossRows rows_of(const HeadActivations& heads) {
    return {heads.masked_loss, heads.masked_correct, heads.next_sentence_loss, heads.next_sentence_correct};
}

/// The same rows side by side in a buffer on the host.
LossRows rows_in(const PinnedBuffer& buffer, const LossRows& on_device) {
    char* next = static_cast<char*>(buffer.address());
    const auto place = [&](Tensor x) {
        x.address = next;
        x.place = Place::host;
        next += x.count() * size_of(x.dtype);
        return x;
    };
    return {place(on_device.masked_loss), place(on_device.masked_correct), place(on_device.next_sentence_loss),
            place(on_device.next_sentence_correct)};
}

std::int64_t bytes_of(const BatchCapacity& capacity) {
    return (capacity.masked + capacity.sequences) * 8;
}

/// The one layout of a model's memory, walked twice: to measure and to bind.
struct Layout {
    Activations activations;
    BackwardBuffers buffers;
};
Layout lay_out(Arena& arena, const BertConfig& config, const PretrainingOptions& options) {
    const ActivationShape shape{options.capacity, head_rows(config, options), options.working};
    Layout layout;
    layout.activations = lay_out_activations(arena, config, shape);
    if (options.backward) layout.buffers = lay_out_backward(arena, config, shape);
    return layout;
}

}  // namespace

std::int64_t head_rows(const BertConfig& config, const PretrainingOptions& options) {
    const std::int64_t rows = options.capacity.masked + (options.next_sentence ? options.capacity.sequences : 0);
    return options.every_row || config.num_hidden_layers == 0 || rows >= options.capacity.tokens ? 0 : rows;
}

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

PretrainingModel::PretrainingModel(const BertConfig& config, const PretrainingOptions& options, Device* device)
    : config_(config),
      options_(options),
      compute_(device == nullptr ? Compute{} : device->compute()),
      arena_("activations", "lower --micro-batch-tokens or take a smaller model", options.place),
      last_wait_(compute_) {
    require(options.place == compute_.place, "pretraining model: planned for the ",
            options.place == Place::host ? "host, but a device was given" : "device, but none was given");
    lay_out(arena_, config_, options_);
    arena_.bind();
    Layout layout = lay_out(arena_, config_, options_);
    activations_ = std::move(layout.activations);
    buffers_ = layout.buffers;
    if (device != nullptr) feed_ = std::make_unique<BatchFeed>(options_.capacity, *device);
}

std::vector<ArenaPart> PretrainingModel::planned_parts(const BertConfig& config, const PretrainingOptions& options) {
    Arena arena("activations", "", options.place);
    lay_out(arena, config, options);
    std::vector<ArenaPart> parts = arena.report();
    if (options.place == Place::device) {
        parts.push_back({.name = kMicroBatchPart,
                         .shape = {},
                         .offset = arena.bytes(),
                         .bytes = BatchFeed::planned_bytes(options.capacity)});
    }
    return parts;
}

std::int64_t PretrainingModel::planned_bytes(const BertConfig& config, const PretrainingOptions& options) {
    return total_bytes(planned_parts(config, options));
}

std::int64_t PretrainingModel::memory_bytes() const {
    return arena_.bytes() + (feed_ ? BatchFeed::planned_bytes(options_.capacity) : 0);
}

void PretrainingModel::put(const Batch& batch) {
    require(batch.capacity.tokens == options_.capacity.tokens &&
                batch.capacity.sequences == options_.capacity.sequences &&
                batch.capacity.masked == options_.capacity.masked,
            "pretraining model: a batch of ", batch.capacity.tokens, " tokens, ", batch.capacity.sequences,
            " sequences, ", batch.capacity.masked, " masked, but the model was planned for ", options_.capacity.tokens,
            ", ", options_.capacity.sequences, ", ", options_.capacity.masked);
    counts_ = batch.counts;
    if (feed_) {
        feed_->put(batch);
        batch_ = feed_->tensors();
    } else {
        batch_ = host_tensors(batch);
    }
}

Pass PretrainingModel::pass(const ParameterView& weights, const StepState* state, bool training) const {
    require(batch_.token_id || options_.capacity.tokens == 0, "pretraining model: no batch was put");
    return {.config = config_,
            .weights = weights,
            .batch = batch_,
            .state = state,
            .training = training,
            .compute = compute_};
}

void PretrainingModel::forward(const ParameterView& weights, const StepState* state, bool training) {
    const Pass pass = this->pass(weights, state, training);
    encoder_forward(pass, activations_);
    masked_lm_forward(pass, activations_);
    if (options_.next_sentence) next_sentence_forward(pass, activations_);
}

void PretrainingModel::backward(const ParameterView& weights, const StepState* state, const ParameterView& gradients,
                                bool accumulate) {
    const Pass pass = this->pass(weights, state, true);
    masked_lm_backward(pass, activations_, buffers_, gradients, accumulate);
    if (options_.next_sentence) next_sentence_backward(pass, activations_, buffers_, gradients, accumulate);
    encoder_backward(pass, activations_, buffers_, gradients, accumulate);
}

void PretrainingModel::keep_losses(std::int64_t number) {
    if (number >= static_cast<std::int64_t>(kept_.size())) kept_.resize(static_cast<std::size_t>(number + 1));
    keep(kept_[static_cast<std::size_t>(number)]);
}

void PretrainingModel::keep(Kept& kept) {
    kept.counts = counts_;
    const LossRows rows = rows_of(activations_.heads);
    if (compute_.place == Place::host) {
        kept.sums = sums_of(rows, counts_, options_.next_sentence);
        return;
    }
    if (kept.rows.address() == nullptr) kept.rows = PinnedBuffer(bytes_of(options_.capacity));
    const LossRows here = rows_in(kept.rows, rows);
    const auto fetch = [&](const Tensor& to, const Tensor& from) {
        copy_to_host(to.address, from.address, from.count() * size_of(from.dtype), compute_.stream);
    };
    fetch(here.masked_loss, rows.masked_loss);
    fetch(here.masked_correct, rows.masked_correct);
    fetch(here.next_sentence_loss, rows.next_sentence_loss);
    fetch(here.next_sentence_correct, rows.next_sentence_correct);
}

LossSums PretrainingModel::kept_losses(std::int64_t number) const {
    return sums_of_kept(kept_.at(static_cast<std::size_t>(number)));
}

LossSums PretrainingModel::sums_of_kept(const Kept& kept) const {
    if (compute_.place == Place::host) return kept.sums;
    return sums_of(rows_in(kept.rows, rows_of(activations_.heads)), kept.counts, options_.next_sentence);
}

LossSums PretrainingModel::losses() {
    keep(last_);
    if (compute_.place == Place::device) wait(compute_.stream);
    return sums_of_kept(last_);
}

}  // namespace cloze
