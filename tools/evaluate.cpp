// `cloze evaluate`: held-out losses of a checkpoint beside the unigram baseline. Tested by
// tests/tools/pipeline_test.cpp.
#include <algorithm>
#include <cstdio>

#include "engine/files/json.h"
#include "engine/train/run.h"
#include "tools/commands.h"
#include "tools/console.h"
#include "tools/device_choice.h"
#include "tools/flag_checks.h"
#include "tools/pretrain_report.h"

namespace cloze {
namespace {

constexpr const char* kSampleGroup = "Samples";

struct EvaluateArguments {
    EvaluateOptions options;
    SampleSettings samples;
    std::string checkpoint;
    std::string data;
    std::string next_sentence = "nsp";
    std::string device = "auto";
    bool json = false;
};

Json to_json(const Evaluation& e) {
    Json json = {{"step", e.step},
                 {"masked_lm_loss", e.masked_loss},
                 {"masked_lm_accuracy", e.masked_accuracy},
                 {"unigram_loss", e.unigram_loss},
                 {"unigram_accuracy", e.unigram_accuracy},
                 {"masked", e.masked},
                 {"sequences", e.sequences}};
    if (e.next_sentence) {
        json["next_sentence_loss"] = e.next_sentence_loss;
        json["next_sentence_accuracy"] = e.next_sentence_accuracy;
        json["next_sentence_chance"] = e.next_sentence_chance;
    }
    return json;
}

/// Whether the user said anything of the samples.
bool samples_given(const CLI::App& app) {
    const auto options = app.get_options([](const CLI::Option* option) { return option->get_group() == kSampleGroup; });
    return std::any_of(options.begin(), options.end(), [](const CLI::Option* option) { return option->count() > 0; });
}

void run_evaluate(EvaluateArguments& arguments, const CLI::App& app) {
    require_host(arguments.device);
    arguments.options.checkpoint = arguments.checkpoint;
    arguments.options.data = arguments.data;
    if (samples_given(app)) {
        arguments.samples.next_sentence = parse_next_sentence(arguments.next_sentence);
        require_settings(arguments.samples);
        arguments.options.samples = arguments.samples;
    }
    const Evaluation evaluation = evaluate(arguments.options);
    if (arguments.json) {
        std::printf("%s\n", json_line(to_json(evaluation)).c_str());
        return;
    }
    Console console(false);
    console.heading("held out");
    console.table(evaluation_rows(evaluation));
}

}  // namespace

Command evaluate_command(CLI::App& program) {
    auto arguments = std::make_shared<EvaluateArguments>();
    EvaluateOptions& options = arguments->options;
    SampleSettings& samples = arguments->samples;
    CLI::App* app = program.add_subcommand("evaluate", "Measure a checkpoint on the held-out documents");
    const auto value = [&](const char* flag, auto& target, const char* description, const char* kind) {
        return app->add_option(flag, target, description)->capture_default_str()->type_name(kind);
    };
    value("--checkpoint", arguments->checkpoint, "Checkpoint, or a run's folder: its newest", "DIR")
        ->required()
        ->check(some_name());
    value("--data", arguments->data, "Dataset of cloze prepare", "DIR")->required()->check(some_name());
    value("--sequences", options.sequences, "At most; 0: all of the held-out split", "N")
        ->transform(whole_number<std::int64_t>(0));
    value("--device", arguments->device, "auto or cpu", "DEVICE");
    value("--threads", options.threads, "Of the computation; 0: all cores", "N")
        ->transform(whole_number(0, kMostThreads));
    app->add_flag("--json", arguments->json, "Print one JSON object");
    value("--max-seq-length", samples.max_seq_length, "Tokens of a sequence", "N")
        ->transform(whole_number<std::int64_t>(0))
        ->group(kSampleGroup);
    value("--masked-lm-prob", samples.masked_lm_prob, "Share of tokens to predict", "X")->group(kSampleGroup);
    value("--short-seq-prob", samples.short_seq_prob, "Documents cut into shorter sequences", "X")->group(kSampleGroup);
    app->add_flag("--whole-word-mask", samples.whole_word_mask, "Mask all pieces of a word or none")
        ->group(kSampleGroup);
    value("--next-sentence", arguments->next_sentence, "nsp: pairs; none", "KIND")->group(kSampleGroup);
    app->footer(R"(Samples are made as for the run the checkpoint comes from, unless one of their
flags is given: then the others have the defaults shown.

Example:
  cloze evaluate --checkpoint run --data dataset)");
    return {app, [arguments, app] { run_evaluate(*arguments, *app); }};
}

}  // namespace cloze
