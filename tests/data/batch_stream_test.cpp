#include "engine/data/batch_stream.h"

#include <catch2/catch.hpp>
#include <map>
#include <set>

#include "engine/files/json.h"
#include "kernels/core/error.h"
#include "tests/data/corpus.h"

using namespace cloze;
using namespace cloze::test;

namespace {

BatchLimits limits_of(const Sampler& sampler) {
    return {.vocabulary_size = sampler.roles().vocabulary_size, .positions = sampler.settings().max_seq_length};
}

bool same(const Batch& x, const Batch& y) {
    return x.counts.tokens == y.counts.tokens && x.counts.sequences == y.counts.sequences &&
           x.counts.masked == y.counts.masked && x.token_id == y.token_id && x.position_id == y.position_id &&
           x.type_id == y.type_id && x.token_order == y.token_order && x.position_order == y.position_order &&
           x.type_order == y.type_order && x.row_sample == y.row_sample && x.offset == y.offset &&
           x.first_row == y.first_row && x.sequence_sample == y.sequence_sample &&
           x.next_sentence_label == y.next_sentence_label && x.masked_row == y.masked_row &&
           x.masked_label == y.masked_label;
}

bool same(const StepBatches& x, const StepBatches& y) {
    if (x.micro.size() != y.micro.size() || x.masked != y.masked || x.sequences != y.sequences ||
        x.tokens != y.tokens) {
        return false;
    }
    for (std::size_t i = 0; i < x.micro.size(); ++i) {
        if (!same(x.micro[i], y.micro[i])) return false;
    }
    return true;
}

const BatchStreamSettings kSettings{.capacity = {700, 60, 150}, .micro_batches = 4, .prefetch_threads = 0};

}  // namespace

TEST_CASE("the stream is the same at any number of prefetch threads") {
    const auto sampler = numbered_sampler({.documents = 60});
    BatchStream plain(sampler, kSettings, limits_of(*sampler));
    BatchStreamSettings threaded = kSettings;
    threaded.prefetch_threads = GENERATE(1, 2, 3, 5);
    threaded.prefetch_steps = GENERATE(1, 3);
    threaded.plan_threads = 2;
    BatchStream prefetched(sampler, threaded, limits_of(*sampler));
    while (plain.epochs() < 3.2) {
        const StepBatches one = plain.next();
        const StepBatches other = prefetched.next();
        REQUIRE(same(one, other));
        REQUIRE(stream_state_json(plain.state()) == stream_state_json(prefetched.state()));
        REQUIRE(plain.epochs() == prefetched.epochs());
    }
    CHECK(plain.fill() > 0.97);
    CHECK(plain.fill() == prefetched.fill());
}

TEST_CASE("every sample comes exactly once an epoch, as the plan says, and steps count what they hold") {
    const auto sampler = numbered_sampler({.documents = 60});
    BatchStream stream(sampler, kSettings, limits_of(*sampler));
    std::map<std::uint64_t, std::vector<std::int32_t>> seen;  // stream index -> tokens
    std::uint64_t sequences = 0, tokens = 0, steps = 0;
    while (stream.epochs() < 3.5) {
        const StepBatches step = stream.next();
        REQUIRE(step.micro.size() == 4);
        std::int64_t masked = 0;
        for (const Batch& batch : step.micro) {
            masked += batch.counts.masked;
            for (std::int32_t s = 0; s < batch.counts.sequences; ++s) {
                const auto place = static_cast<std::size_t>(s);
                const bool fresh =
                    seen.emplace(batch.sequence_sample[place],
                                 std::vector<std::int32_t>(batch.token_id.begin() + batch.offset[place],
                                                           batch.token_id.begin() + batch.offset[place + 1]))
                        .second;
                REQUIRE(fresh);
            }
            sequences += static_cast<std::uint64_t>(batch.counts.sequences);
            tokens += static_cast<std::uint64_t>(batch.counts.tokens);
        }
        REQUIRE(step.masked == masked);
        ++steps;
        REQUIRE(stream.state().steps == steps);
        REQUIRE(stream.state().sequences == sequences);
        REQUIRE(stream.state().tokens == tokens);
    }
    std::uint64_t first = 0;
    Sample sample;
    for (std::uint32_t epoch = 0; epoch < 3; ++epoch) {
        const EpochPlan plan(*sampler, epoch, 1);
        for (std::uint64_t position = 0; position < plan.samples(); ++position) {
            sampler->make(plan.source(position), sample);
            REQUIRE(seen.count(first + position) == 1);
            REQUIRE(seen.at(first + position) == sample.token_id);
        }
        first += plan.samples();
    }
    // Nothing is lost between: all indices below the next one are out or wait in the window.
    CHECK(seen.size() + stream.state().packer.window.size() == stream.state().packer.next);
}

