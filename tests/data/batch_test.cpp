#include "engine/data/batch.h"

#include <catch2/catch.hpp>

#include "engine/data/epoch_plan.h"
#include "kernels/core/error.h"
#include "tests/data/corpus.h"

using namespace cloze;
using namespace cloze::test;

namespace {

Sample small_sample() {
    Sample sample;
    sample.token_id = {kCls, 7, kMask, kSep, 9, kSep};
    sample.first_segment = 4;
    sample.next_sentence_label = 1;
    sample.masked_position = {2};
    sample.masked_label = {8};
    return sample;
}

void check_order(const std::vector<std::int32_t>& order, const std::vector<std::int32_t>& id, std::int32_t used) {
    for (std::int32_t i = 1; i < used; ++i) {
        const auto before = static_cast<std::size_t>(order[static_cast<std::size_t>(i) - 1]);
        const auto here = static_cast<std::size_t>(order[static_cast<std::size_t>(i)]);
        REQUIRE((id[before] < id[here] || (id[before] == id[here] && before < here)));
    }
    std::vector<int> seen(order.size());
    for (const std::int32_t row : order) ++seen[static_cast<std::size_t>(row)];
    REQUIRE(std::count(seen.begin(), seen.end(), 1) == static_cast<std::int64_t>(order.size()));
    for (std::size_t i = static_cast<std::size_t>(used); i < order.size(); ++i) {
        REQUIRE(order[i] == static_cast<std::int32_t>(i));
    }
}

}  // namespace

TEST_CASE("a batch lays sequences end to end, with offsets, types, labels and orders") {
    const BatchLimits limits{.vocabulary_size = 20, .positions = 8};
    Batch batch = empty_batch({16, 4, 5});
    append_sample(batch, small_sample(), 41, limits);
    append_sample(batch, small_sample(), 42, limits);
    finish_batch(batch, limits);
    CHECK(batch.counts.tokens == 12);
    CHECK(batch.counts.sequences == 2);
    CHECK(batch.counts.masked == 2);
    using Ints = std::vector<std::int32_t>;
    CHECK(batch.token_id == Ints{1, 7, 3, 2, 9, 2, 1, 7, 3, 2, 9, 2, 0, 0, 0, 0});
    CHECK(batch.position_id == Ints{0, 1, 2, 3, 4, 5, 0, 1, 2, 3, 4, 5, 0, 0, 0, 0});
    CHECK(batch.type_id == Ints{0, 0, 0, 0, 1, 1, 0, 0, 0, 0, 1, 1, 0, 0, 0, 0});
    CHECK(batch.offset == Ints{0, 6, 12, 12, 12});
    CHECK(batch.first_row == Ints{0, 6, 0, 0});
    CHECK(batch.next_sentence_label == Ints{1, 1, 0, 0});
    CHECK(batch.masked_row == Ints{2, 8, 0, 0, 0});
    CHECK(batch.masked_label == Ints{8, 8, 0, 0, 0});
    CHECK(batch.sequence_sample == std::vector<std::uint64_t>{41, 42, 0, 0});
    CHECK(batch.row_sample[5] == 41);
    CHECK(batch.row_sample[6] == 42);
    CHECK(batch.token_order == Ints{0, 6, 3, 5, 9, 11, 2, 8, 1, 7, 4, 10, 12, 13, 14, 15});
    check_order(batch.token_order, batch.token_id, 12);
    check_order(batch.position_order, batch.position_id, 12);
    check_order(batch.type_order, batch.type_id, 12);
}

TEST_CASE("orders of full and real batches are stable sorts") {
    const auto sampler = numbered_sampler();
    const EpochPlan plan(*sampler, 0, 1);
    const BatchLimits limits{.vocabulary_size = sampler->roles().vocabulary_size, .positions = 128};
    Batch batch = empty_batch({1000, 40, 400});
    Sample sample;
    for (std::uint64_t i = 0; batch.counts.tokens + plan.length(i) <= 1000; ++i) {
        sampler->make(plan.source(i), sample);
        append_sample(batch, sample, i, limits);
    }
    finish_batch(batch, limits);
    check_order(batch.token_order, batch.token_id, batch.counts.tokens);
    check_order(batch.position_order, batch.position_id, batch.counts.tokens);
    check_order(batch.type_order, batch.type_id, batch.counts.tokens);
}

TEST_CASE("an empty batch is valid") {
    Batch batch = empty_batch({3, 2, 1});
    finish_batch(batch, {.vocabulary_size = 5, .positions = 4});
    CHECK(batch.offset == std::vector<std::int32_t>{0, 0, 0});
    CHECK(batch.token_order == std::vector<std::int32_t>{0, 1, 2});
    CHECK(batch.token_id == std::vector<std::int32_t>{0, 0, 0});
}

TEST_CASE("what is out of range is refused before any of it is written") {
    const BatchLimits limits{.vocabulary_size = 20, .positions = 8};
    Batch batch = empty_batch({16, 4, 5});
    Sample sample = small_sample();
    sample.token_id[1] = 20;
    CHECK_THROWS_WITH(append_sample(batch, sample, 5, limits),
                      Catch::Contains("sample 5: token 1 is 20, outside the vocabulary of 20"));
    sample = small_sample();
    sample.token_id[1] = -1;
    CHECK_THROWS_WITH(append_sample(batch, sample, 5, limits), Catch::Contains("token 1 is -1"));
    sample = small_sample();
    sample.masked_label[0] = 20;
    CHECK_THROWS_WITH(append_sample(batch, sample, 5, limits), Catch::Contains("label 0 is 20"));
    sample = small_sample();
    sample.masked_position[0] = 6;
    CHECK_THROWS_WITH(append_sample(batch, sample, 5, limits), Catch::Contains("out of range"));
    sample = small_sample();
    sample.next_sentence_label = 2;
    CHECK_THROWS_WITH(append_sample(batch, sample, 5, limits), Catch::Contains("out of range"));
    CHECK_THROWS_WITH(append_sample(batch, small_sample(), 5, {.vocabulary_size = 20, .positions = 5}),
                      Catch::Contains("6 tokens but the position table ends at 5"));
    CHECK(batch.counts.tokens == 0);
    append_sample(batch, small_sample(), 0, limits);
    append_sample(batch, small_sample(), 1, limits);
    CHECK_THROWS_WITH(append_sample(batch, small_sample(), 2, limits), Catch::Contains("does not fit the micro-batch"));
    CHECK(batch.counts.sequences == 2);
}
