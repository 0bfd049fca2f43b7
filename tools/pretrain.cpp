// `cloze pretrain`: trains a model on a dataset, or continues the run that is already in the output folder. The run
// itself is engine/train/run.h; here are its flags, what a person sees of it, and the signals that stop it. Tested by
// tests/tools/pipeline_test.cpp, pretrain_flags_test.cpp, signals_test.cpp and bad_input_test.cpp.
#include <cstdio>

#include "tools/commands.h"
#include "tools/format.h"
#include "tools/pretrain_arguments.h"
#include "tools/pretrain_report.h"
#include "tools/signals.h"

namespace cloze {
namespace {

/// Before the first step nothing has to be saved, so a signal ends the command at once.
void stop_before_work() {
    if (!StopSignals::requested()) return;
    fail(Fault::interrupted, "stopped by ", StopSignals::name(),
         " before the first step: nothing was lost; run the same command again to continue");
}

RunObserver observer_of(Console& console, const RunRecipe& recipe) {
    const bool next_sentence = recipe.samples.next_sentence == NextSentence::nsp;
    const auto working = std::make_shared<bool>(false);
    RunObserver observer;
    observer.on_stage = [&console, working](const std::string& stage) {
        if (!*working) stop_before_work();
        console.stage(stage);
    };
    observer.on_preflight = [&console, &recipe, working](const Preflight& preflight) {
        report_preflight(console, recipe, preflight);
        stop_before_work();
        *working = true;
    };
    observer.on_progress = [&console, next_sentence](const Progress& progress) {
        report_progress(console, progress, next_sentence);
    };
    observer.on_evaluation = [&console](const Evaluation& evaluation) { report_evaluation(console, evaluation); };
    observer.on_checkpoint = [&console](const std::filesystem::path& folder) {
        console.line("saved " + folder.string());
    };
    observer.on_profile = [&console](const StepProfile& profile, const std::filesystem::path& trace) {
        report_profile(console, profile, trace);
    };
    observer.stop_requested = [] { return StopSignals::requested(); };
    return observer;
}

void run_pretrain(PretrainArguments& arguments, const CLI::App& app) {
    resolve(arguments);
    if (arguments.print_config) {
        std::fputs(json_text(resolved_config(arguments, app)).c_str(), stdout);
        return;
    }
    const StopSignals signals("\ncloze pretrain: stopping after this step; the run will be saved\n",
                              "\ncloze pretrain: still finishing the step and saving; kill -9 would lose the steps "
                              "since the last checkpoint\n");
    Console console(arguments.quiet);
    const RunResult result = pretrain(arguments.recipe, arguments.handling, observer_of(console, arguments.recipe));
    if (arguments.dry_run) return;
    console.clear_bar();
    if (result.stopped) {
        fail(Fault::interrupted, "stopped by ", StopSignals::name(), " after step ", grouped(result.steps_done),
             " and saved in ", result.checkpoint.string(), "; run the same command again to continue");
    }
    report_result(console, result);
}

}  // namespace

Command pretrain_command(CLI::App& program) {
    auto arguments = std::make_shared<PretrainArguments>();
    CLI::App* app = program.add_subcommand("pretrain", "Train a model, or continue a run");
    add_pretrain_flags(*app, *arguments);
    app->footer(R"(Examples:
  cloze pretrain --data dataset --model tiny --output run --max-seq-length 128 \
      --global-batch-size 32 --max-steps 1000 --learning-rate 1e-3 --seed 1
  cloze pretrain ... --dry-run                  what would happen
  cloze pretrain ... --init-from checkpoint     other weights, fresh optimizer

The same command run again continues the run. SIGTERM, SIGINT, SIGHUP and SIGUSR1
save and leave with exit code 75.)");
    return {app, [arguments, app] { run_pretrain(*arguments, *app); }};
}

}  // namespace cloze