TEST_CASE("stopped and restored at every step, the stream goes on as if never stopped") {
    const auto sampler = numbered_sampler({.documents = GENERATE(1, 3, 40)});
    BatchStream whole(sampler, kSettings, limits_of(*sampler));
    StreamState state;
    BatchStreamSettings settings = kSettings;
    for (int step = 0; step < 30; ++step) {
        settings.prefetch_threads = step % 3;
        const StreamState restored = step == 0 ? state : parse_stream_state(stream_state_json(state), "state");
        BatchStream resumed(sampler, settings, limits_of(*sampler), restored);
        const StepBatches expected = whole.next();
        REQUIRE(same(resumed.next(), expected));
        REQUIRE(stream_state_json(resumed.state()) == stream_state_json(whole.state()));
        state = whole.state();
        const BatchStream again(sampler, settings, limits_of(*sampler), state);
        REQUIRE(again.epochs() == whole.epochs());
    }
    CHECK(whole.epochs() > 1);
}

TEST_CASE("ranks that share a step make the same micro-batches as one that makes all") {
    const auto sampler = numbered_sampler({.documents = 60});
    BatchStream whole(sampler, kSettings, limits_of(*sampler));
    BatchStreamSettings first = kSettings, second = kSettings;
    first.micro_batch_count = 2;
    second.first_micro_batch = 2;
    second.prefetch_threads = 2;
    BatchStream one(sampler, first, limits_of(*sampler));
    BatchStream two(sampler, second, limits_of(*sampler));
    for (int step = 0; step < 10; ++step) {
        const StepBatches all = whole.next();
        const StepBatches a = one.next();
        const StepBatches b = two.next();
        REQUIRE(a.micro.size() == 2);
        REQUIRE(b.micro.size() == 2);
        REQUIRE((same(all.micro[0], a.micro[0]) && same(all.micro[1], a.micro[1])));
        REQUIRE((same(all.micro[2], b.micro[0]) && same(all.micro[3], b.micro[1])));
        REQUIRE(a.sequences + b.sequences == all.sequences);
        REQUIRE(a.masked + b.masked == all.masked);
        REQUIRE(stream_state_json(one.state()) == stream_state_json(two.state()));
    }
}

TEST_CASE("a state of other data, settings or capacity is refused, and a damaged one too") {
    const auto sampler = numbered_sampler({.documents = 40});
    BatchStream stream(sampler, kSettings, limits_of(*sampler));
    for (int i = 0; i < 5; ++i) stream.next();
    const StreamState state = stream.state();
    BatchStreamSettings other = kSettings;
    other.capacity.tokens += 8;
    CHECK_THROWS_WITH(BatchStream(sampler, other, limits_of(*sampler), state),
                      Catch::Contains("other data or settings"));
    const auto reseeded = std::make_shared<const Sampler>(sampler->with_seed(3));
    CHECK_THROWS_WITH(BatchStream(reseeded, kSettings, limits_of(*sampler), state), Catch::Contains("start a new run"));
    StreamState shifted = state;
    shifted.epochs.push_back({state.epochs.back().epoch + 1, state.epochs.back().first + 1});
    CHECK_THROWS_WITH(BatchStream(sampler, kSettings, limits_of(*sampler), shifted),
                      Catch::Contains("begins at sample"));

    const std::string json = stream_state_json(state);
    for (std::size_t length = 0; length < json.size(); length += 7) {
        CHECK_THROWS_AS(parse_stream_state(json.substr(0, length), "state"), Error);
    }
    CHECK_THROWS_WITH(parse_stream_state("{\"identity\": 3}", "state.json"), Catch::Contains("state.json"));
    Json bad = Json::parse(json);
    bad["waiting_samples"] = {5, 4};
    CHECK_THROWS_WITH(parse_stream_state(bad.dump(), "state"), Catch::Contains("must ascend"));
    bad["waiting_samples"] = {state.packer.next};
    CHECK_THROWS_WITH(parse_stream_state(bad.dump(), "state"), Catch::Contains("must ascend"));
    bad = Json::parse(json);
    bad["next_sample"] = -1;
    CHECK_THROWS_AS(parse_stream_state(bad.dump(), "state"), Error);
}

