// The model and three optimizers against an independent implementation: HuggingFace transformers in float64, whose
// results tests/golden/make_golden.py has stored. Errors are measured per tensor as max |a - b| / max |b|.
#include <fstream>

#include "engine/files/json.h"
#include "engine/model/weights_file.h"
#include "engine/train/trainer.h"
#include "tests/model/model_testing.h"

namespace cloze::test {
namespace {

const std::filesystem::path kGolden = CLOZE_GOLDEN_FOLDER;

struct Case {
    const char* name;
    const char* hidden_act;
    Visible visible;
};
const std::vector<Case> kCases = {
    {"gelu", "gelu", Visible::all},
    {"gelu_new", "gelu_new", Visible::all},
    {"past", "gelu", Visible::past},
    {"future", "gelu", Visible::future},
    {"strict_past", "gelu", Visible::strict_past},
    {"strict_future", "gelu", Visible::strict_future},
};

BertConfig golden_config(const Case& golden = kCases[0]) {
    BertConfig config = read_config(kGolden / "model" / "config.json");
    config.hidden_act = golden.hidden_act;
    config.visible = golden.visible;
    return config;
}

std::vector<std::vector<Sample>> golden_batches() {
    std::vector<std::vector<Sample>> batches;
    for (const Json& stored : read_json(kGolden / "batches.json")) {
        std::vector<Sample>& samples = batches.emplace_back();
        for (const Json& sequence : stored) {
            Sample& sample = samples.emplace_back();
            sample.token_id = sequence["ids"].get<std::vector<std::int32_t>>();
            for (const int type : sequence["types"].get<std::vector<int>>()) sample.first_segment += type == 0 ? 1 : 0;
            sample.next_sentence_label = sequence["next_sentence_label"];
            sample.masked_position = sequence["masked_positions"].get<std::vector<std::int32_t>>();
            sample.masked_label = sequence["masked_labels"].get<std::vector<std::int32_t>>();
        }
    }
    return batches;
}

void load_golden_weights(const ParameterView& weights) {
    const LoadReport report = load_weights(kGolden / "model", weights, {.refuse = true});
    REQUIRE(report.notes.empty());
    REQUIRE(report.unused.empty());
}

Parameters golden_weights(const ParameterTable& table, DType dtype) {
    Parameters weights(table, dtype);
    load_golden_weights(weights.view());
    return weights;
}

std::vector<double> stored_values(const SafetensorsReader& file, const std::string& name) {
    const StoredTensor& tensor = file.require(name);
    std::vector<double> values(static_cast<std::size_t>(tensor.count()));
    file.copy<double>(tensor, values);
    return values;
}

/// Every tensor of the table from a golden file, where its name has `prefix`.
Parameters stored_parameters(const SafetensorsReader& file, const ParameterTable& table, const std::string& prefix) {
    Parameters parameters(table, DType::f64);
    for (const Parameter& row : table.rows) {
        const std::vector<double> values = stored_values(file, prefix + row.name);
        REQUIRE(static_cast<std::int64_t>(values.size()) == row.count());
        for (std::int64_t i = 0; i < row.count(); ++i)
            parameters.set(row.offset + i, values[static_cast<std::size_t>(i)]);
    }
    return parameters;
}

/// The first `rows` rows and `cols` columns.
std::vector<double> values_of(const Tensor& tensor, std::int64_t rows, std::int64_t cols) {
    std::vector<double> values;
    visit_float(tensor.dtype, [&]<typename T>() {
        for (std::int64_t r = 0; r < rows; ++r)
            for (std::int64_t c = 0; c < cols; ++c)
                values.push_back(static_cast<double>(tensor.data<T>()[r * tensor.stride + c]));
    });
    return values;
}

/// Of double: rounding; of float: a few times what the reference loses itself. Its own float32 run is 1e-6 to
/// 3e-6 away from its float64 run (results.json).
double tolerance_of(DType working) {
    return working == DType::f64 ? 1e-10 : 1e-5;
}

void require_close(const std::vector<double>& values, const std::vector<double>& expected, double tolerance) {
    REQUIRE(largest_difference(values, expected) <= tolerance * largest(expected));
}

void require_close(const Parameters& values, const Parameters& expected, double tolerance) {
    std::string worst;
    const double distance = relative_distance(values, expected, &worst);
    INFO(worst << " is " << distance << " away");
    REQUIRE(distance <= tolerance);
}

/// Consecutive sequences by the numbers in `split`, all micro-batches of one capacity; a 0 makes an empty one.
std::vector<Batch> split_batch(const std::vector<Sample>& samples, const std::vector<std::size_t>& split,
                               const BertConfig& config) {
    const BatchCapacity capacity = capacity_for(samples);
    std::vector<Batch> batches;
    std::size_t first = 0;
    for (const std::size_t count : split) {
        batches.push_back(make_batch(std::span(samples).subspan(first, count), capacity, config, first));
        first += count;
    }
    REQUIRE(first == samples.size());
    return batches;
}

}  // namespace

TEST_CASE("losses, logits and every gradient equal transformers'", "[golden]") {
    const Json results = read_json(kGolden / "results.json");
    const std::vector<Sample> samples = golden_batches()[0];
    for (const DType working : {DType::f64, DType::f32}) {
        for (const Case& golden : kCases) {
            INFO(golden.name << " in " << name_of(working));
            const double tolerance = tolerance_of(working);
            const BertConfig config = golden_config(golden);
            const ParameterTable table = parameter_table(config);
            const Parameters weights = golden_weights(table, working);
            const Batch batch = make_batch(samples, capacity_for(samples), config);
            const StepState state = state_for(batch);
            const SafetensorsReader file(kGolden / ("case_" + std::string(golden.name) + ".safetensors"));
            const Json& losses = results["cases"][golden.name];
            PretrainingModel model(config, {.capacity = batch.capacity, .working = working});

            model.put(batch);
            model.forward(weights.view(), &state, false);
            const HeadActivations& heads = model.activations().heads;
            require_close(values_of(heads.logits, batch.counts.masked, config.vocab_size),
                          stored_values(file, "masked_logits"), tolerance);
            require_close(values_of(heads.next_sentence_logits, batch.counts.sequences, 2),
                          stored_values(file, "next_sentence_logits"), tolerance);

            const Parameters gradients = gradients_of(model, weights.view(), batch, state);
            const LossSums sums = model.losses();
            require_close({sums.masked_mean()}, {losses["masked_loss"].get<double>()}, tolerance);
            require_close({sums.next_sentence_mean()}, {losses["next_sentence_loss"].get<double>()}, tolerance);
            require_close(gradients, stored_parameters(file, table, "gradient."), tolerance);
        }
    }
}

TEST_CASE("a batch split over micro-batches has the gradients of the whole", "[golden]") {
    const std::vector<Sample> samples = golden_batches()[0];
    const BertConfig config = golden_config();
    const ParameterTable table = parameter_table(config);
    const SafetensorsReader file(kGolden / "case_gelu.safetensors");
    const Parameters expected = stored_parameters(file, table, "gradient.");
    const std::vector<std::vector<std::size_t>> splits = {{5}, {2, 3}, {1, 1, 1, 1, 1}, {0, 4, 0, 1, 0}};
    for (const DType working : {DType::f64, DType::f32}) {
        const Parameters weights = golden_weights(table, working);
        for (const auto& split : splits) {
            INFO(split.size() << " micro-batches in " << name_of(working));
            const std::vector<Batch> batches = split_batch(samples, split, config);
            PretrainingModel model(config, {.capacity = batches[0].capacity, .working = working});
            Parameters gradients(table, working);
            const BatchCapacity whole = capacity_for(samples);
            const StepState state = state_for(whole.masked, whole.sequences);
            LossSums sums;
            for (std::size_t i = 0; i < batches.size(); ++i) {
                model.put(batches[i]);
                model.forward(weights.view(), &state, true);
                sums += model.losses();
                model.backward(weights.view(), &state, gradients.view(), i > 0);
            }
            require_close(gradients, expected, tolerance_of(working));
            REQUIRE(sums.sequences == static_cast<std::int64_t>(samples.size()));
        }
    }
}

namespace {

struct Training {
    const char* name;
    OptimizerKind kind;
    bool bias_correction;
    Schedule schedule;
};
const std::vector<Training> kTrainings = {
    {"adamw",
     OptimizerKind::adamw,
     true,
     {.kind = ScheduleKind::linear, .base = 2e-3, .warmup_steps = 2, .total_steps = 8}},
    {"google",
     OptimizerKind::adamw,
     false,
     {.kind = ScheduleKind::constant, .base = 1e-3, .warmup_steps = 0, .total_steps = 8}},
    {"lamb",
     OptimizerKind::lamb,
     true,
     {.kind = ScheduleKind::constant, .base = 5e-3, .warmup_steps = 0, .total_steps = 8}},
};

struct Division {
    std::int64_t micro_batches, virtual_ranks;
};

StepBatches step_batches(const std::vector<Sample>& samples, const BatchCapacity& capacity, std::int64_t micro_batches,
                         const BertConfig& config) {
    StepBatches step;
    const std::size_t share =
        (samples.size() + static_cast<std::size_t>(micro_batches) - 1) / static_cast<std::size_t>(micro_batches);
    for (std::size_t i = 0; i < static_cast<std::size_t>(micro_batches); ++i) {
        const std::size_t first = std::min(samples.size(), i * share);
        const std::size_t count = std::min(share, samples.size() - first);
        const Batch& batch =
            step.micro.emplace_back(make_batch(std::span(samples).subspan(first, count), capacity, config, first));
        step.masked += batch.counts.masked;
        step.sequences += batch.counts.sequences;
        step.tokens += batch.counts.tokens;
    }
    return step;
}

/// The loss does not depend on a key bias, so its gradient is rounding alone (model_testing.h), which Adam's quotient
/// turns into small steps of its own. Bounds them by 1e-3 of the bias and takes them out of the comparison.
void settle_key_biases(Parameters& weights, const Parameters& expected) {
    for (const Parameter& row : expected.table().rows) {
        if (!row.name.ends_with("key.bias")) continue;
        require_close(weights.values(row), expected.values(row), 1e-3);
        for (std::int64_t i = row.offset; i < row.offset + row.count(); ++i) weights.set(i, expected.get(i));
    }
}

void check_training(const Training& training, DType working, const Division& division) {
    const Json results = read_json(kGolden / "results.json");
    const Json& expected_steps = results["training"][training.name]["steps"];
    const BertConfig config = golden_config();
    const auto batches = golden_batches();
    BatchCapacity capacity;
    for (const auto& samples : batches) {
        const BatchCapacity needed = capacity_for(samples);
        capacity = {std::max(capacity.tokens, needed.tokens), std::max(capacity.sequences, needed.sequences),
                    std::max(capacity.masked, needed.masked)};
    }
    Trainer trainer(config, {.model = {.capacity = capacity, .working = working},
                             .optimizer = {.kind = training.kind,
                                           .bias_correction = training.bias_correction,
                                           .schedule = training.schedule},
                             .seed = 1,
                             .micro_batches = division.micro_batches,
                             .virtual_ranks = division.virtual_ranks});
    load_golden_weights(trainer.weights());

    const double tolerance = tolerance_of(working);
    for (std::size_t i = 0; i < batches.size(); ++i) {
        INFO("step " << i + 1);
        const StepReport report = trainer.step(step_batches(batches[i], capacity, division.micro_batches, config));
        const Json& step = expected_steps[i];
        REQUIRE_FALSE(report.skipped);
        require_close({report.losses.masked_mean() + report.losses.next_sentence_mean()}, {step["loss"].get<double>()},
                      tolerance);
        require_close({report.gradient_norm}, {step["gradient_norm"].get<double>()}, tolerance);
        REQUIRE(report.learning_rate == Approx(step["learning_rate"].get<double>()).epsilon(1e-14));
    }
    const SafetensorsReader file(kGolden / ("training_" + std::string(training.name) + ".safetensors"));
    Parameters weights(trainer.table(), working);
    for (std::int64_t i = 0; i < trainer.table().elements; ++i) {
        visit_float(working,
                    [&]<typename T>() { weights.set(i, static_cast<double>(trainer.weights().flat.data<T>()[i])); });
    }
    const Parameters expected = stored_parameters(file, trainer.table(), "");
    if (working == DType::f32) settle_key_biases(weights, expected);
    require_close(weights, expected, tolerance);
}

}  // namespace

TEST_CASE("five steps of AdamW and LAMB end at the reference's weights", "[golden]") {
    const std::vector<Division> divisions = {{1, 1}, {2, 1}, {2, 2}, {4, 4}};
    for (const Training& training : kTrainings) {
        for (const DType working : {DType::f64, DType::f32}) {
            for (const Division& division : divisions) {
                INFO(training.name << " in " << name_of(working) << ", " << division.micro_batches << " micro-batches, "
                                   << division.virtual_ranks << " virtual ranks");
                check_training(training, working, division);
            }
        }
    }
}

}  // namespace cloze::test
