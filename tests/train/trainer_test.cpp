#include "engine/train/trainer.h"

#include <catch2/catch.hpp>
#include <chrono>
#include <cmath>
#include <limits>

#include "engine/model/initialization.h"
#include "kernels/core/parallel.h"
#include "tests/train/tiny_run.h"

using namespace cloze;
using namespace cloze::test;

namespace {

struct Outcome {
    std::vector<float> weights;
    std::vector<float> gradients;
    std::vector<double> losses;
};

Outcome train(const TrainerOptions& options, std::int64_t steps, std::uint64_t initial_seed = 1) {
    Trainer trainer(tiny_config(), options);
    initialize(trainer.weights(), 0.02, initial_seed, Initialization::truncated_normal);
    BatchStream stream(tiny_sampler(), tiny_stream_settings(options.micro_batches), kTinyLimits);
    Outcome outcome;
    for (std::int64_t i = 0; i < steps; ++i) {
        const StepReport report = trainer.step(stream.next());
        outcome.losses.push_back(report.losses.masked_mean() + report.losses.next_sentence_mean());
    }
    outcome.weights = values_of(trainer.weights());
    outcome.gradients = values_of(trainer.gradients());
    return outcome;
}

double largest_difference(const std::vector<float>& a, const std::vector<float>& b) {
    double largest = 0;
    for (std::size_t i = 0; i < a.size(); ++i) largest = std::max(largest, std::abs(double(a[i]) - double(b[i])));
    return largest;
}

}  // namespace

TEST_CASE("training twice with the same seed gives the same bits, at any number of threads") {
    const Outcome first = train(tiny_options(2, 1), 5);
    for (const int threads : {1, 2, 3}) {
        set_thread_count(threads);
        CHECK(train(tiny_options(2, 1), 5).weights == first.weights);
    }
    set_thread_count(0);
    TrainerOptions other = tiny_options(2, 1);
    other.seed = 8;  // of dropout
    CHECK(train(other, 5).weights != first.weights);
}

TEST_CASE("virtual ranks change the gradient by rounding alone") {
    const Outcome one = train(tiny_options(4, 1), 1);
    double scale = 0;
    for (const float value : one.gradients) scale = std::max(scale, std::abs(double(value)));
    for (const std::int64_t virtual_ranks : {2, 4}) {
        const Outcome several = train(tiny_options(4, virtual_ranks), 1);
        CHECK(several.losses == one.losses);
        CHECK(largest_difference(several.gradients, one.gradients) < 1e-6 * scale);
    }
    CHECK(train(tiny_options(4, 4), 3).weights == train(tiny_options(4, 4), 3).weights);
}

TEST_CASE("the loss falls on a corpus that can be learned") {
    const Outcome outcome = train(tiny_options(4, 1), 200);
    const double start = outcome.losses.front();
    double end = 0;
    for (std::size_t i = outcome.losses.size() - 20; i < outcome.losses.size(); ++i) end += outcome.losses[i] / 20;
    CHECK(start == Approx(std::log(kTinyVocabulary) + std::log(2)).epsilon(0.05));
    CHECK(end < start - 0.5);
}

TEST_CASE("LAMB learns too") {
    TrainerOptions options = tiny_options(4, 1);
    options.optimizer.kind = OptimizerKind::lamb;
    options.optimizer.schedule.base = 5e-2;
    const Outcome outcome = train(options, 200);
    CHECK(outcome.losses.back() < outcome.losses.front() - 0.5);
}

TEST_CASE("a step whose gradient is not finite is skipped, changes nothing and names a parameter") {
    Trainer trainer(tiny_config(), tiny_options(2, 1));
    initialize(trainer.weights(), 0.02, 1, Initialization::truncated_normal);
    const ParameterTable& table = trainer.table();
    const int broken = table.layers[0].intermediate.weight;
    trainer.weights()[broken].data<float>()[3] = std::numeric_limits<float>::infinity();
    const std::vector<float> before = values_of(trainer.weights());
    BatchStream stream(tiny_sampler(), tiny_stream_settings(2), kTinyLimits);
    const StepReport report = trainer.step(stream.next());
    CHECK(report.skipped);
    CHECK(std::any_of(table.rows.begin(), table.rows.end(),
                      [&](const auto& row) { return row.name == report.first_nonfinite; }));
    CHECK(trainer.progress().steps == 1);
    CHECK(trainer.progress().updates == 0);
    CHECK(values_of(trainer.weights()) == before);
    for (const float value : values_of(trainer.first_moment())) REQUIRE(value == 0);
}

TEST_CASE("without the next-sentence task pooler and next-sentence head rest") {
    TrainerOptions options = tiny_options(2, 1);
    options.model.next_sentence = false;
    Trainer trainer(tiny_config(), options);
    initialize(trainer.weights(), 0.02, 1, Initialization::truncated_normal);
    const int pooler = trainer.table().pooler.weight;
    const int transform = trainer.table().transform.weight;
    const float before = trainer.weights()[pooler].data<float>()[0];
    const float transform_before = trainer.weights()[transform].data<float>()[0];
    BatchStream stream(tiny_sampler(), tiny_stream_settings(2), kTinyLimits);
    const StepReport report = trainer.step(stream.next());
    CHECK(report.losses.next_sentence_loss == 0);
    CHECK(trainer.weights()[pooler].data<float>()[0] == before);
    CHECK(trainer.weights()[transform].data<float>()[0] != transform_before);
}