TEST_CASE("an error of a prefetch thread is thrown by next, again and again") {
    TokenArrays arrays = numbered_corpus({.documents = 40});
    const auto size = static_cast<std::int64_t>(arrays.ids.size()) + kFirstWord;
    arrays.ids[arrays.ids.size() / 2] = static_cast<std::uint32_t>(size + 100);  // outside the vocabulary
    const auto sampler =
        std::make_shared<const Sampler>(store_in_memory(std::move(arrays), "bad"), SampleSettings{}, plain_roles(size));
    BatchStreamSettings settings = kSettings;
    settings.prefetch_threads = GENERATE(0, 1, 3);
    BatchStream stream(sampler, settings, limits_of(*sampler));
    std::string message;
    for (int i = 0; i < 100 && message.empty(); ++i) {
        try {
            stream.next();
        } catch (const Error& error) {
            message = error.what();
        }
    }
    CHECK(message.find("outside the vocabulary") != std::string::npos);
    CHECK_THROWS_WITH(stream.next(), Catch::Contains("outside the vocabulary"));
}

TEST_CASE("streams that cannot work are refused") {
    const auto sampler = numbered_sampler();
    const auto make = [&](BatchStreamSettings settings, BatchLimits limits) { BatchStream(sampler, settings, limits); };
    BatchStreamSettings settings = kSettings;
    settings.micro_batches = 0;
    CHECK_THROWS_WITH(make(settings, limits_of(*sampler)), Catch::Contains("0 micro-batches"));
    settings = kSettings;
    settings.first_micro_batch = 3;
    settings.micro_batch_count = 2;
    CHECK_THROWS_WITH(make(settings, limits_of(*sampler)), Catch::Contains("lie outside a step of 4"));
    CHECK_THROWS_WITH(make(kSettings, {.vocabulary_size = 100000, .positions = 64}),
                      Catch::Contains("above the model's position table of 64"));
    CHECK_THROWS_WITH(make(kSettings, {.vocabulary_size = 100, .positions = 128}),
                      Catch::Contains("larger than the model's of 100"));
    settings = kSettings;
    settings.capacity.tokens = 64;
    CHECK_THROWS_WITH(make(settings, limits_of(*sampler)), Catch::Contains("does not hold one sample"));
}

TEST_CASE("a stream can be left at any moment") {
    const auto sampler = numbered_sampler({.documents = 200});
    for (int steps = 0; steps < 20; ++steps) {
        BatchStreamSettings settings = kSettings;
        settings.prefetch_threads = 1 + steps % 3;
        BatchStream stream(sampler, settings, limits_of(*sampler));
        for (int i = 0; i < steps; ++i) stream.next();
    }
    SUCCEED();
}

TEST_CASE("held-out batches are fixed, cover their split once, and may be fewer") {
    const auto sampler = numbered_sampler({.documents = 50});
    const auto reseeded = std::make_shared<const Sampler>(sampler->with_seed(77));
    const BatchCapacity capacity{700, 60, 150};
    const HeldOutBatches one(*sampler, capacity, limits_of(*sampler));
    const HeldOutBatches other(*reseeded, capacity, limits_of(*sampler));
    REQUIRE(one.count() == other.count());
    REQUIRE(one.count() > 3);
    std::set<std::uint64_t> seen;
    for (std::int64_t i = one.count(); i-- > 0;) {
        const Batch batch = one.batch(i);
        REQUIRE(same(batch, other.batch(i)));
        REQUIRE(batch.counts.sequences > 0);
        seen.insert(batch.sequence_sample.begin(), batch.sequence_sample.begin() + batch.counts.sequences);
    }
    CHECK(static_cast<std::int64_t>(seen.size()) == one.sequences());
    CHECK(*seen.rbegin() + 1 == seen.size());
    const HeldOutBatches few(*sampler, capacity, limits_of(*sampler), 10);
    CHECK(few.sequences() == 10);
    std::int64_t sequences = 0;
    for (std::int64_t i = 0; i < few.count(); ++i) sequences += few.batch(i).counts.sequences;
    CHECK(sequences == 10);
    CHECK_THROWS_WITH(few.batch(few.count()), Catch::Contains("no micro-batch"));
    CHECK_THROWS_WITH(HeldOutBatches(*sampler, capacity, {.vocabulary_size = 100000, .positions = 64}),
                      Catch::Contains("position table"));
}
