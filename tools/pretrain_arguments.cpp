#include "tools/pretrain_arguments.h"

#include <cmath>

#include "engine/train/run_record.h"
#include "tools/device_choice.h"
#include "tools/flag_checks.h"

namespace cloze {
namespace {

/// A flag with one value, whose default the help shows.
template <typename T>
CLI::Option* value(CLI::App& app, const std::string& group, const std::string& flag, T& target,
                   const std::string& description, const std::string& kind = "N") {
    return app.add_option(flag, target, description)->capture_default_str()->type_name(kind)->group(group);
}

void add_file_flags(CLI::App& app, PretrainArguments& a) {
    const std::string group = "Run";
    value(app, group, "--data", a.data, "Dataset of cloze prepare", "DIR")->required()->check(some_name());
    value(app, group, "--model", a.model, "tiny, mini, small, medium, base, large, or config.json", "MODEL")
        ->required()
        ->check(some_name());
    value(app, group, "--output", a.output, "The run: checkpoints, metrics; continued if there", "DIR")
        ->required()
        ->check(some_name());
    value(app, group, "--max-steps", a.max_steps, "Optimizer steps of the whole run")
        ->required()
        ->transform(whole_number<std::int64_t>(1));
    value(app, group, "--init-from", a.init_from, "Start from this checkpoint's weights", "DIR")->check(some_name());
    value(app, group, "--seed", a.recipe.samples.seed, "Of weights, samples and dropout")
        ->transform(whole_number<std::uint64_t>(0));
    value(app, group, "--device", a.device, "auto, cpu, cuda or cuda:N", "DEVICE");
    value(app, group, "--precision", a.precision, "auto, f32 or bf16; auto: bf16 on a GPU, else f32", "TYPE");
    value(app, group, "--threads", a.handling.threads, "Of the computation; 0: all cores")
        ->transform(whole_number(0, kMostThreads));
}

void add_batch_flags(CLI::App& app, PretrainArguments& a) {
    const std::string group = "Batch";
    value(app, group, "--global-batch-size", a.recipe.global_batch_size, "Sequences a step, on average")
        ->transform(whole_number<std::int64_t>(1));
    value(app, group, "--micro-batch-tokens", a.recipe.micro_batch_tokens, "Upper limit of a micro-batch")
        ->transform(whole_number<std::int64_t>(1));
    value(app, group, "--virtual-ranks", a.recipe.virtual_ranks, "Shares of a step with sums of their own")
        ->transform(whole_number<std::int64_t>(1));
}

void add_sample_flags(CLI::App& app, PretrainArguments& a) {
    const std::string group = "Samples";
    SampleSettings& samples = a.recipe.samples;
    value(app, group, "--max-seq-length", samples.max_seq_length, "Tokens of a sequence, special ones included")
        ->transform(whole_number<std::int64_t>(0));
    value(app, group, "--next-sentence", a.next_sentence, "nsp: pairs and their head; none", "KIND");
    value(app, group, "--masked-lm-prob", samples.masked_lm_prob, "Share of tokens to predict", "X");
    value(app, group, "--max-predictions-per-seq", samples.max_predictions_per_seq, "0: as many as the share asks")
        ->transform(whole_number<std::int64_t>(0));
    value(app, group, "--short-seq-prob", samples.short_seq_prob, "Documents cut into shorter sequences", "X");
    value(app, group, "--mask-share", samples.mask_share, "Of the predicted: become [MASK]", "X");
    value(app, group, "--random-share", samples.random_share, "Of the predicted: become any token", "X");
    value(app, group, "--keep-share", samples.keep_share, "Of the predicted: stay", "X");
    app.add_flag("--whole-word-mask", samples.whole_word_mask, "Mask all pieces of a word or none")->group(group);
}

void add_optimizer_flags(CLI::App& app, PretrainArguments& a) {
    const std::string group = "Optimizer";
    OptimizerRecipe& recipe = a.recipe.optimizer;
    value(app, group, "--learning-rate", recipe.schedule.base, "Peak of the schedule", "X")->check(number_above(0));
    value(app, group, "--schedule", a.schedule, "linear, google-linear, poly or constant", "NAME");
    CLI::Option* steps = app.add_option("--warmup-steps", a.warmup_steps, "Steps until the peak")
                             ->type_name("N")
                             ->group(group)
                             ->transform(whole_number<std::int64_t>(0));
    value(app, group, "--warmup-proportion", a.warmup_proportion, "The same as a share of the steps", "X")
        ->check(number_within(0, 1))
        ->excludes(steps);
    value(app, group, "--poly-degree", recipe.schedule.degree, "Of schedule poly", "X")->check(number_above(0));
    value(app, group, "--optimizer", a.optimizer, "adamw or lamb", "NAME");
    value(app, group, "--beta1", recipe.beta1, "Decay of the first moment", "X");
    value(app, group, "--beta2", recipe.beta2, "Decay of the second moment", "X");
    value(app, group, "--epsilon", recipe.epsilon, "Added to the root of the second moment", "X")
        ->check(number_above(0));
    value(app, group, "--weight-decay", recipe.weight_decay, "Not on biases and LayerNorm", "X")->check(number_from(0));
    app.add_flag("--bias-correction,!--no-bias-correction", recipe.bias_correction,
                 "Of the moments; Google's code has none [on]")
        ->group(group);
    value(app, group, "--max-grad-norm", recipe.max_gradient_norm, "Clip the global norm to this; 0: never", "X")
        ->check(number_from(0));
}

void add_model_flags(CLI::App& app, PretrainArguments& a) {
    const std::string group = "Model (instead of the value of --model)";
    app.add_option("--hidden-dropout-prob", a.hidden_dropout_prob, "After embeddings and projections")
        ->type_name("X")
        ->group(group);
    app.add_option("--attention-dropout-prob", a.attention_dropout_prob, "On the attention probabilities")
        ->type_name("X")
        ->group(group);
    app.add_option("--hidden-act", a.hidden_act, "gelu (erf) or gelu_new (tanh)")->type_name("NAME")->group(group);
    value(app, group, "--initialization", a.initialization, "truncated-normal or normal", "NAME");
}

void add_report_flags(CLI::App& app, PretrainArguments& a) {
    const std::string group = "Reports and checkpoints (may differ when a run is continued)";
    value(app, group, "--log-every", a.handling.log_every, "Steps between lines")
        ->transform(whole_number<std::int64_t>(1));
    value(app, group, "--evaluate-every", a.handling.evaluate_every, "Steps; 0: only at the end")
        ->transform(whole_number<std::int64_t>(0));
    value(app, group, "--evaluation-sequences", a.handling.evaluation_sequences, "Held-out sequences at most; 0: all")
        ->transform(whole_number<std::int64_t>(0));
    value(app, group, "--save-every", a.handling.save_every, "Steps between checkpoints; 0: only at the end")
        ->transform(whole_number<std::int64_t>(0));
    value(app, group, "--keep-checkpoints", a.handling.keep_checkpoints, "The newest ones that stay")
        ->transform(whole_number<std::int64_t>(1));
    app.add_option("--profile", a.handling.profile_steps, "Steps of a GPU to look into: a table, and profile.json")
        ->type_name("N")
        ->group(group)
        ->transform(whole_number<std::int64_t>(1, 1000));
    app.add_flag("--quiet", a.quiet, "Print nothing but errors; metrics.jsonl has it all")->group(group);
    app.add_flag("--dry-run", a.dry_run, "Show what would happen, and stop")->group(group);
    app.add_flag("--print-config", a.print_config, "Print every resolved value as JSON, and stop")->group(group);
}

void resolve_model(PretrainArguments& a) {
    BertConfig& model = a.recipe.model;
    model = config_from(a.model);
    if (a.hidden_dropout_prob) model.hidden_dropout_prob = *a.hidden_dropout_prob;
    if (a.attention_dropout_prob) model.attention_probs_dropout_prob = *a.attention_dropout_prob;
    if (a.hidden_act) model.hidden_act = *a.hidden_act;
    require_config(model, "--model " + a.model);
}

void resolve_optimizer(PretrainArguments& a) {
    OptimizerRecipe& recipe = a.recipe.optimizer;
    recipe.kind = optimizer_from(a.optimizer);
    recipe.schedule.kind = schedule_from(a.schedule);
    recipe.schedule.total_steps = a.max_steps;
    recipe.schedule.warmup_steps =
        a.warmup_steps.value_or(std::llround(a.warmup_proportion * static_cast<double>(a.max_steps)));
}

void resolve_samples(PretrainArguments& a) {
    SampleSettings& samples = a.recipe.samples;
    samples.next_sentence = parse_next_sentence(a.next_sentence);
    require_settings(samples);
    require(samples.max_seq_length <= a.recipe.model.max_position_embeddings, "--max-seq-length ",
            samples.max_seq_length, " is above the model's position table (max_position_embeddings ",
            a.recipe.model.max_position_embeddings, "); use at most that, or a config.json with a larger table");
    require(a.recipe.micro_batch_tokens >= samples.max_seq_length, "--micro-batch-tokens ", a.recipe.micro_batch_tokens,
            " does not hold one sequence of --max-seq-length ", samples.max_seq_length, "; use at least that");
    const std::int64_t ranks = a.recipe.virtual_ranks;
    require((ranks & (ranks - 1)) == 0, "--virtual-ranks ", ranks, " is not a power of two");
}

Json handling_json(const RunHandling& handling) {
    return {{"threads", handling.threads},
            {"log_every", handling.log_every},
            {"evaluate_every", handling.evaluate_every},
            {"evaluation_sequences", handling.evaluation_sequences},
            {"save_every", handling.save_every},
            {"keep_checkpoints", handling.keep_checkpoints},
            {"profile", handling.profile_steps}};
}

}  // namespace

void add_pretrain_flags(CLI::App& app, PretrainArguments& arguments) {
    arguments.recipe.optimizer.schedule.base = 1e-4;
    add_file_flags(app, arguments);
    add_batch_flags(app, arguments);
    add_sample_flags(app, arguments);
    add_optimizer_flags(app, arguments);
    add_model_flags(app, arguments);
    add_report_flags(app, arguments);
}

void resolve(PretrainArguments& arguments) {
    RunRecipe& recipe = arguments.recipe;
    arguments.handling.gpu = device_from(arguments.device);
    recipe.precision = precision_from(arguments.precision, arguments.handling.gpu.has_value());
    recipe.data = arguments.data;
    recipe.init_from = arguments.init_from;
    recipe.initialization = initialization_from(arguments.initialization);
    resolve_model(arguments);
    resolve_samples(arguments);
    resolve_optimizer(arguments);
    arguments.handling.output = arguments.output;
    arguments.handling.preflight_only = arguments.dry_run;
}

Json resolved_config(const PretrainArguments& arguments, const CLI::App& app) {
    const RunRecipe& recipe = arguments.recipe;
    Json defaults = Json::array();
    for (const CLI::Option* option : app.get_options()) {
        if (option->count() == 0 && option->get_single_name() != "help") defaults.push_back(option->get_single_name());
    }
    Json model = Json::parse(config_json(recipe.model, "BertForPreTraining"));
    model["vocab_size"] = "from the data";
    return {{"data", recipe.data.string()},
            {"output", arguments.handling.output.string()},
            {"init_from", recipe.init_from.string()},
            {"device", arguments.handling.gpu ? text(Device::kind(), ":", *arguments.handling.gpu) : "cpu"},
            {"precision", name_of(recipe.precision)},
            {"model", std::move(model)},
            {"initialization", name_of(recipe.initialization)},
            {"samples", samples_record(recipe.samples)},
            {"optimizer", optimizer_record(recipe.optimizer)},
            {"batch",
             {{"global_batch_size", recipe.global_batch_size},
              {"micro_batch_tokens", recipe.micro_batch_tokens},
              {"virtual_ranks", recipe.virtual_ranks}}},
            {"handling", handling_json(arguments.handling)},
            {"defaults", std::move(defaults)}};
}

}  // namespace cloze
