#include <catch2/catch.hpp>
#include <cmath>
#include <map>

#include "engine/data/epoch_plan.h"
#include "kernels/core/error.h"
#include "tests/data/corpus.h"

using namespace cloze;
using namespace cloze::test;

namespace {

/// Calls visit(source, target) for every sample of an epoch, in corpus order, walking the documents itself.
template <typename Visit>
void for_each_sample(const Sampler& sampler, std::uint32_t epoch, const Visit& visit) {
    for (std::int64_t document = 0; document < sampler.store().documents(); ++document) {
        SampleSource source{.epoch = epoch, .document = static_cast<std::uint64_t>(document)};
        const std::int64_t target = sampler.target_length(epoch, source.document);
        while (source.first_sentence < sampler.store().document(document).sentences()) {
            visit(source, target);
            source.first_sentence = static_cast<std::uint32_t>(sampler.shape(source, target).next_sentence);
            ++source.ordinal;
        }
    }
}

/// Sentences of the chunk that the walk gathers at a source: the original's definition, on its own.
std::int64_t chunk_sentences(const Sampler& sampler, const SampleSource& source, std::int64_t target) {
    const DocumentView document = sampler.store().document(static_cast<std::int64_t>(source.document));
    std::int64_t count = 0;
    std::int64_t tokens = 0;
    for (std::int64_t i = source.first_sentence; i < document.sentences(); ++i) {
        ++count;
        tokens += document.tokens(i, 1);
        if (tokens >= target) break;
    }
    return count;
}

}  // namespace

TEST_CASE("half rounds to even, as Python 3 rounds") {
    CHECK(round_half_to_even(4.5) == 4);
    CHECK(round_half_to_even(5.5) == 6);
    CHECK(round_half_to_even(10.5) == 10);
    CHECK(round_half_to_even(19.2) == 19);
    CHECK(round_half_to_even(0.5) == 0);
    // round(30 * 0.15) is 4 in Python 3 and 5 in Python 2.
    const auto sampler = numbered_sampler();
    CHECK(sampler->predictions(30) == 4);
    CHECK(sampler->predictions(70) == 10);
    CHECK(sampler->predictions(128) == 19);
    CHECK(sampler->predictions(5) == 1);
    SampleSettings settings;
    CHECK(settings.max_predictions() == 20);
    settings.max_seq_length = 512;
    CHECK(settings.max_predictions() == 78);
}

TEST_CASE("pairs follow the recipe: half random where there is a choice, uniform split, document and start") {
    const auto sampler = numbered_sampler({.documents = 500});
    std::int64_t choices = 0, random_of_choices = 0, single = 0, random_of_single = 0, samples = 0;
    std::map<std::int64_t, std::int64_t> split_of_four;
    std::int64_t four = 0, long_b = 0, start_low = 0;
    double document_sum = 0;
    for (std::uint32_t epoch = 0; samples < 100000; ++epoch) {
        for_each_sample(*sampler, epoch, [&](const SampleSource& source, std::int64_t target) {
            ++samples;
            const SampleShape shape = sampler->shape(source, target);
            const std::int64_t n = chunk_sentences(*sampler, source, target);
            if (n == 1) {
                ++single;
                random_of_single += shape.random_next;
            } else {
                ++choices;
                random_of_choices += shape.random_next;
            }
            if (n == 4) {
                ++four;
                ++split_of_four[shape.a_sentences];
            }
            if (shape.random_next) {
                REQUIRE(shape.b_document != source.document);
                const auto other = sampler->store().document(static_cast<std::int64_t>(shape.b_document));
                if (other.sentences() % 2 == 0) {
                    ++long_b;
                    start_low += 2 * shape.b_first < other.sentences();
                }
                document_sum += static_cast<double>(shape.b_document);
                const std::int64_t wanted = target - shape.a_tokens;
                const bool reaches = shape.b_tokens >= wanted;
                const bool ends = shape.b_first + shape.b_sentences == other.sentences();
                REQUIRE((reaches || ends));
                if (shape.b_sentences > 1) REQUIRE(other.tokens(shape.b_first, shape.b_sentences - 1) < wanted);
                REQUIRE(shape.next_sentence == source.first_sentence + shape.a_sentences);
            } else {
                REQUIRE(shape.b_document == source.document);
                REQUIRE(shape.b_first == source.first_sentence + shape.a_sentences);
                REQUIRE(shape.next_sentence == source.first_sentence + n);
                REQUIRE(shape.b_first + shape.b_sentences == shape.next_sentence);
            }
        });
    }
    CHECK(random_of_single == single);
    CHECK(single > 1000);
    CHECK(matches(static_cast<double>(random_of_choices), static_cast<double>(choices), 0.5));
    CHECK(split_of_four.size() == 3);
    for (const auto& [split, count] : split_of_four) {
        CHECK(matches(static_cast<double>(count), static_cast<double>(four), 1.0 / 3));
    }
    CHECK(matches(static_cast<double>(start_low), static_cast<double>(long_b), 0.5));
    const double random_next = static_cast<double>(random_of_choices + random_of_single);
    // The mean of a uniform choice among 500 has a standard error of 500 / sqrt(12 n).
    CHECK(std::abs(document_sum / random_next - 249.5) < 3 * 500 / std::sqrt(12 * random_next));
}

