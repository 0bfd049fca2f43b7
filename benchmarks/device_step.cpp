// Times optimizer steps on a GPU: batches to the device, forward, backward, clipping, optimizer, losses back. The same
// rows, counts and recipe as benchmarks/device_step.py, which times PyTorch.
//
//   device_step --model large --max-seq-length 512 --rows 48 --steps 50 [--hidden-act gelu]
//
// A micro-batch is `rows` sequences of exactly max-seq-length random tokens, so that every program has the same work.
// Prints one JSON object. Seconds are those between the ends of consecutive steps, as the host learns of them.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cmath>
#include <iostream>
#include <optional>

#include "engine/data/sampler.h"
#include "engine/model/host_copy.h"
#include "engine/model/initialization.h"
#include "engine/train/run_plan.h"
#include "engine/train/step_profile.h"
#include "engine/train/trainer.h"
#include "kernels/core/random_stream.h"

namespace {

using namespace cloze;
using Clock = std::chrono::steady_clock;

struct Options {
    std::string model = "large";
    std::int64_t max_seq_length = 512;
    std::int64_t rows = 48;  // sequences of a micro-batch
    std::int64_t micro_batches = 1;
    std::string hidden_act = "gelu_new";
    std::string optimizer = "adamw";
    double dropout = 0.1;
    int warmup = 5;
    int steps = 50;
    bool no_graphs = false;
    bool profile = false;
};

constexpr int kStepsKept = 4;  // of batches that take turns

/// Predictions of a sequence, as the recipes of BERT have them: 76 of 512, 20 of 128.
std::int64_t predictions(std::int64_t max_seq_length) {
    return max_seq_length == 128 ? 20 : max_seq_length * 76 / 512;
}

BertConfig config_of(const Options& options) {
    BertConfig config = config_from(options.model);
    config.hidden_act = options.hidden_act;
    config.hidden_dropout_prob = options.dropout;
    config.attention_probs_dropout_prob = options.dropout;
    return config;
}

Sample random_sample(const Options& options, std::int64_t vocab_size, RandomStream& random) {
    Sample sample;
    const std::int64_t length = options.max_seq_length, masked = predictions(length);
    for (std::int64_t i = 0; i < length; ++i) {
        sample.token_id.push_back(
            1000 + static_cast<std::int32_t>(random.below(static_cast<std::uint32_t>(vocab_size - 1000))));
    }
    sample.first_segment = length / 2;
    sample.next_sentence_label = static_cast<std::int32_t>(random.below(2));
    for (std::int64_t i = 0; i < masked; ++i) {
        sample.masked_position.push_back(static_cast<std::int32_t>(i * length / masked));
        sample.masked_label.push_back(sample.token_id[static_cast<std::size_t>(sample.masked_position.back())]);
    }
    return sample;
}

std::vector<StepBatches> random_steps(const Options& options, const BertConfig& config, const BatchCapacity& capacity) {
    RandomStream random({.seed = 1, .purpose = RandomPurpose::document_walk});
    const BatchLimits limits{.vocabulary_size = config.vocab_size, .positions = config.max_position_embeddings};
    std::vector<StepBatches> steps(kStepsKept);
    std::uint64_t index = 0;
    for (StepBatches& step : steps) {
        for (std::int64_t m = 0; m < options.micro_batches; ++m) {
            Batch batch = empty_batch(capacity);
            for (std::int64_t row = 0; row < options.rows; ++row) {
                append_sample(batch, random_sample(options, config.vocab_size, random), index++, limits);
            }
            finish_batch(batch, limits);
            step.masked += batch.counts.masked;
            step.sequences += batch.counts.sequences;
            step.tokens += batch.counts.tokens;
            step.micro.push_back(std::move(batch));
        }
    }
    return steps;
}

double quantile(const std::vector<double>& sorted, double q) {
    return sorted[static_cast<std::size_t>(std::lround(q * static_cast<double>(sorted.size() - 1)))];
}

/// Of one step, kernel by kernel: where its time goes, the longest first.
Json profile(Trainer& trainer, const StepBatches& step, const StepWork& work) {
    LaunchLog log;
    trainer.step(step);
    LaunchLog::note("end", trainer.compute().stream);
    StepProfiler profiler;
    profiler.add(log.entries(), 0, work.pairs);
    Json ops = Json::array();
    for (const OpProfile& op : profiler.summary(work, std::nullopt).ops) {
        ops.push_back({{"op", op.op}, {"launches", std::llround(op.launches)}, {"seconds", op.seconds}});
    }
    return ops;
}

/// What was timed, without the times.
Json described(const Options& options, const Trainer& trainer, Device& device) {
    return {{"device", device.info().name},
            {"matrix_library", device.products().library()},
            {"model", options.model},
            {"max_seq_length", options.max_seq_length},
            {"rows", options.rows},
            {"micro_batches", options.micro_batches},
            {"hidden_act", options.hidden_act},
            {"optimizer", options.optimizer},
            {"dropout", options.dropout},
            {"graphs", !options.no_graphs && !options.profile},
            {"memory_bytes", trainer.memory_bytes() + Device::planned_bytes()}};
}

/// Seconds of each step after the warm-up, ascending; losses of all.
struct Timed {
    std::vector<double> seconds, losses;
};
Timed time_steps(Trainer& trainer, const std::vector<StepBatches>& steps, const Options& options) {
    Timed timed;
    Clock::time_point last;
    const auto finish = [&] {
        const StepReport report = trainer.finish();
        const Clock::time_point now = Clock::now();
        if (report.step > options.warmup) timed.seconds.push_back(std::chrono::duration<double>(now - last).count());
        last = now;
        timed.losses.push_back(report.losses.masked_mean() + report.losses.next_sentence_mean());
    };
    for (int i = 0; i < options.warmup + options.steps; ++i) {
        trainer.begin(steps[static_cast<std::size_t>(i % kStepsKept)]);
        if (trainer.unfinished() > 1) finish();
    }
    while (trainer.unfinished() > 0) finish();
    std::sort(timed.seconds.begin(), timed.seconds.end());
    return timed;
}

Json run(const Options& options) {
    Device device(0);
    const BertConfig config = config_of(options);
    const std::int64_t masked = predictions(options.max_seq_length);
    const BatchCapacity capacity{
        .tokens = options.rows * options.max_seq_length, .sequences = options.rows, .masked = options.rows * masked};
    const std::vector<StepBatches> steps = random_steps(options, config, capacity);
    const TrainerOptions trainer_options{
        .model = {.capacity = capacity, .working = DType::bf16, .place = Place::device},
        .optimizer =
            {.kind = optimizer_from(options.optimizer),
             .schedule = {.kind = ScheduleKind::constant, .base = 1e-4, .warmup_steps = 0, .total_steps = 1000}},
        .seed = 1,
        .micro_batches = options.micro_batches,
        .graphs = !options.no_graphs && !options.profile};
    Trainer trainer(config, trainer_options, &device);
    const HostCopy weights = HostCopy::to_be_written(trainer.weights(), trainer.compute());
    initialize(weights.view(), config.initializer_range, 1, Initialization::truncated_normal);
    weights.send();
    trainer.weights_written();

    const Timed timed = time_steps(trainer, steps, options);
    const double median = quantile(timed.seconds, 0.5);
    const double sequences = static_cast<double>(options.rows * options.micro_batches);
    const double flops = step_flops(config, sequences, sequences * static_cast<double>(options.max_seq_length),
                                    sequences * static_cast<double>(masked));
    Json result = described(options, trainer, device);
    result["steps"] = timed.seconds.size();
    result["seconds"] = median;
    result["seconds_low_quartile"] = quantile(timed.seconds, 0.25);
    result["seconds_high_quartile"] = quantile(timed.seconds, 0.75);
    result["sequences_per_second"] = sequences / median;
    result["tflops"] = flops / median * 1e-12;
    result["losses"] = {timed.losses.front(), timed.losses.back()};
    if (options.profile) {
        result["ops"] = profile(trainer, steps[0],
                                {.config = config, .trainer = trainer_options, .pairs = pairs_of(config, steps[0])});
    }
    return result;
}

}  // namespace

int main(int argc, char** argv) {
    Options options;
    CLI::App app("Times optimizer steps on a GPU");
    app.add_option("--model", options.model, "preset or config.json");
    app.add_option("--max-seq-length", options.max_seq_length);
    app.add_option("--rows", options.rows, "sequences of a micro-batch");
    app.add_option("--micro-batches", options.micro_batches);
    app.add_option("--hidden-act", options.hidden_act, "gelu (erf) or gelu_new (tanh)");
    app.add_option("--optimizer", options.optimizer, "adamw or lamb");
    app.add_option("--dropout", options.dropout);
    app.add_option("--warmup", options.warmup, "steps that are not counted");
    app.add_option("--steps", options.steps);
    app.add_flag("--no-graphs", options.no_graphs, "launch kernel by kernel");
    app.add_flag("--profile", options.profile, "the time of each op in one step, launched kernel by kernel");
    CLI11_PARSE(app, argc, argv);
    try {
        std::cout << run(options).dump() << std::endl;
    } catch (const Error& error) {
        std::cerr << error.what() << std::endl;
        return 1;
    }
    return 0;
}
