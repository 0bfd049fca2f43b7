#include <catch2/catch.hpp>
#include <cmath>
#include <set>

#include "engine/data/epoch_plan.h"
#include "tests/data/corpus.h"

using namespace cloze;
using namespace cloze::test;

namespace {

/// Makes `count` samples of as many epochs as it takes.
template <typename Visit>
void make_samples(const Sampler& sampler, std::int64_t count, const Visit& visit) {
    Sample sample;
    for (std::uint32_t epoch = 0; count > 0; ++epoch) {
        const EpochPlan plan(sampler, epoch, 1);
        for (std::uint64_t i = 0; i < plan.samples() && count > 0; ++i, --count) {
            sampler.make(plan.source_in_corpus(i), sample);
            visit(sample);
        }
    }
}

}  // namespace

TEST_CASE("masking chooses the recipe's number of tokens, uniformly, and treats them 80/10/10") {
    const auto sampler = numbered_sampler({.documents = 2000, .most_tokens = 60});
    const std::int64_t samples = 100000;
    std::int64_t chosen = 0, masked = 0, kept = 0, replaced = 0, full_chosen = 0;
    std::int64_t replaced_low = 0;
    const std::int64_t vocabulary = sampler->roles().vocabulary_size;
    std::vector<std::int64_t> at(125);
    make_samples(*sampler, samples, [&](const Sample& sample) {
        const auto length = static_cast<std::int64_t>(sample.token_id.size());
        const auto expected = std::max<std::int64_t>(1, round_half_to_even(static_cast<double>(length) * 0.15));
        REQUIRE(static_cast<std::int64_t>(sample.masked_position.size()) == expected);
        REQUIRE(std::is_sorted(sample.masked_position.begin(), sample.masked_position.end()));
        chosen += expected;
        for (std::size_t i = 0; i < sample.masked_position.size(); ++i) {
            const std::int32_t position = sample.masked_position[i];
            REQUIRE((position > 0 && position != sample.first_segment - 1 && position < length - 1));
            const std::int32_t now = sample.token_id[static_cast<std::size_t>(position)];
            if (now == kMask) {
                ++masked;
            } else if (now == sample.masked_label[i]) {
                ++kept;
            } else {
                ++replaced;
                replaced_low += now < vocabulary / 2;
            }
        }
        // Places among the 125 candidates of full samples.
        if (length == 128) {
            for (const std::int32_t position : sample.masked_position) {
                ++at[static_cast<std::size_t>(position - (position < sample.first_segment ? 1 : 2))];
            }
            full_chosen += expected;
        }
    });
    CHECK(matches(static_cast<double>(masked), static_cast<double>(chosen), 0.8));
    CHECK(matches(static_cast<double>(replaced), static_cast<double>(chosen), 0.1));
    CHECK(matches(static_cast<double>(kept), static_cast<double>(chosen), 0.1));
    CHECK(matches(static_cast<double>(replaced_low), static_cast<double>(replaced), 0.5));
    // Chi-square over the 125 candidate positions: mean 124, standard deviation sqrt(2 * 124). Choosing without
    // replacement makes it smaller by the share not chosen.
    REQUIRE(full_chosen > 500000);
    const double expected = static_cast<double>(full_chosen) / 125;
    double chi_square = 0;
    for (const std::int64_t count : at) {
        chi_square += (static_cast<double>(count) - expected) * (static_cast<double>(count) - expected) / expected;
    }
    chi_square /= 1 - 19.0 / 125;
    CHECK(std::abs(chi_square - 124) < 3 * std::sqrt(2 * 124.0));
}

TEST_CASE("shares, probability and the cap are settings") {
    SampleSettings settings;
    settings.mask_share = 0;
    settings.random_share = 0.25;
    settings.keep_share = 0.75;
    settings.masked_lm_prob = 0.4;
    settings.max_predictions_per_seq = 30;
    const auto sampler = numbered_sampler({}, settings);
    std::int64_t chosen = 0, kept = 0;
    make_samples(*sampler, 3000, [&](const Sample& sample) {
        const auto length = static_cast<double>(sample.token_id.size());
        const auto expected = std::min<std::int64_t>(30, round_half_to_even(length * 0.4));
        REQUIRE(static_cast<std::int64_t>(sample.masked_position.size()) == expected);
        for (std::size_t i = 0; i < sample.masked_position.size(); ++i) {
            const std::int32_t now = sample.token_id[static_cast<std::size_t>(sample.masked_position[i])];
            ++chosen;
            kept += now == sample.masked_label[i];
        }
    });
    CHECK(matches(static_cast<double>(kept), static_cast<double>(chosen), 0.75));
}

TEST_CASE("whole-word masking takes words whole, never across segments, and skips what would exceed the number") {
    SampleSettings settings;
    settings.whole_word_mask = true;
    TokenArrays arrays = numbered_corpus({.documents = 300});
    const auto vocabulary = static_cast<std::int64_t>(arrays.ids.size()) + kFirstWord;
    TokenRoles roles = plain_roles(vocabulary);
    RandomStream random({3, RandomPurpose::initialization});
    for (std::size_t id = kFirstWord; id < roles.continues_word.size(); ++id) {
        roles.continues_word[id] = random.chance(0.4) ? 1 : 0;
    }
    const Sampler sampler(store_in_memory(std::move(arrays), "words"), settings, roles);
    std::int64_t multi_piece = 0, fewer = 0, samples = 0, first_piece_continues = 0;
    make_samples(sampler, 20000, [&](const Sample& sample) {
        ++samples;
        const std::vector<std::int32_t> ids = unmasked(sample);
        const auto length = static_cast<std::int32_t>(ids.size());
        const std::set<std::int32_t> chosen(sample.masked_position.begin(), sample.masked_position.end());
        const std::int64_t wanted = sampler.predictions(length);
        REQUIRE(static_cast<std::int64_t>(chosen.size()) <= wanted);
        fewer += static_cast<std::int64_t>(chosen.size()) < wanted;
        const auto separator = static_cast<std::int32_t>(sample.first_segment) - 1;
        for (std::int32_t position = 1; position < length - 1; ++position) {
            if (position == separator) {
                REQUIRE(chosen.count(position) == 0);
                continue;
            }
            const bool continues =
                roles.continues_word[static_cast<std::size_t>(ids[static_cast<std::size_t>(position)])] != 0;
            if (position == separator + 1) {
                first_piece_continues += continues;
                continue;
            }
            if (position == 1 || !continues) continue;
            REQUIRE(chosen.count(position) == chosen.count(position - 1));
            multi_piece += static_cast<std::int64_t>(chosen.count(position));
        }
    });
    CHECK(multi_piece > 10000);
    CHECK(first_piece_continues > 100);  // B cut within a word: its own set, not part of A's last word
    CHECK(fewer > 0);
    CHECK(fewer < samples / 20);
}
