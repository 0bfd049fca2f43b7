#include "engine/train/fill_mask.h"

#include <algorithm>
#include <cmath>

#include "engine/model/pretraining.h"
#include "engine/model/weights_file.h"
#include "engine/text/huggingface_files.h"
#include "engine/train/checkpoint.h"

namespace cloze {
namespace {

namespace fs = std::filesystem;

TokenizerOptions tokenizer_options(const fs::path& checkpoint) {
    const fs::path file = checkpoint / "tokenizer_config.json";
    if (!fs::exists(file)) return {};
    return parse_tokenizer_config(read_json(file).dump(), file.string());
}

/// Ids of a text with [MASK] where it stands, whatever the tokenizer mode makes of brackets.
std::vector<std::int32_t> ids_with_masks(const Tokenizer& tokenizer, const std::string& text) {
    const SpecialIds& special = tokenizer.vocabulary().special();
    std::vector<std::int32_t> ids = {special.cls};
    std::size_t begin = 0;
    while (true) {
        const std::size_t mask = text.find(kMaskToken, begin);
        tokenizer.encode(std::string_view(text).substr(begin, mask - begin), ids);
        if (mask == std::string::npos) break;
        ids.push_back(special.mask);
        begin = mask + kMaskToken.size();
    }
    ids.push_back(special.sep);
    return ids;
}

/// One sequence whose masks are the predictions.
Sample sample_of(const std::vector<std::int32_t>& ids, std::int32_t mask) {
    Sample sample;
    sample.token_id = ids;
    sample.first_segment = static_cast<std::int64_t>(ids.size());
    for (std::size_t i = 0; i < ids.size(); ++i) {
        if (ids[i] != mask) continue;
        sample.masked_position.push_back(static_cast<std::int32_t>(i));
        sample.masked_label.push_back(mask);
    }
    return sample;
}

std::vector<MaskCandidate> best_candidates(const float* logits, const Vocabulary& vocabulary, std::int64_t wanted) {
    const std::int32_t count = vocabulary.size();
    const bool finite = std::all_of(logits, logits + count, [](float logit) { return std::isfinite(logit); });
    if (!finite)
        fail(Fault::diverged, "the model's answer is not finite, so its weights have diverged; use another checkpoint");
    std::vector<std::int32_t> order(static_cast<std::size_t>(count));
    for (std::int32_t i = 0; i < count; ++i) order[static_cast<std::size_t>(i)] = i;
    const auto last = order.begin() + std::min<std::int64_t>(wanted, count);
    std::partial_sort(order.begin(), last, order.end(), [&](std::int32_t a, std::int32_t b) {
        return logits[a] != logits[b] ? logits[a] > logits[b] : a < b;
    });
    double sum = 0;
    for (std::int32_t i = 0; i < count; ++i) sum += std::exp(static_cast<double>(logits[i]) - logits[order[0]]);
    std::vector<MaskCandidate> candidates;
    for (auto id = order.begin(); id != last; ++id) {
        candidates.push_back({.token = vocabulary.token(*id),
                              .probability = std::exp(static_cast<double>(logits[*id]) - logits[order[0]]) / sum});
    }
    return candidates;
}

/// Runs the model on one text and reads the distributions at its masks.
MaskFill fill(const std::string& text, LoadedModel& loaded, const Tokenizer& tokenizer, std::int64_t candidates) {
    const BertConfig& config = loaded.config();
    const std::vector<std::int32_t> ids = ids_with_masks(tokenizer, text);
    const auto length = static_cast<std::int64_t>(ids.size());
    const Sample sample = sample_of(ids, tokenizer.vocabulary().special().mask);
    require(!sample.masked_position.empty(), "\"", text, "\" has no [MASK]; write one where a word is wanted");
    require(length <= config.max_position_embeddings, "\"", text.substr(0, 40), "...\" has ", length,
            " pieces, the model reaches ", config.max_position_embeddings, "; shorten it");

    const auto masks = static_cast<std::int64_t>(sample.masked_position.size());
    const BatchCapacity capacity{.tokens = length, .sequences = 1, .masked = masks};
    const BatchLimits limits{.vocabulary_size = config.vocab_size, .positions = config.max_position_embeddings};
    Batch batch = empty_batch(capacity);
    append_sample(batch, sample, 0, limits);
    finish_batch(batch, limits);
    PretrainingModel model(config, {.capacity = capacity, .next_sentence = false, .backward = false});
    const StepState state;
    model.put(batch);
    model.forward(loaded.weights(), &state, false);

    const Tensor logits = model.activations().heads.logits;
    MaskFill result;
    for (std::int64_t row = 0; row < masks; ++row) {
        result.masks.push_back(
            best_candidates(logits.row_range(row, 1).data<float>(), tokenizer.vocabulary(), candidates));
    }
    return result;
}

}  // namespace

std::vector<MaskFill> fill_mask(const fs::path& folder, const std::vector<std::string>& texts, int candidates) {
    require(candidates >= 1, "--top-k ", candidates, ": at least 1");
    const fs::path checkpoint = resolve_checkpoint(folder);
    LoadedModel loaded(checkpoint, false);
    const Vocabulary vocabulary = Vocabulary::read(checkpoint / "vocab.txt");
    require_input(vocabulary.size() <= loaded.config().vocab_size, checkpoint.string(), ": vocab.txt has ",
                  vocabulary.size(), " tokens, config.json says ", loaded.config().vocab_size);
    const Tokenizer tokenizer(vocabulary, tokenizer_options(checkpoint));
    std::vector<MaskFill> fills;
    for (const std::string& text : texts) fills.push_back(fill(text, loaded, tokenizer, candidates));
    return fills;
}

}  // namespace cloze
