// Training on a device: real kernels, real schedule. Runs on a GPU and on the emulator.
#include <cmath>
#include <cstring>
#include <numeric>

#include "tests/kernels/device/device_testing.h"
#include "tests/train/device_run.h"

using namespace cloze;
using namespace cloze::test;

namespace {

/// The same on the host, which rounds where the device rounds.
TrainerOptions host_options(TrainerOptions options) {
    options.model.place = Place::host;
    return options;
}

std::vector<float> fetched(const Trainer& trainer, const ParameterView& view) {
    return values_of(HostCopy(view, trainer.compute()).view());
}

struct Outcome {
    std::vector<float> weights, first_moment, second_moment;
    std::vector<double> losses, norms;
};

Outcome outcome_of(const Trainer& trainer, const std::vector<StepReport>& reports) {
    Outcome outcome{.weights = fetched(trainer, trainer.weights()),
                    .first_moment = fetched(trainer, trainer.first_moment()),
                    .second_moment = fetched(trainer, trainer.second_moment()),
                    .losses = {},
                    .norms = {}};
    for (const StepReport& report : reports) {
        outcome.losses.push_back(report.losses.masked_mean() + report.losses.next_sentence_mean());
        outcome.norms.push_back(report.gradient_norm);
    }
    return outcome;
}

Outcome train(const BertConfig& config, const TrainerOptions& options, std::int64_t steps, Device* device) {
    Trainer trainer(config, options, device);
    start(trainer);
    BatchStream stream(tiny_sampler(), tiny_stream_settings(options.micro_batches), kTinyLimits);
    std::vector<StepReport> reports;
    for (std::int64_t i = 0; i < steps; ++i) {
        trainer.begin(stream.next());
        if (trainer.unfinished() > 1) reports.push_back(trainer.finish());
    }
    while (trainer.unfinished() > 0) reports.push_back(trainer.finish());
    return outcome_of(trainer, reports);
}

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
    return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

void check_same(const Outcome& a, const Outcome& b) {
    CHECK(same_bits(a.weights, b.weights));
    CHECK(same_bits(a.first_moment, b.first_moment));
    CHECK(same_bits(a.second_moment, b.second_moment));
    CHECK(a.losses == b.losses);
    CHECK(a.norms == b.norms);
}

}  // namespace

TEST_CASE("steps on a device equal those on the host, up to rounding") {
    if (!device_or_skip()) return;
    Device device(0);
    for (const OptimizerKind kind : {OptimizerKind::adamw, OptimizerKind::lamb}) {
        TrainerOptions options = device_options(2, 2);
        options.optimizer.kind = kind;
        const Outcome there = train(device_config(), options, 5, &device);
        const Outcome here = train(device_config(), host_options(options), 5, nullptr);
        for (std::size_t i = 0; i < here.losses.size(); ++i) {
            INFO(name_of(kind) << ", step " << i);
            CHECK(there.losses[i] == Approx(here.losses[i]).epsilon(2e-3));
            CHECK(there.norms[i] == Approx(here.norms[i]).epsilon(2e-2));
        }
    }
}

TEST_CASE("training in bf16 on a device goes the way of f32 on the host, without dropout") {
    if (!device_or_skip()) return;
#ifdef __SANITIZE_ADDRESS__
    return skip("fifty emulated steps take minutes under a sanitizer");
#endif
    Device device(0);
    BertConfig config = device_config();
    config.hidden_dropout_prob = config.attention_probs_dropout_prob = 0;
    constexpr std::int64_t kWindow = 50;  // steps; the loss of a single one scatters by 5 %, in bf16 on the host too
    const std::int64_t steps = std::string(Device::kind()) == "cuda" ? 6 * kWindow : kWindow;
    TrainerOptions f32 = host_options(device_options(1));
    f32.model.working = DType::f32;
    const Outcome there = train(config, device_options(1), steps, &device);
    const Outcome here = train(config, f32, steps, nullptr);
    for (auto first = here.losses.begin(); first != here.losses.end(); first += kWindow) {
        const auto other = there.losses.begin() + (first - here.losses.begin());
        INFO("steps from " << first - here.losses.begin());
        CHECK(std::accumulate(other, other + kWindow, 0.0) ==
              Approx(std::accumulate(first, first + kWindow, 0.0)).epsilon(0.01));
    }
    CHECK(here.losses.back() < 0.9 * here.losses.front());
}

TEST_CASE("recorded graphs give the bits of plain launches, and so does a second run") {
    if (!device_or_skip()) return;
    Device device(0);
    TrainerOptions options = device_options(4, 2);
    const Outcome graphs = train(device_config(), options, 4, &device);
    check_same(train(device_config(), options, 4, &device), graphs);
    options.graphs = false;
    check_same(train(device_config(), options, 4, &device), graphs);
}

