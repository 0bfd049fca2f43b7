#include "engine/data/packing.h"

#include <catch2/catch.hpp>
#include <cmath>
#include <limits>
#include <set>

#include "engine/data/step_shape.h"
#include "kernels/core/error.h"
#include "tests/data/corpus.h"

using namespace cloze;
using namespace cloze::test;

namespace {

/// Lengths as BERT's data has them: mostly full, some short.
std::vector<SampleSize> usual_sizes(std::int64_t longest, std::size_t count) {
    RandomStream random({11, RandomPurpose::initialization});
    std::vector<SampleSize> sizes(count);
    for (SampleSize& size : sizes) {
        size.tokens = random.chance(0.75) ? longest : 5 + random.below(static_cast<std::uint32_t>(longest - 4));
        size.masked = std::max<std::int64_t>(1, size.tokens * 15 / 100);
    }
    return sizes;
}

SampleSize total(const std::vector<SampleSize>& sizes, const std::vector<std::uint64_t>& packed) {
    SampleSize sum;
    for (const std::uint64_t index : packed) {
        sum.tokens += sizes[index].tokens;
        sum.masked += sizes[index].masked;
    }
    return sum;
}

Packer packer_of(const std::vector<SampleSize>& sizes, const BatchCapacity& capacity, const SampleSize& longest,
                 const PackerState& state = {}) {
    return Packer(
        capacity, longest, [&sizes](std::uint64_t index) { return sizes.at(index); }, state, sizes.size());
}

}  // namespace

TEST_CASE("packing takes every sample once, within every capacity, and the oldest first") {
    const std::vector<SampleSize> sizes = usual_sizes(128, 5000);
    const BatchCapacity capacity =
        GENERATE(BatchCapacity{1024, 100, 1024}, BatchCapacity{128, 100, 100}, BatchCapacity{4000, 20, 4000},
                 BatchCapacity{2000, 100, 150}, BatchCapacity{700, 3, 60});
    Packer packer = packer_of(sizes, capacity, {128, 19});
    std::vector<int> seen(sizes.size());
    std::uint64_t oldest = 0;
    for (auto packed = packer.pack(); !packed.empty(); packed = packer.pack()) {
        const SampleSize sum = total(sizes, packed);
        REQUIRE(sum.tokens <= capacity.tokens);
        REQUIRE(sum.masked <= capacity.masked);
        REQUIRE(static_cast<std::int64_t>(packed.size()) <= capacity.sequences);
        REQUIRE(std::is_sorted(packed.begin(), packed.end()));
        REQUIRE(packed.front() == oldest);
        for (const std::uint64_t index : packed) ++seen[index];
        while (oldest < seen.size() && seen[oldest] != 0) ++oldest;
        REQUIRE(packer.state().window.size() <= static_cast<std::size_t>(kPackingWindow));
    }
    CHECK(std::count(seen.begin(), seen.end(), 1) == 5000);
}

TEST_CASE("packing fills 99 % and more from sixteen longest samples on, 98 % at eight") {
    const std::int64_t longest = GENERATE(128, 512);
    const std::int64_t sequences = GENERATE(8, 16, 17, 64);
    const std::vector<SampleSize> sizes = usual_sizes(longest, 20000);
    // A capacity that is no multiple of anything.
    const std::int64_t tokens = sequences * longest * 9 / 10 / 8 * 8;
    Packer packer = packer_of(sizes, {tokens, tokens, tokens}, {longest, longest * 15 / 100});
    double used = 0, batches = 0;
    for (; packer.state().next < sizes.size(); ++batches) {
        used += static_cast<double>(total(sizes, packer.pack()).tokens);
    }
    CAPTURE(longest, sequences);
    CHECK(used / (batches * static_cast<double>(tokens)) > (sequences == 8 ? 0.98 : 0.99));
}

