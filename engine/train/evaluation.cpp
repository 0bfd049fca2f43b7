#include "engine/train/evaluation.h"

#include <algorithm>
#include <cmath>

#include "engine/data/dataset.h"
#include "engine/model/weights_file.h"
#include "engine/train/checkpoint.h"
#include "engine/train/run_record.h"
#include "kernels/core/parallel.h"

namespace cloze {
namespace {

namespace fs = std::filesystem;

/// What a checkpoint says of the run it came from; a folder of other origin says nothing.
struct Origin {
    std::int64_t step = 0;
    SampleSettings samples;
};

Origin origin_of(const fs::path& checkpoint) {
    if (!fs::exists(checkpoint / kCheckpointManifest)) return {};
    const TrainingState state = read_training_state(checkpoint);
    return {.step = state.step, .samples = recorded_samples(state.recipe, (checkpoint / kCheckpointManifest).string())};
}

/// Micro-batches for evaluation alone: room for sequences of 8 tokens on average, and every one's predictions.
BatchCapacity evaluation_capacity(const SampleSettings& samples, std::int64_t micro_batch_tokens) {
    const std::int64_t tokens = std::max(micro_batch_tokens, samples.max_seq_length);
    const std::int64_t sequences = tokens / 8 + 1;
    const auto share = static_cast<std::int64_t>(static_cast<double>(tokens) * samples.masked_lm_prob);
    return {.tokens = tokens, .sequences = sequences, .masked = share + sequences};
}

}  // namespace

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
        model.put(batch);
        model.forward(weights, &state, false);
        sums.model += model.losses();
        for (std::int32_t i = 0; i < batch.counts.sequences; ++i) {
            sums.random_next += batch.next_sentence_label[static_cast<std::size_t>(i)];
        }
        for (std::int32_t row = 0; row < batch.counts.masked; ++row) {
            const std::int32_t label = batch.masked_label[static_cast<std::size_t>(row)];
            sums.unigram_loss += baseline.loss(label);
            sums.unigram_correct += label == baseline.most_frequent() ? 1 : 0;
        }
    }
    return sums;
}

Evaluation evaluation_of(const HeldOutSums& sums, std::int64_t step, bool next_sentence) {
    const auto predictions = static_cast<double>(std::max<std::int64_t>(1, sums.model.masked));
    const auto sequences = static_cast<double>(std::max<std::int64_t>(1, sums.model.sequences));
    const double random_share = static_cast<double>(sums.random_next) / sequences;
    if (!std::isfinite(sums.model.masked_loss + sums.model.next_sentence_loss)) {
        fail(Fault::diverged, "step ", step,
             ": the held-out loss is not finite, so the weights have diverged; go back ",
             "to an earlier checkpoint (--init-from), with a lower --learning-rate, in a new --output");
    }
    return {.step = step,
            .masked_loss = sums.model.masked_mean(),
            .masked_accuracy = sums.model.masked_accuracy(),
            .next_sentence_loss = sums.model.next_sentence_mean(),
            .next_sentence_accuracy = sums.model.next_sentence_accuracy(),
            .masked = sums.model.masked,
            .sequences = sums.model.sequences,
            .next_sentence = next_sentence,
            .next_sentence_chance = std::max(random_share, 1 - random_share),
            .unigram_loss = sums.unigram_loss / predictions,
            .unigram_accuracy = static_cast<double>(sums.unigram_correct) / predictions};
}

Evaluation evaluate(const EvaluateOptions& options) {
    set_thread_count(options.threads);
    const fs::path checkpoint = resolve_checkpoint(options.checkpoint);
    const Origin origin = origin_of(checkpoint);
    const SampleSettings samples = options.samples.value_or(origin.samples);
    const Dataset dataset = Dataset::open(options.data);
    if (fs::exists(checkpoint / "vocab.txt")) {
        require_input(Vocabulary::read(checkpoint / "vocab.txt").hash() == dataset.vocabulary().hash(),
                      options.data.string(), ": prepared with another vocabulary than ", checkpoint.string(),
                      "; prepare it with --vocab ", (checkpoint / "vocab.txt").string());
    }
    dataset.verify(thread_count());
    const bool next_sentence = samples.next_sentence == NextSentence::nsp;
    LoadedModel loaded(checkpoint, next_sentence);
    const BertConfig& config = loaded.config();

    const Sampler sampler(dataset.tokens(Split::held_out), samples, token_roles(dataset.vocabulary()));
    const BatchLimits limits{.vocabulary_size = config.vocab_size, .positions = config.max_position_embeddings};
    const BatchCapacity capacity = evaluation_capacity(samples, options.micro_batch_tokens);
    const HeldOutBatches batches(sampler, capacity, limits, options.sequences);
    const UnigramBaseline baseline(*dataset.tokens(Split::train), config.vocab_size);
    PretrainingModel model(config, {.capacity = capacity, .next_sentence = next_sentence, .backward = false});
    return evaluation_of(evaluate_held_out(model, loaded.weights(), batches, baseline), origin.step, next_sentence);
}

}  // namespace cloze