TEST_CASE("a step without predictions learns from the next sentences alone") {
    Trainer trainer(tiny_config(), tiny_options(1, 1));
    initialize(trainer.weights(), 0.02, 1, Initialization::truncated_normal);
    const std::vector<float> before = values_of(trainer.weights());
    Sample sample;
    sample.token_id = {2, 7, 8, 3, 9, 3};
    sample.first_segment = 4;
    sample.next_sentence_label = 1;
    StepBatches step;
    step.micro.push_back(empty_batch(kTinyCapacity));
    append_sample(step.micro[0], sample, 0, kTinyLimits);
    finish_batch(step.micro[0], kTinyLimits);
    step.sequences = 1;
    step.tokens = 6;
    const StepReport report = trainer.step(step);
    CHECK_FALSE(report.skipped);
    CHECK(report.losses.masked_mean() == 0);
    CHECK(report.losses.next_sentence_loss > 0);
    const std::vector<float> after = values_of(trainer.weights());
    CHECK(after != before);
    CHECK(std::all_of(after.begin(), after.end(), [](float value) { return std::isfinite(value); }));
}

TEST_CASE("the planned bytes are the allocated bytes") {
    for (const std::int64_t virtual_ranks : {1, 4}) {
        const TrainerOptions options = tiny_options(4, virtual_ranks);
        CHECK(Trainer::planned_bytes(tiny_config(), options) == Trainer(tiny_config(), options).memory_bytes());
    }
}

TEST_CASE("a step with another number of micro-batches is refused") {
    Trainer trainer(tiny_config(), tiny_options(2, 1));
    CHECK_THROWS_WITH(trainer.step(StepBatches{}), Catch::Contains("0 micro-batches, but the run has 2"));
    CHECK_THROWS_WITH(Trainer(tiny_config(), tiny_options(3, 2)), Catch::Contains("not a multiple of 2 virtual ranks"));
    for (const std::int64_t ranks : {0, 3}) {
        CHECK_THROWS_WITH(Trainer(tiny_config(), tiny_options(6, ranks)), Catch::Contains("a power of two is needed"));
    }
}

TEST_CASE("a report says what the parts of its step took, whatever was reported before") {
    const TrainerOptions options = tiny_options(4, 2);
    Trainer trainer(tiny_config(), options);
    initialize(trainer.weights(), 0.02, 1, Initialization::truncated_normal);
    BatchStream stream(tiny_sampler(), tiny_stream_settings(options.micro_batches), kTinyLimits);
    for (int step = 0; step < 3; ++step) {
        const auto start = std::chrono::steady_clock::now();
        const StepReport report = trainer.step(stream.next());
        const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
        CHECK(report.times.input >= 0);
        CHECK(report.times.forward > 0);
        CHECK(report.times.backward > 0);
        CHECK(report.times.optimizer > 0);
        CHECK(report.times.sum() <= seconds);
    }
}

TEST_CASE("a step that was begun is finished before progress is set, and its losses survive an evaluation") {
    Trainer trainer(tiny_config(), tiny_options(2, 1));
    initialize(trainer.weights(), 0.02, 1, Initialization::truncated_normal);
    BatchStream stream(tiny_sampler(), tiny_stream_settings(2), kTinyLimits);
    const StepBatches first = stream.next(), other = stream.next();
    trainer.begin(first);
    CHECK_THROWS_WITH(trainer.set_progress({}), Catch::Contains("1 steps were begun; finish() them"));
    const StepState state;
    trainer.model().put(other.micro[0]);
    trainer.model().forward(trainer.working_weights(), &state, false);
    trainer.model().losses();
    const LossSums losses = trainer.finish().losses;

    Trainer undisturbed(tiny_config(), tiny_options(2, 1));
    initialize(undisturbed.weights(), 0.02, 1, Initialization::truncated_normal);
    CHECK(losses.masked_loss == undisturbed.step(first).losses.masked_loss);
}

TEST_CASE("after a step that an error ended the next one is whole") {
    Trainer trainer(tiny_config(), tiny_options(2, 2));
    initialize(trainer.weights(), 0.02, 1, Initialization::truncated_normal);
    BatchStream stream(tiny_sampler(), tiny_stream_settings(2), kTinyLimits);
    const StepBatches good = stream.next();
    StepBatches bad = good;
    bad.micro[1] = empty_batch({.tokens = 8, .sequences = 1, .masked = 1});
    CHECK_THROWS_WITH(trainer.step(bad), Catch::Contains("a batch of 8 tokens"));
    Trainer undisturbed(tiny_config(), tiny_options(2, 2));
    initialize(undisturbed.weights(), 0.02, 1, Initialization::truncated_normal);
    CHECK(trainer.step(good).losses.masked_loss == undisturbed.step(good).losses.masked_loss);
    CHECK(values_of(trainer.weights()) == values_of(undisturbed.weights()));
}