TEST_CASE("a step that is reported late says what it says at once") {
    if (!device_or_skip()) return;
    Device device(0);
    const TrainerOptions options = device_options(2);
    const Outcome late = train(device_config(), options, 4, &device);
    Trainer trainer(device_config(), options, &device);
    start(trainer);
    BatchStream stream(tiny_sampler(), tiny_stream_settings(2), kTinyLimits);
    std::vector<StepReport> reports;
    for (int i = 0; i < 4; ++i) reports.push_back(trainer.step(stream.next()));
    check_same(outcome_of(trainer, reports), late);
}

TEST_CASE("training goes on from copied weights and moments as if it had not stopped") {
    if (!device_or_skip()) return;
    Device device(0);
    const TrainerOptions options = device_options(1);
    const Outcome whole = train(device_config(), options, 4, &device);

    BatchStream stream(tiny_sampler(), tiny_stream_settings(1), kTinyLimits);
    Trainer first(device_config(), options, &device);
    start(first);
    for (int i = 0; i < 2; ++i) first.step(stream.next());

    Trainer second(device_config(), options, &device);
    const auto hand_over = [&](const ParameterView& from, const ParameterView& to) {
        const HostCopy source(from, first.compute()), target(to, second.compute());
        std::memcpy(target.view().flat.address, source.view().flat.address,
                    static_cast<std::size_t>(source.view().flat.count()) * sizeof(float));
        target.send();
    };
    hand_over(first.weights(), second.weights());
    hand_over(first.first_moment(), second.first_moment());
    hand_over(first.second_moment(), second.second_moment());
    second.weights_written();
    second.set_progress(first.progress());
    for (int i = 0; i < 2; ++i) second.step(stream.next());
    CHECK(same_bits(fetched(second, second.weights()), whole.weights));
}

TEST_CASE("a gradient that is not finite skips the update on the device and names the parameter") {
    if (!device_or_skip()) return;
    Device device(0);
    Trainer trainer(device_config(), device_options(1), &device);
    start(trainer);
    const HostCopy weights(trainer.weights(), trainer.compute());
    weights.view()[trainer.table().layers[1].output.weight].data<float>()[0] = INFINITY;
    weights.send();
    trainer.weights_written();
    const std::vector<float> before = fetched(trainer, trainer.weights());
    BatchStream stream(tiny_sampler(), tiny_stream_settings(1), kTinyLimits);
    trainer.begin(stream.next());
    trainer.begin(stream.next());
    for (int i = 0; i < 2; ++i) {
        const StepReport report = trainer.finish();
        CHECK(report.skipped);
        CHECK(!report.first_nonfinite.empty());
    }
    CHECK(trainer.progress().updates == 0);
    CHECK(trainer.progress().steps == 2);
    CHECK(same_bits(fetched(trainer, trainer.weights()), before));
}

TEST_CASE("trainers that take turns on a device give the bits of each alone, in one stream or in two") {
    if (!device_or_skip()) return;
    const TrainerOptions options = device_options(1);
    TrainerOptions other_options = options;
    other_options.seed = options.seed + 1;
    const OwnedStream stream;
    Device one(0), two(0, stream);
    const Outcome alone = train(device_config(), options, 3, &one);
    const Outcome other_alone = train(device_config(), other_options, 3, &one);
    for (Device* device : {&one, &two}) {
        Trainer first(device_config(), options, &one), second(device_config(), other_options, device);
        start(first);
        start(second);
        BatchStream samples(tiny_sampler(), tiny_stream_settings(1), kTinyLimits);
        for (int i = 0; i < 3; ++i) {
            const StepBatches batches = samples.next();
            first.begin(batches);
            second.begin(batches);
        }
        CHECK(same_bits(fetched(first, first.weights()), alone.weights));
        CHECK(same_bits(fetched(second, second.weights()), other_alone.weights));
    }
}

TEST_CASE("a trainer that goes with steps unfinished leaves the device, and a caller's stream, as good as new") {
    if (!device_or_skip()) return;
    const OwnedStream stream;
    Device device(0, stream);
    const TrainerOptions options = device_options(2);
    const Outcome whole = train(device_config(), options, 3, &device);
    {
        Trainer trainer(device_config(), options, &device);
        start(trainer);
        BatchStream samples(tiny_sampler(), tiny_stream_settings(2), kTinyLimits);
        for (int i = 0; i < 2; ++i) trainer.begin(samples.next());
    }
    check_same(train(device_config(), options, 3, &device), whole);
}

TEST_CASE("the default stream, which cannot be recorded, serves without graphs alone") {
    if (!device_or_skip()) return;
    Device own(0), device(0, Stream{});
    TrainerOptions options = device_options(1);
    CHECK_THROWS_AS(Trainer(device_config(), options, &device), Error);
    options.graphs = false;
    check_same(train(device_config(), options, 2, &device), train(device_config(), options, 2, &own));
}

TEST_CASE("a trainer takes the device memory that was planned") {
    if (!device_or_skip()) return;
    Device device(0);
    for (const std::int64_t ranks : {1, 2}) {
        const TrainerOptions options = device_options(2, ranks);
        CHECK(Trainer(device_config(), options, &device).memory_bytes() ==
              Trainer::planned_bytes(device_config(), options));
    }
}
