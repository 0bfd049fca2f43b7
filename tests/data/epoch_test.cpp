#include <catch2/catch.hpp>
#include <cmath>
#include <set>

#include "engine/data/epoch_plan.h"
#include "tests/data/corpus.h"

using namespace cloze;
using namespace cloze::test;

TEST_CASE("the epoch's order is a permutation of any size and differs by epoch and seed") {
    for (const std::uint64_t count :
         {1ull, 2ull, 3ull, 4ull, 5ull, 16ull, 17ull, 63ull, 64ull, 65ull, 1000ull, 65537ull}) {
        const EpochOrder order(5, 1, count);
        std::vector<int> seen(count);
        for (std::uint64_t i = 0; i < count; ++i) {
            const std::uint64_t at = order(i);
            REQUIRE(at < count);
            ++seen[at];
        }
        CHECK(std::count(seen.begin(), seen.end(), 1) == static_cast<std::int64_t>(count));
    }
    const EpochOrder one(5, 1, 1000), other_epoch(5, 2, 1000), other_seed(6, 1, 1000);
    std::int64_t same_epoch = 0, same_seed = 0, fixed = 0;
    for (std::uint64_t i = 0; i < 1000; ++i) {
        same_epoch += one(i) == other_epoch(i);
        same_seed += one(i) == other_seed(i);
        fixed += one(i) == i;
    }
    CHECK(same_epoch < 10);
    CHECK(same_seed < 10);
    CHECK(fixed < 10);
    const EpochOrder huge(1, 0, std::uint64_t{1} << 41);
    CHECK(huge(123456789) != huge(123456790));
}

TEST_CASE("the order carries neighbours anywhere: places of the first tenth are uniform") {
    const EpochOrder order(8, 0, 100000);
    double sum = 0;
    std::int64_t ascending = 0;
    for (std::uint64_t i = 0; i < 10000; ++i) {
        sum += static_cast<double>(order(i));
        ascending += order(i) < order(i + 1);
    }
    CHECK(std::abs(sum / 10000 - 49999.5) < 3 * 100000 / std::sqrt(12.0 * 10000));
    CHECK(std::abs(ascending - 5000) < 3 * std::sqrt(10000 / 12.0));  // runs of neighbours, variance n / 12
}

TEST_CASE("the plan is the same at any number of threads and its lengths are those of the samples made") {
    SampleSettings settings;
    settings.max_seq_length = GENERATE(16, 128, 512);
    settings.next_sentence = GENERATE(NextSentence::nsp, NextSentence::none);
    const auto sampler = numbered_sampler({.documents = 700}, settings);
    const EpochPlan plan(*sampler, 4, 1);
    const EpochPlan threaded(*sampler, 4, 3);
    REQUIRE(plan.samples() == threaded.samples());
    std::set<std::pair<std::uint64_t, std::uint32_t>> seen;
    Sample sample;
    std::uint64_t tokens = 0;
    for (std::uint64_t position = 0; position < plan.samples(); ++position) {
        const SampleSource source = plan.source(position);
        const SampleSource other = threaded.source(position);
        REQUIRE((source.document == other.document && source.ordinal == other.ordinal &&
                 source.first_sentence == other.first_sentence));
        REQUIRE(source.epoch == 4);
        seen.insert({source.document, source.ordinal});
        sampler->make(source, sample);
        REQUIRE(static_cast<std::int64_t>(sample.token_id.size()) == plan.length(position));
        tokens += sample.token_id.size();
    }
    CHECK(seen.size() == plan.samples());
    CHECK(plan.tokens() == tokens);
    CHECK(plan.mean_length() == Approx(static_cast<double>(tokens) / static_cast<double>(plan.samples())));
}

TEST_CASE("samples of a document tile it in the plan too") {
    const auto sampler = numbered_sampler({.documents = 60});
    const EpochPlan plan(*sampler, 0, 2);
    std::uint64_t document = 0;
    std::uint32_t ordinal = 0;
    std::int64_t sentence = 0;
    for (std::uint64_t i = 0; i < plan.samples(); ++i) {
        const SampleSource source = plan.source_in_corpus(i);
        if (source.document != document) {
            REQUIRE(sentence == sampler->store().document(static_cast<std::int64_t>(document)).sentences());
            REQUIRE(source.document == document + 1);
            document = source.document;
            ordinal = 0;
            sentence = 0;
        }
        REQUIRE(source.ordinal == ordinal++);
        REQUIRE(source.first_sentence == sentence);
        sentence = sampler->shape(source, sampler->target_length(0, document)).next_sentence;
    }
    CHECK(document == 59);
}

TEST_CASE("planning can be cancelled") {
    const auto sampler = numbered_sampler();
    const std::atomic<bool> cancel{true};
    CHECK_THROWS_WITH(EpochPlan(*sampler, 3, 2, &cancel), Catch::Contains("epoch 3 was cancelled"));
}
