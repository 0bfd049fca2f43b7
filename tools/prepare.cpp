// `cloze prepare`: text to a dataset folder of token shards. Tested by tests/tools/pipeline_test.cpp and
// bad_input_test.cpp.
#include "engine/data/prepare.h"

#include "tools/commands.h"
#include "tools/console.h"
#include "tools/flag_checks.h"
#include "tools/format.h"
#include "tools/inspect_report.h"
#include "tools/signals.h"
#include "tools/threads.h"

namespace cloze {
namespace {

struct PrepareArguments {
    PrepareSettings settings;
    std::vector<std::string> inputs;
    std::string vocab;
    std::string output;
    std::string format = "auto";
    std::string mode = "hf";
    bool cased = false;
    int threads = 0;
    bool quiet = false;
};

void report(Console& console, const DatasetInfo& info, const std::string& output) {
    console.clear_bar();
    console.heading("prepared " + output);
    console.table({
        {"text", counted(info.text.files, "file") + ", " + bytes_text(info.text.bytes) + "; tokenizer " +
                     info.tokenizer_mode_name + (info.tokenizer.lowercase ? "" : ", cased")},
        {"training", split_text(info.split(Split::train))},
        {"held out", split_text(info.split(Split::held_out))},
    });
    for (const std::string& warning : prepare_warnings(info)) console.line("  note: " + warning);
    console.table({{"next", "cloze pretrain --data " + output + " --model tiny --output RUN --max-steps 1000"}});
}

void show(Console& console, const PrepareProgress& progress) {
    const double share = progress.bytes_total > 0
                             ? static_cast<double>(progress.bytes_done) / static_cast<double>(progress.bytes_total)
                             : 0;
    console.bar(share, bytes_text(progress.bytes_done) + " of " + bytes_text(progress.bytes_total) + "  " +
                           scaled(static_cast<double>(progress.documents)) + " documents  " +
                           scaled(static_cast<double>(progress.tokens)) + " tokens");
}

void run_prepare(PrepareArguments& arguments) {
    PrepareSettings& settings = arguments.settings;
    settings.inputs.assign(arguments.inputs.begin(), arguments.inputs.end());
    settings.output = arguments.output;
    settings.tokenizer = {.mode = parse_tokenizer_mode(arguments.mode), .lowercase = !arguments.cased};
    settings.format = parse_text_format(arguments.format);
    settings.threads = thread_count(arguments.threads);
    const Vocabulary vocabulary = Vocabulary::read(arguments.vocab);
    const StopSignals signals("\ncloze prepare: stopping\n", "\ncloze prepare: still stopping\n");
    Console console(arguments.quiet);
    settings.progress = [&console](const PrepareProgress& progress) { show(console, progress); };
    settings.cancelled = [] { return StopSignals::requested(); };
    report(console, prepare_dataset(vocabulary, settings), arguments.output);
}

}  // namespace

Command prepare_command(CLI::App& program) {
    auto arguments = std::make_shared<PrepareArguments>();
    PrepareSettings& settings = arguments->settings;
    CLI::App* app = program.add_subcommand("prepare", "Turn text into a dataset of token shards");
    const auto value = [&](const char* flag, auto& target, const char* description, const char* kind) {
        return app->add_option(flag, target, description)->capture_default_str()->type_name(kind);
    };
    value("--input", arguments->inputs, "Text files, and folders of *.txt", "PATH")->required()->check(some_name());
    value("--vocab", arguments->vocab, "Vocabulary, one token a line", "FILE")->required()->check(some_name());
    value("--output", arguments->output, "Folder to make", "DIR")->required()->check(some_name());
    value("--format", arguments->format, "auto, lines (a sentence each), paragraphs", "NAME");
    value("--mode", arguments->mode, "Whose tokenizer rules: google or hf", "MODE");
    app->add_flag("--cased", arguments->cased, "Keep case and accents (for cased vocabularies)");
    value("--held-out", settings.held_out_fraction, "Share of documents kept for evaluation", "X")
        ->check(number_within(0, 0.5));
    value("--seed", settings.seed, "Of the choice of held-out documents", "N")
        ->transform(whole_number<std::uint64_t>(0));
    value("--shard-tokens", settings.shard_tokens, "Tokens of a shard", "N")->transform(whole_number<std::int64_t>(1));
    value("--threads", arguments->threads, "0: all cores; the result is the same", "N")
        ->transform(whole_number(0, kMostThreads));
    app->add_flag("--overwrite", settings.overwrite, "Replace a dataset that is there; nothing else is touched");
    app->add_flag("--quiet", arguments->quiet, "Print nothing but errors");
    app->footer(R"(A blank line, or the end of a file, ends a document.

Example:
  cloze prepare --input books/ news.txt --vocab vocab.txt --output dataset)");
    return {app, [arguments] { run_prepare(*arguments); }};
}

}  // namespace cloze