TEST_CASE("the subset that fills the rest is the best there is") {
    // 64 samples at most, room for a few: compare with trying everything on a small window.
    RandomStream random({2, RandomPurpose::initialization});
    for (int round = 0; round < 300; ++round) {
        std::vector<SampleSize> sizes(10);
        for (SampleSize& size : sizes) size = {1 + random.below(90), 1};
        const std::int64_t room = 90 + random.below(120);
        Packer packer = packer_of(sizes, {room, 100, 100}, {90, 1});
        const std::int64_t found = total(sizes, packer.pack()).tokens;
        std::int64_t best = 0;
        for (int subset = 0; subset < 512; ++subset) {  // the oldest is always taken
            std::int64_t sum = sizes[0].tokens;
            for (int i = 1; i < 10; ++i)
                sum += (subset >> (i - 1) & 1) != 0 ? sizes[static_cast<std::size_t>(i)].tokens : 0;
            if (sum <= room) best = std::max(best, sum);
        }
        REQUIRE(found == best);
    }
}

TEST_CASE("packing continues from its state as if never stopped") {
    const std::vector<SampleSize> sizes = usual_sizes(128, 3000);
    const BatchCapacity capacity{1000, 100, 1000};
    Packer whole = packer_of(sizes, capacity, {128, 19});
    PackerState state;
    for (auto packed = whole.pack(); !packed.empty(); packed = whole.pack()) {
        Packer resumed = packer_of(sizes, capacity, {128, 19}, state);
        REQUIRE(resumed.pack() == packed);
        REQUIRE(resumed.state().window == whole.state().window);
        REQUIRE(resumed.state().next == whole.state().next);
        state = whole.state();
    }
}

TEST_CASE("a micro-batch that does not hold one sample is refused") {
    const std::vector<SampleSize> sizes = usual_sizes(128, 10);
    CHECK_THROWS_WITH(packer_of(sizes, {127, 10, 100}, {128, 19}),
                      Catch::Contains("does not hold one sample of 128 tokens and 19 predictions"));
    CHECK_THROWS_WITH(packer_of(sizes, {128, 0, 100}, {128, 19}), Catch::Contains("0 sequences"));
    CHECK_THROWS_WITH(packer_of(sizes, {128, 1, 18}, {128, 19}), Catch::Contains("18 predictions"));
}

TEST_CASE("the step's shape gives the batch asked for, on average, at full micro-batches") {
    const auto sampler = numbered_sampler({.documents = 2000});
    const EpochPlan plan(*sampler, 0, 1);
    const std::int64_t batch = GENERATE(16, 32, 100, 256, 1000);
    const std::int64_t ranks = GENERATE(1, 2, 4);
    CAPTURE(batch, ranks);
    const StepShape shape = derive_step_shape({.global_batch_size = batch,
                                               .micro_batch_tokens = 4096,
                                               .virtual_ranks = ranks,
                                               .max_position_embeddings = 128},
                                              *sampler, plan);
    CHECK(shape.micro_batches % ranks == 0);
    CHECK(shape.capacity.tokens % 8 == 0);
    CHECK(shape.capacity.tokens >= 128);
    CHECK(shape.capacity.tokens <= 4096);
    CHECK(shape.fill > (shape.capacity.tokens >= 8 * 128 ? 0.99 : 0.95));
    CHECK(shape.sequences_per_step ==
          Approx(static_cast<double>(batch)).epsilon(shape.capacity.tokens < 1024 ? 0.03 : 0.01));
    CHECK(shape.mean_length == Approx(plan.mean_length()));
    // S and P do not bind: packing with them gives the same batches as packing without, nearly always.
    const auto size_of = [&](std::uint64_t index) {
        const std::int64_t length = plan.length(index % plan.samples());
        return SampleSize{length, sampler->predictions(length)};
    };
    const std::int64_t t = shape.capacity.tokens;
    Packer bound(shape.capacity, {128, 19}, size_of);
    Packer free({t, t, t}, {128, 19}, size_of);
    std::int64_t differ = 0;
    for (int i = 0; i < 200; ++i) differ += bound.pack() != free.pack();
    CHECK(differ == 0);
    CHECK(shape.capacity.masked < shape.capacity.tokens / 4 + 40);
}

