// Samples as the original recipe makes them (create_pretraining_data.py): sentence pairs, short sequences, truncation,
// masking. The distribution is the original's; the draws are our own: each is keyed by (seed, epoch, document, ordinal
// in the document, purpose), so any sample of any epoch can be made alone, by any thread or rank, in any order.
//
//   document_walk (epoch, document)           target length of the document's samples in this epoch
//   pairing       (epoch, document, ordinal)  split point, random next?, other document and start, truncation sides
//   masking       (epoch, document, ordinal)  order of candidates, and per chosen token mask, random or keep
//
// What differs from the original on purpose: masks and pairs are new in every epoch instead of copied dupe_factor
// times, and with whole-word masking a segment's first piece always begins a word (there a B that begins with "##"
// after truncation joins the last word of A). There are 65,536 epochs.
// Cost: about a microsecond for a sample of 128 tokens. Tested by tests/data/sampler_test.cpp.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "engine/data/token_store.h"
#include "kernels/core/random_stream.h"

namespace cloze {

class Vocabulary;

enum class NextSentence {
    nsp,   // [CLS] A [SEP] B [SEP]; B follows A, or comes from another document
    none,  // [CLS] A [SEP], type 0 throughout
};

NextSentence parse_next_sentence(const std::string& name);  // "nsp" or "none"; Fault::usage otherwise
const char* name_of(NextSentence next_sentence);

struct SampleSettings {
    std::int64_t max_seq_length = 128;
    std::int64_t max_predictions_per_seq = 0;  // 0: round(max_seq_length * masked_lm_prob) + 1, so that it never binds
    double masked_lm_prob = 0.15;
    double short_seq_prob = 0.1;
    double mask_share = 0.8;    // of the chosen tokens: becomes [MASK]
    double random_share = 0.1;  // becomes any vocabulary entry, special ones included, as in the original
    double keep_share = 0.1;    // stays
    bool whole_word_mask = false;
    NextSentence next_sentence = NextSentence::nsp;
    std::uint64_t seed = 12345;

    std::int64_t special_tokens() const { return next_sentence == NextSentence::nsp ? 3 : 2; }
    std::int64_t max_predictions() const;
    /// Of a sample of `length` tokens, special ones included.
    std::int64_t predictions(std::int64_t length) const;
};

/// Throws Fault::usage naming the setting, its value and what is allowed.
void require_settings(const SampleSettings& settings);

/// Half to even, as Python 3 rounds: the original's number of predictions depends on it at 13 lengths up to 512.
std::int64_t round_half_to_even(double value);

/// What sampling must know of a vocabulary.
struct TokenRoles {
    std::int64_t vocabulary_size = 0;
    std::int32_t cls = 0;
    std::int32_t sep = 0;
    std::int32_t mask = 0;
    std::vector<std::uint8_t> continues_word = {};  // [vocabulary_size]  1 for pieces that begin with "##"
};

TokenRoles token_roles(const Vocabulary& vocabulary);

/// Names a sample: with the seed, all that it is a function of.
struct SampleSource {
    std::uint32_t epoch = 0;
    std::uint64_t document = 0;
    std::uint32_t ordinal = 0;         // in the document
    std::uint32_t first_sentence = 0;  // where the walk stands when it begins; EpochPlan knows it
};

/// What pairing decided: everything about a sample but its truncation sides and its masks.
struct SampleShape {
    std::int64_t a_sentences = 0;  // A: this many sentences from SampleSource::first_sentence on
    std::int64_t a_tokens = 0;     // before truncation
    std::uint64_t b_document = 0;
    std::int64_t b_first = 0;
    std::int64_t b_sentences = 0;  // 0 without next-sentence pairs
    std::int64_t b_tokens = 0;     // before truncation
    bool random_next = false;
    std::int64_t next_sentence = 0;  // where the document's next sample begins; its sentence count when it is done
    std::int64_t length = 0;         // tokens of the finished sample, special ones included
};

struct Sample {
    std::vector<std::int32_t> token_id;         // masked input
    std::int64_t first_segment = 0;             // tokens of type 0: [CLS] A [SEP]
    std::int32_t next_sentence_label = 0;       // 0 = B really follows, 1 = random; 0 without pairs
    std::vector<std::int32_t> masked_position;  // ascending
    std::vector<std::int32_t> masked_label;     // the token that was there
};

/// Makes samples of one store. Immutable; shared by threads.
class Sampler {
public:
    Sampler(std::shared_ptr<const TokenStore> store, const SampleSettings& settings, TokenRoles roles);

    const TokenStore& store() const { return *store_; }
    const SampleSettings& settings() const { return settings_; }
    const TokenRoles& roles() const { return roles_; }

    /// Tokens without the special ones that the document's samples of this epoch aim at.
    std::int64_t target_length(std::uint32_t epoch, std::uint64_t document) const;
    /// Lengths only. `target` is target_length() of the source's epoch and document.
    SampleShape shape(const SampleSource& source, std::int64_t target) const;
    void make(const SampleSource& source, Sample& sample) const;

    /// The number of tokens masked in a sample of this length; whole-word masking may take fewer.
    std::int64_t predictions(std::int64_t length) const;

    /// The same sampler under another seed.
    Sampler with_seed(std::uint64_t seed) const;

    /// Settings, vocabulary and store as one line: two samplers with the same identity make the same samples.
    std::string identity() const;

private:
    SampleShape draw_shape(const SampleSource& source, std::int64_t target, RandomStream& random) const;
    void draw_random_next(const SampleSource& source, std::int64_t target, SampleShape& shape,
                          RandomStream& random) const;
    void mask(const SampleSource& source, Sample& sample) const;

    std::shared_ptr<const TokenStore> store_;
    SampleSettings settings_;
    TokenRoles roles_;
    std::int64_t max_tokens_;  // max_seq_length less the special tokens
};

}  // namespace cloze
