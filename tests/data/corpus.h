// Made-up corpora for the tests of engine/data: every token tells where it came from.
#pragma once

#include <algorithm>
#include <memory>

#include "engine/data/sampler.h"
#include "engine/data/token_store.h"
#include "kernels/core/random_stream.h"

namespace cloze::test {

inline constexpr std::int32_t kCls = 1;
inline constexpr std::int32_t kSep = 2;
inline constexpr std::int32_t kMask = 3;
inline constexpr std::int32_t kFirstWord = 4;

struct CorpusShape {
    std::int64_t documents = 200;
    std::int64_t most_sentences = 40;  // of a document, uniform from 1
    std::int64_t most_tokens = 40;     // of a sentence, uniform from 1
    std::uint64_t seed = 7;
};

/// Documents whose tokens are numbered through the corpus from kFirstWord on.
inline TokenArrays numbered_corpus(const CorpusShape& shape = {}) {
    RandomStream random({shape.seed, RandomPurpose::initialization});
    TokenArrays arrays;
    std::int32_t next = kFirstWord;
    for (std::int64_t document = 0; document < shape.documents; ++document) {
        const std::uint32_t sentences = 1 + random.below(static_cast<std::uint32_t>(shape.most_sentences));
        for (std::uint32_t i = 0; i < sentences; ++i) {
            std::vector<std::int32_t> sentence(1 + random.below(static_cast<std::uint32_t>(shape.most_tokens)));
            for (std::int32_t& token : sentence) token = next++;
            arrays.add_sentence(sentence);
        }
        arrays.end_document();
    }
    return arrays;
}

/// A vocabulary of `size` whole words.
inline TokenRoles plain_roles(std::int64_t size) {
    return {.vocabulary_size = size,
            .cls = kCls,
            .sep = kSep,
            .mask = kMask,
            .continues_word = std::vector<std::uint8_t>(static_cast<std::size_t>(size))};
}

inline std::shared_ptr<const Sampler> numbered_sampler(const CorpusShape& shape = {},
                                                       const SampleSettings& settings = {}) {
    TokenArrays arrays = numbered_corpus(shape);
    const auto size = static_cast<std::int64_t>(arrays.ids.size()) + kFirstWord;
    return std::make_shared<const Sampler>(store_in_memory(std::move(arrays), "numbered"), settings, plain_roles(size));
}

/// The sample before masking.
inline std::vector<std::int32_t> unmasked(const Sample& sample) {
    std::vector<std::int32_t> ids = sample.token_id;
    for (std::size_t i = 0; i < sample.masked_position.size(); ++i) {
        ids[static_cast<std::size_t>(sample.masked_position[i])] = sample.masked_label[i];
    }
    return ids;
}

/// Segments without special tokens; B is empty without pairs.
struct Segments {
    std::vector<std::int32_t> a, b;
};

inline Segments segments_of(const Sample& sample) {
    const std::vector<std::int32_t> ids = unmasked(sample);
    Segments segments;
    segments.a.assign(ids.begin() + 1, ids.begin() + sample.first_segment - 1);
    if (sample.first_segment < static_cast<std::int64_t>(ids.size())) {
        segments.b.assign(ids.begin() + sample.first_segment, ids.end() - 1);
    }
    return segments;
}

inline bool is_run(const std::vector<std::int32_t>& ids) {
    return std::adjacent_find(ids.begin(), ids.end(), [](auto x, auto y) { return y != x + 1; }) == ids.end();
}

/// Whether `hits` of `tries` is within three standard errors of probability p.
inline bool matches(double hits, double tries, double p) {
    return std::abs(hits - tries * p) <= 3 * std::sqrt(tries * p * (1 - p));
}

}  // namespace cloze::test