TEST_CASE("one document in ten aims at a uniform shorter length") {
    const auto sampler = numbered_sampler({.documents = 20});
    const double tries = 200000;
    std::int64_t shorter = 0, lower_half = 0, smallest = 1000, largest = 0;
    for (std::uint32_t epoch = 0; epoch < 10000; ++epoch) {
        for (std::uint64_t document = 0; document < 20; ++document) {
            const std::int64_t target = sampler->target_length(epoch, document);
            smallest = std::min(smallest, target);
            largest = std::max(largest, target);
            shorter += target < 125;
            lower_half += target <= 63;
        }
    }
    CHECK(smallest == 2);
    CHECK(largest == 125);
    CHECK(matches(static_cast<double>(shorter), tries, 0.1 * 123 / 124));
    CHECK(matches(static_cast<double>(lower_half), tries, 0.1 * 62 / 124));
}

TEST_CASE("a sample is two runs of the corpus, cut to length from both ends") {
    const auto sampler = numbered_sampler({.documents = 300, .most_sentences = 20, .most_tokens = 90});
    Sample sample;
    std::int64_t front = 0, cut = 0;
    for_each_sample(*sampler, 3, [&](const SampleSource& source, std::int64_t target) {
        const SampleShape shape = sampler->shape(source, target);
        sampler->make(source, sample);
        REQUIRE(static_cast<std::int64_t>(sample.token_id.size()) == shape.length);
        REQUIRE(shape.length <= 128);
        REQUIRE(sample.next_sentence_label == (shape.random_next ? 1 : 0));
        const std::vector<std::int32_t> ids = unmasked(sample);
        REQUIRE(ids.front() == kCls);
        REQUIRE(ids.back() == kSep);
        REQUIRE(ids[static_cast<std::size_t>(sample.first_segment) - 1] == kSep);
        const Segments segments = segments_of(sample);
        REQUIRE(is_run(segments.a));
        REQUIRE(is_run(segments.b));
        std::vector<std::int32_t> a(static_cast<std::size_t>(shape.a_tokens));
        sampler->store()
            .document(static_cast<std::int64_t>(source.document))
            .copy(source.first_sentence, 0, shape.a_tokens, a.data());
        std::vector<std::int32_t> b(static_cast<std::size_t>(shape.b_tokens));
        sampler->store()
            .document(static_cast<std::int64_t>(shape.b_document))
            .copy(shape.b_first, 0, shape.b_tokens, b.data());
        REQUIRE(segments.a.front() >= a.front());
        REQUIRE(segments.a.back() <= a.back());
        REQUIRE(segments.b.front() >= b.front());
        REQUIRE(segments.b.back() <= b.back());
        // The longer one is cut until both fit, a tie cuts B: so a cut B is at most as long as A, and a cut A at most
        // one longer than B.
        if (segments.b.size() < b.size()) REQUIRE(segments.b.size() + 1 >= std::min(segments.a.size(), b.size()));
        if (segments.a.size() < a.size()) REQUIRE(segments.a.size() >= segments.b.size());
        if (a.size() + b.size() > 125) REQUIRE(shape.length == 128);
        front += segments.a.front() - a.front() + segments.b.front() - b.front();
        cut += static_cast<std::int64_t>(a.size() + b.size() - segments.a.size() - segments.b.size());
    });
    CHECK(cut > 20000);
    CHECK(matches(static_cast<double>(front), static_cast<double>(cut), 0.5));
}