TEST_CASE("the smallest batches work and say what they come to") {
    const auto sampler = numbered_sampler({.documents = 500});
    const EpochPlan plan(*sampler, 0, 1);
    const StepShape one = derive_step_shape(
        {.global_batch_size = 1, .micro_batch_tokens = 4096, .virtual_ranks = 1, .max_position_embeddings = 512},
        *sampler, plan);
    CHECK(one.micro_batches == 1);
    CHECK(one.capacity.tokens == 128);
    CHECK(one.sequences_per_step >= 1);
    CHECK(one.sequences_per_step < 2);
    const StepShape spread = derive_step_shape(
        {.global_batch_size = 1, .micro_batch_tokens = 4096, .virtual_ranks = 4, .max_position_embeddings = 512},
        *sampler, plan);
    const StepShape unlimited = derive_step_shape({.global_batch_size = 32,
                                                   .micro_batch_tokens = std::numeric_limits<std::int64_t>::max(),
                                                   .virtual_ranks = 1,
                                                   .max_position_embeddings = 512},
                                                  *sampler, plan);
    CHECK(unlimited.micro_batches == 1);
    CHECK(unlimited.sequences_per_step == Approx(32).epsilon(0.02));
    CHECK(spread.micro_batches == 4);
    CHECK(spread.sequences_per_step >= 4);
    const auto tiny = numbered_sampler({.documents = 1, .most_sentences = 1});
    const StepShape repeated = derive_step_shape(
        {.global_batch_size = 64, .micro_batch_tokens = 4096, .virtual_ranks = 1, .max_position_embeddings = 512},
        *tiny, EpochPlan(*tiny, 0, 1));
    CHECK(repeated.sequences_per_step == Approx(64).epsilon(0.25));
}

TEST_CASE("step shapes that cannot work are refused with the way out") {
    const auto sampler = numbered_sampler();
    const EpochPlan plan(*sampler, 0, 1);
    const StepShapeRequest good{
        .global_batch_size = 32, .micro_batch_tokens = 1024, .virtual_ranks = 1, .max_position_embeddings = 128};
    StepShapeRequest request = good;
    request.global_batch_size = 0;
    CHECK_THROWS_WITH(derive_step_shape(request, *sampler, plan), Catch::Contains("at least one sequence"));
    for (const std::int64_t batch : {(std::int64_t{1} << 24) + 1, std::int64_t{1'000'000'000'000'000}}) {
        request.global_batch_size = batch;
        CHECK_THROWS_WITH(derive_step_shape(request, *sampler, plan),
                          Catch::Contains(std::to_string(batch) + "; a step has at most 16777216 sequences"));
    }
    request.global_batch_size = std::int64_t{1} << 24;
    const StepShape largest = derive_step_shape(request, *sampler, plan);
    CHECK(largest.sequences_per_step == Approx(1 << 24).epsilon(0.02));
    request = good;
    request.max_position_embeddings = 64;
    CHECK_THROWS_WITH(derive_step_shape(request, *sampler, plan),
                      Catch::Contains("max_seq_length 128 is above the model's position table of 64; lower it to 64"));
    request = good;
    request.virtual_ranks = 3;
    CHECK_THROWS_WITH(derive_step_shape(request, *sampler, plan), Catch::Contains("power of two"));
    request.virtual_ranks = std::int64_t{1} << 62;
    CHECK_THROWS_WITH(derive_step_shape(request, *sampler, plan),
                      Catch::Contains("4611686018427387904; at most 65536"));
    request = good;
    request.micro_batch_tokens = 100;
    CHECK_THROWS_WITH(derive_step_shape(request, *sampler, plan), Catch::Contains("raise it to at least 128"));
}
