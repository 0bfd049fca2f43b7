// A corpus and a model so small that a training step takes milliseconds, shared by the tests of this room.
#pragma once

#include <memory>

#include "engine/data/batch_stream.h"
#include "engine/train/trainer.h"

namespace cloze::test {

inline constexpr std::int64_t kTinyVocabulary = 60;

/// Documents in which two tokens of three are one of four frequent words: their share is learned within a few steps.
inline std::shared_ptr<const TokenStore> tiny_store() {
    TokenArrays arrays;
    for (std::int32_t document = 0; document < 40; ++document) {
        for (std::int32_t sentence = 0; sentence < 6; ++sentence) {
            std::vector<std::int32_t> ids;
            for (std::int32_t i = 0; i < 7 + (document + sentence) % 5; ++i) {
                const std::int32_t words = i % 3 == 0 ? static_cast<std::int32_t>(kTinyVocabulary - 5) : 4;
                ids.push_back(5 + (document * 3 + sentence * 11 + i) % words);
            }
            arrays.add_sentence(ids);
        }
        arrays.end_document();
    }
    return store_in_memory(std::move(arrays), "tiny");
}

inline std::shared_ptr<const Sampler> tiny_sampler() {
    SampleSettings settings;
    settings.max_seq_length = 32;
    TokenRoles roles{.vocabulary_size = kTinyVocabulary, .cls = 2, .sep = 3, .mask = 4, .continues_word = {}};
    roles.continues_word.assign(kTinyVocabulary, 0);
    return std::make_shared<const Sampler>(tiny_store(), settings, roles);
}

inline BertConfig tiny_config() {
    BertConfig config;
    config.vocab_size = kTinyVocabulary;
    config.hidden_size = 32;
    config.num_hidden_layers = 2;
    config.num_attention_heads = 4;
    config.intermediate_size = 64;
    config.max_position_embeddings = 32;
    return config;
}

inline constexpr BatchCapacity kTinyCapacity{.tokens = 96, .sequences = 16, .masked = 32};
inline constexpr BatchLimits kTinyLimits{.vocabulary_size = kTinyVocabulary, .positions = 32};

inline TrainerOptions tiny_options(std::int64_t micro_batches, std::int64_t virtual_ranks) {
    TrainerOptions options{
        .model = {.capacity = kTinyCapacity}, .optimizer = {}, .seed = 7, .micro_batches = micro_batches};
    options.virtual_ranks = virtual_ranks;
    options.optimizer.schedule = {.kind = ScheduleKind::constant, .base = 2e-3, .warmup_steps = 0, .total_steps = 1000};
    return options;
}

inline BatchStreamSettings tiny_stream_settings(std::int64_t micro_batches) {
    BatchStreamSettings settings{.capacity = kTinyCapacity};
    settings.micro_batches = micro_batches;
    settings.prefetch_threads = 0;
    return settings;
}

inline std::vector<float> values_of(const ParameterView& view) {
    const float* data = view.flat.data<float>();
    return {data, data + view.flat.count()};
}

}  // namespace cloze::test
