#include "engine/data/sampler.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <utility>

#include "engine/text/vocabulary.h"
#include "kernels/core/error.h"

namespace cloze {

namespace {

/// The run of tokens that truncation leaves of a segment.
struct Cut {
    std::int64_t skip = 0;
    std::int64_t count = 0;

    void drop_one(RandomStream& random) {
        if (random.chance(0.5)) ++skip;
        --count;
    }
};

/// The shortest text that reads back as the same number.
std::string exact(double value) {
    char digits[32];
    return {digits, std::to_chars(digits, std::end(digits), value).ptr};
}

}  // namespace

NextSentence parse_next_sentence(const std::string& name) {
    if (name == "nsp") return NextSentence::nsp;
    if (name == "none") return NextSentence::none;
    fail(Fault::usage, "next sentence \"", name, "\" is not one of nsp, none");
}

const char* name_of(NextSentence next_sentence) {
    return next_sentence == NextSentence::nsp ? "nsp" : "none";
}

std::int64_t round_half_to_even(double value) {
    const double below = std::floor(value);
    const double rest = value - below;
    const auto whole = static_cast<std::int64_t>(below);
    if (rest != 0.5) return whole + (rest > 0.5 ? 1 : 0);
    return whole + whole % 2;
}

std::int64_t SampleSettings::max_predictions() const {
    if (max_predictions_per_seq > 0) return max_predictions_per_seq;
    return round_half_to_even(static_cast<double>(max_seq_length) * masked_lm_prob) + 1;
}

std::int64_t SampleSettings::predictions(std::int64_t length) const {
    const std::int64_t share = round_half_to_even(static_cast<double>(length) * masked_lm_prob);
    const std::int64_t wanted = std::min(max_predictions(), std::max<std::int64_t>(1, share));
    return std::min(wanted, length - special_tokens());
}

void require_settings(const SampleSettings& settings) {
    const auto within = [](double value, double low, double high, const char* name) {
        require(value >= low && value <= high, name, " is ", value, "; it must lie in [", low, ", ", high, "]");
    };
    require(settings.max_seq_length >= 5 && settings.max_seq_length <= 65535, "max_seq_length is ",
            settings.max_seq_length, "; it must lie in [5, 65535]: [CLS], two [SEP] and a token of each segment");
    require(settings.max_predictions_per_seq >= 0 && settings.max_predictions_per_seq <= settings.max_seq_length,
            "max_predictions_per_seq is ", settings.max_predictions_per_seq,
            "; it must lie in [0, max_seq_length = ", settings.max_seq_length,
            "], where 0 takes it from masked_lm_prob");
    require(settings.masked_lm_prob > 0 && settings.masked_lm_prob < 1, "masked_lm_prob is ", settings.masked_lm_prob,
            "; it must lie between 0 and 1 (BERT: 0.15)");
    within(settings.short_seq_prob, 0, 1, "short_seq_prob");
    within(settings.mask_share, 0, 1, "mask_share");
    within(settings.random_share, 0, 1, "random_share");
    within(settings.keep_share, 0, 1, "keep_share");
    const double sum = settings.mask_share + settings.random_share + settings.keep_share;
    require(std::abs(sum - 1) < 1e-9, "mask_share + random_share + keep_share is ", sum,
            "; they are shares of the chosen tokens and must add up to 1");
}

TokenRoles token_roles(const Vocabulary& vocabulary) {
    TokenRoles roles;
    roles.vocabulary_size = vocabulary.size();
    roles.cls = vocabulary.special().cls;
    roles.sep = vocabulary.special().sep;
    roles.mask = vocabulary.special().mask;
    roles.continues_word.resize(static_cast<std::size_t>(vocabulary.size()));
    for (std::int32_t id = 0; id < vocabulary.size(); ++id) roles.continues_word[id] = vocabulary.is_continuation(id);
    return roles;
}

Sampler::Sampler(std::shared_ptr<const TokenStore> store, const SampleSettings& settings, TokenRoles roles)
    : store_(std::move(store)),
      settings_(settings),
      roles_(std::move(roles)),
      max_tokens_(settings.max_seq_length - settings.special_tokens()) {
    require_settings(settings_);
    require(static_cast<std::int64_t>(roles_.continues_word.size()) == roles_.vocabulary_size,
            "Sampler: continues_word has ", roles_.continues_word.size(), " entries for a vocabulary of ",
            roles_.vocabulary_size);
    require_input(store_->documents() > 0, store_->identity(), ": no documents to sample from; add text");
    if (settings_.whole_word_mask) {
        require_input(std::ranges::count(roles_.continues_word, 1) > 0,
                      "whole-word masking was asked for, but no vocabulary entry begins with ##, so every piece is a "
                      "word and it would change nothing; leave it off or use a WordPiece vocabulary");
    }
}

std::int64_t Sampler::target_length(std::uint32_t epoch, std::uint64_t document) const {
    RandomStream random({settings_.seed, RandomPurpose::document_walk, epoch, document});
    if (!random.chance(settings_.short_seq_prob)) return max_tokens_;
    return 2 + random.below(static_cast<std::uint32_t>(max_tokens_ - 1));
}

std::int64_t Sampler::predictions(std::int64_t length) const {
    return settings_.predictions(length);
}

SampleShape Sampler::shape(const SampleSource& source, std::int64_t target) const {
    RandomStream random({settings_.seed, RandomPurpose::pairing, source.epoch, source.document, source.ordinal});
    return draw_shape(source, target, random);
}

// The walk of the original: sentences join a chunk until it has `target` tokens or the document ends; the chunk is
// split into A and what follows; with a random next, what follows goes back to the document.
SampleShape Sampler::draw_shape(const SampleSource& source, std::int64_t target, RandomStream& random) const {
    const DocumentView document = store_->document(static_cast<std::int64_t>(source.document));
    const std::int64_t first = source.first_sentence;
    std::int64_t end = first;
    std::int64_t chunk_tokens = 0;
    do {
        chunk_tokens += document.tokens(end++, 1);
    } while (end < document.sentences() && chunk_tokens < target);
    const std::int64_t sentences = end - first;

    SampleShape shape;
    if (settings_.next_sentence == NextSentence::none) {
        shape.a_sentences = sentences;
        shape.a_tokens = chunk_tokens;
        shape.next_sentence = end;
    } else {
        shape.a_sentences = sentences == 1 ? 1 : 1 + random.below(static_cast<std::uint32_t>(sentences - 1));
        shape.a_tokens = document.tokens(first, shape.a_sentences);
        shape.random_next = sentences == 1 || random.chance(0.5);
        if (shape.random_next) {
            draw_random_next(source, target, shape, random);
            shape.next_sentence = first + shape.a_sentences;
        } else {
            shape.b_document = source.document;
            shape.b_first = first + shape.a_sentences;
            shape.b_sentences = sentences - shape.a_sentences;
            shape.b_tokens = chunk_tokens - shape.a_tokens;
            shape.next_sentence = end;
        }
    }
    shape.length = std::min(shape.a_tokens + shape.b_tokens, max_tokens_) + settings_.special_tokens();
    return shape;
}

// Ten tries to hit another document; the eleventh would be this one again, which is then taken (so it always is in a
// store of one document), as in the original.
void Sampler::draw_random_next(const SampleSource& source, std::int64_t target, SampleShape& shape,
                               RandomStream& random) const {
    for (int tries = 0; tries < 10; ++tries) {
        shape.b_document = random.below(static_cast<std::uint32_t>(store_->documents()));
        if (shape.b_document != source.document) break;
    }
    const DocumentView other = store_->document(static_cast<std::int64_t>(shape.b_document));
    shape.b_first = random.below(static_cast<std::uint32_t>(other.sentences()));
    const std::int64_t wanted = target - shape.a_tokens;
    do {
        shape.b_tokens += other.tokens(shape.b_first + shape.b_sentences++, 1);
    } while (shape.b_first + shape.b_sentences < other.sentences() && shape.b_tokens < wanted);
}

void Sampler::make(const SampleSource& source, Sample& sample) const {
    RandomStream random({settings_.seed, RandomPurpose::pairing, source.epoch, source.document, source.ordinal});
    const SampleShape shape = draw_shape(source, target_length(source.epoch, source.document), random);

    Cut a{0, shape.a_tokens};
    Cut b{0, shape.b_tokens};
    while (a.count + b.count > max_tokens_) (a.count > b.count ? a : b).drop_one(random);

    sample.token_id.resize(static_cast<std::size_t>(shape.length));
    std::int32_t* id = sample.token_id.data();
    *id++ = roles_.cls;
    const DocumentView a_document = store_->document(static_cast<std::int64_t>(source.document));
    a_document.copy(source.first_sentence, a.skip, a.count, id);
    id += a.count;
    *id++ = roles_.sep;
    sample.first_segment = a.count + 2;
    if (settings_.next_sentence == NextSentence::nsp) {
        store_->document(static_cast<std::int64_t>(shape.b_document)).copy(shape.b_first, b.skip, b.count, id);
        id[b.count] = roles_.sep;
    }
    sample.next_sentence_label = shape.random_next ? 1 : 0;
    mask(source, sample);
}

// Candidates are sets of neighbouring positions: single tokens, or whole words. They are drawn without replacement
// until the wanted number of positions is reached; a set that would exceed it is passed over.
void Sampler::mask(const SampleSource& source, Sample& sample) const {
    RandomStream random({settings_.seed, RandomPurpose::masking, source.epoch, source.document, source.ordinal});
    const auto length = static_cast<std::int32_t>(sample.token_id.size());
    struct Set {
        std::int32_t first, end;
    };
    std::vector<Set> sets;
    sets.reserve(sample.token_id.size());
    const auto separator = static_cast<std::int32_t>(sample.first_segment) - 1;
    for (std::int32_t position = 1; position < length - 1; ++position) {
        if (position == separator) continue;
        const bool joins = settings_.whole_word_mask && position != 1 && position != separator + 1 &&
                           roles_.continues_word[static_cast<std::size_t>(sample.token_id[position])] != 0;
        if (joins) {
            ++sets.back().end;
        } else {
            sets.push_back({position, position + 1});
        }
    }

    const std::vector<std::int32_t> original = sample.token_id;
    std::vector<std::uint8_t> chosen(sample.token_id.size());
    const std::int64_t wanted = predictions(length);
    std::int64_t taken = 0;
    for (std::size_t i = 0; i < sets.size() && taken < wanted; ++i) {
        std::swap(sets[i], sets[i + random.below(static_cast<std::uint32_t>(sets.size() - i))]);
        if (taken + sets[i].end - sets[i].first > wanted) continue;
        for (std::int32_t position = sets[i].first; position < sets[i].end; ++position, ++taken) {
            chosen[position] = 1;
            const double fate = random.next_bits() * 0x1p-32;
            if (fate < settings_.mask_share) {
                sample.token_id[position] = roles_.mask;
            } else if (fate < settings_.mask_share + settings_.random_share) {
                sample.token_id[position] =
                    static_cast<std::int32_t>(random.below(static_cast<std::uint32_t>(roles_.vocabulary_size)));
            }
        }
    }
    sample.masked_position.clear();
    sample.masked_label.clear();
    for (std::int32_t position = 0; position < length; ++position) {
        if (chosen[position] == 0) continue;
        sample.masked_position.push_back(position);
        sample.masked_label.push_back(original[position]);
    }
}

Sampler Sampler::with_seed(std::uint64_t seed) const {
    Sampler other = *this;
    other.settings_.seed = seed;
    return other;
}

std::string Sampler::identity() const {
    const SampleSettings& s = settings_;
    return text("store=", store_->identity(), " vocabulary=", roles_.vocabulary_size, " seed=", s.seed,
                " max_seq_length=", s.max_seq_length, " max_predictions_per_seq=", s.max_predictions(),
                " masked_lm_prob=", exact(s.masked_lm_prob), " short_seq_prob=", exact(s.short_seq_prob),
                " shares=", exact(s.mask_share), "/", exact(s.random_share), "/", exact(s.keep_share),
                " whole_word_mask=", s.whole_word_mask, " next_sentence=", name_of(s.next_sentence));
}

}  // namespace cloze