TEST_CASE("an epoch walks every sentence: A and what follows it tile the documents") {
    const auto sampler = numbered_sampler({.documents = 100});
    std::vector<int> seen(static_cast<std::size_t>(sampler->store().sentences()));
    std::vector<std::int64_t> first(1, 0);
    for (std::int64_t d = 0; d < 100; ++d) first.push_back(first.back() + sampler->store().document(d).sentences());
    for_each_sample(*sampler, 1, [&](const SampleSource& source, std::int64_t target) {
        const SampleShape shape = sampler->shape(source, target);
        for (std::int64_t s = source.first_sentence; s < shape.next_sentence; ++s) {
            ++seen[static_cast<std::size_t>(first[source.document] + s)];
        }
    });
    CHECK(std::count(seen.begin(), seen.end(), 1) == static_cast<std::int64_t>(seen.size()));
}

TEST_CASE("samples differ between epochs and seeds and repeat by name, in any order") {
    const auto sampler = numbered_sampler();
    Sample one, other;
    std::vector<SampleSource> sources;
    std::vector<std::vector<std::int32_t>> made;
    for_each_sample(*sampler, 2, [&](const SampleSource& source, std::int64_t) {
        sources.push_back(source);
        sampler->make(source, one);
        made.push_back(one.token_id);
    });
    for (std::size_t i = sources.size(); i-- > 0;) {
        sampler->make(sources[i], other);
        REQUIRE(other.token_id == made[i]);
    }
    SampleSource next_epoch = sources[0];
    ++next_epoch.epoch;
    sampler->make(next_epoch, other);
    CHECK(other.token_id != made[0]);
    sampler->with_seed(99).make(sources[0], other);
    CHECK(other.token_id != made[0]);
}

TEST_CASE("without next-sentence pairs a sample is one run with two special tokens") {
    SampleSettings settings;
    settings.next_sentence = NextSentence::none;
    const auto sampler = numbered_sampler({.documents = 50, .most_tokens = 200}, settings);
    Sample sample;
    bool full = false;
    for_each_sample(*sampler, 0, [&](const SampleSource& source, std::int64_t target) {
        sampler->make(source, sample);
        const auto length = static_cast<std::int64_t>(sample.token_id.size());
        REQUIRE(length == sampler->shape(source, target).length);
        REQUIRE(sample.first_segment == length);
        REQUIRE(sample.next_sentence_label == 0);
        REQUIRE(is_run(segments_of(sample).a));
        full |= length == 128;
    });
    CHECK(full);
}

TEST_CASE("the smallest corpora give samples") {
    SECTION("one document of one sentence pairs with itself") {
        TokenArrays arrays;
        arrays.add_sentence(std::vector<std::int32_t>{10});
        const Sampler sampler(store_in_memory(arrays, "tiny"), {}, plain_roles(100));
        Sample sample;
        sampler.make({}, sample);
        CHECK(unmasked(sample) == std::vector<std::int32_t>{kCls, 10, kSep, 10, kSep});
        CHECK(sample.next_sentence_label == 1);
        CHECK(sample.masked_position.size() == 1);
        CHECK(sampler.shape({}, 125).next_sentence == 1);
    }
    SECTION("one document of many sentences takes itself as the other one") {
        const auto sampler = numbered_sampler({.documents = 1});
        for_each_sample(*sampler, 0, [&](const SampleSource& source, std::int64_t target) {
            CHECK(sampler->shape(source, target).b_document == 0);
        });
    }
    SECTION("of two documents the other one is nearly always found within ten tries") {
        const auto sampler = numbered_sampler({.documents = 2, .most_sentences = 5});
        std::int64_t same = 0;
        for (std::uint32_t epoch = 0; epoch < 1000; ++epoch) {
            for_each_sample(*sampler, epoch, [&](const SampleSource& source, std::int64_t target) {
                const SampleShape shape = sampler->shape(source, target);
                same += shape.random_next && shape.b_document == source.document;
            });
        }
        CHECK(same < 20);  // 2^-10 of about 2000
    }
    SECTION("no document is refused") {
        CHECK_THROWS_WITH(Sampler(store_in_memory({}, "nothing"), {}, plain_roles(10)),
                          Catch::Contains("nothing: no documents"));
    }
    SECTION("the shortest sequence length works, with sentences far longer") {
        SampleSettings settings;
        settings.max_seq_length = 5;
        const auto sampler = numbered_sampler({.documents = 5}, settings);
        Sample sample;
        for_each_sample(*sampler, 0, [&](const SampleSource& source, std::int64_t target) {
            REQUIRE(target == 2);
            sampler->make(source, sample);
            REQUIRE(sample.token_id.size() == 5);
            REQUIRE(sample.masked_position.size() == 1);
        });
    }
}

TEST_CASE("settings that cannot work are refused by name") {
    const auto message = [](auto change) {
        SampleSettings settings;
        change(settings);
        try {
            require_settings(settings);
        } catch (const Error& error) {
            CHECK(error.fault() == Fault::usage);
            return std::string(error.what());
        }
        return std::string();
    };
    CHECK(message([](auto&) {}).empty());
    CHECK(message([](auto& s) { s.max_seq_length = 4; }).find("max_seq_length is 4") == 0);
    CHECK(message([](auto& s) { s.masked_lm_prob = 0; }).find("masked_lm_prob is 0") == 0);
    CHECK(message([](auto& s) { s.max_predictions_per_seq = 129; }).find("max_predictions_per_seq is 129") == 0);
    CHECK(message([](auto& s) { s.short_seq_prob = 1.5; }).find("short_seq_prob is 1.5") == 0);
    CHECK(message([](auto& s) { s.keep_share = 0.2; }).find("mask_share + random_share + keep_share is 1.1") == 0);
    CHECK(message([](auto& s) { s.mask_share = std::nan(""); }).find("mask_share is nan") == 0);
    CHECK_THROWS_WITH(parse_next_sentence("sop"), Catch::Contains("\"sop\" is not one of nsp, none"));
    SampleSettings whole_word;
    whole_word.whole_word_mask = true;
    CHECK_THROWS_WITH(numbered_sampler({}, whole_word), Catch::Contains("no vocabulary entry begins with ##"));
}

TEST_CASE("the identity tells any two settings apart, and writes numbers as people do") {
    const auto identity = [](auto change) {
        SampleSettings settings;
        change(settings);
        return numbered_sampler({}, settings)->identity();
    };
    const std::string usual = identity([](auto&) {});
    CHECK_THAT(usual, Catch::Contains(" masked_lm_prob=0.15 short_seq_prob=0.1 shares=0.8/0.1/0.1 "));
    const auto nudge = [](double& value) { value = std::nextafter(value, 1); };
    CHECK(identity([&](auto& s) { nudge(s.masked_lm_prob); }) != usual);
    CHECK(identity([&](auto& s) { nudge(s.short_seq_prob); }) != usual);
    CHECK(identity([&](auto& s) { nudge(s.mask_share); }) != usual);
    CHECK(identity([&](auto& s) { nudge(s.random_share); }) != usual);
    CHECK(identity([&](auto& s) { nudge(s.keep_share); }) != usual);
}
