// `cloze vocab`: learns a WordPiece vocabulary from text. Reads files and folders as `cloze prepare` does. Tested by
// tests/tools/pipeline_test.cpp and bad_input_test.cpp.
#include <memory>

#include "engine/data/text_input.h"
#include "engine/files/write.h"
#include "engine/text/vocabulary_trainer.h"
#include "tools/commands.h"
#include "tools/console.h"
#include "tools/flag_checks.h"
#include "tools/format.h"

namespace cloze {
namespace {

/// Text is counted in pieces of this size: large enough for all threads, small beside the table of words.
constexpr std::size_t kChunkBytes = 16 << 20;

struct VocabArguments {
    VocabularyOptions options;
    std::vector<std::string> inputs;
    std::string output;
    std::string mode = "hf";
    bool cased = false;
    bool overwrite = false;
    bool quiet = false;
};

/// The end of a file ends a word, though its last line may lack its end.
void append_lines(const TextUnit& unit, std::string& chunk) {
    for (const TextPiece& piece : unit.pieces) {
        chunk.append(unit.text, piece.begin, piece.end - piece.begin);
        chunk += '\n';
    }
}

/// Gives all text of the files to the trainer; returns what was seen of it.
TextCounts count_words(const std::vector<std::string>& inputs, VocabularyTrainer& trainer, Console& console) {
    TextCounts counts;
    std::vector<TextFile> files = find_text({inputs.begin(), inputs.end()}, counts);
    std::int64_t total = 0;
    for (const TextFile& file : files) total += file.bytes;
    TextReader reader(std::move(files), TextFormat::lines, counts);
    TextUnit unit;
    std::string chunk;
    bool more = true;
    while (more) {
        more = reader.next(unit);
        if (more) append_lines(unit, chunk);
        if (chunk.size() < kChunkBytes && more) continue;
        trainer.add_text(chunk);
        chunk.clear();
        console.bar(total > 0 ? static_cast<double>(counts.bytes) / static_cast<double>(total) : 1,
                    "counting words, " + bytes_text(counts.bytes) + " of " + bytes_text(total));
    }
    return counts;
}

void report(Console& console, const VocabularyTraining& result, const TextCounts& counts,
            const VocabArguments& arguments) {
    console.clear_bar();
    console.heading("vocabulary " + arguments.output);
    console.table({
        {"text", bytes_text(counts.bytes) + ", " + counted(result.words, "word") + ", " +
                     grouped(result.distinct_words) + " distinct"},
        {"tokens", grouped(result.size) + ", of them " + counted(result.alphabet, "character")},
        {"pieces",
         fixed(result.pieces_per_word(), 3) + " a word; unknown words " + fixed(100 * result.unknown_rate(), 3) + " %"},
    });
    if (result.size < arguments.options.vocab_size) {
        console.line("  note: the text yields " + grouped(result.size) + " tokens, fewer than the " +
                     grouped(arguments.options.vocab_size) +
                     " asked for; give more text, or lower --vocab-size or --min-frequency");
    }
    if (result.alphabet_dropped > 0) {
        console.line("  note: " + counted(result.alphabet_dropped, "rare character") + " left out by --limit-alphabet");
    }
    for (const std::string& warning : text_warnings(counts)) console.line("  note: " + warning);
}

void run_vocab(VocabArguments& arguments) {
    VocabularyOptions& options = arguments.options;
    options.tokenizer = {.mode = parse_tokenizer_mode(arguments.mode), .lowercase = !arguments.cased};
    try_write(arguments.output);
    require(arguments.overwrite || !std::filesystem::exists(arguments.output), arguments.output,
            " exists; choose another --output, or give --overwrite");
    Console console(arguments.quiet);
    VocabularyTrainer trainer(options);
    TextCounts counts = count_words(arguments.inputs, trainer, console);
    const VocabularyTraining result = trainer.train([&console](std::int64_t done, std::int64_t wanted) {
        console.bar(static_cast<double>(done) / static_cast<double>(wanted),
                    "merging, " + grouped(done) + " of " + counted(wanted, "token"));
    });
    require_input(result.words > 0, "no words in ", arguments.inputs.front(), "; is it text?");
    counts.invalid_utf8 = result.invalid_sequences;
    write_file_atomic(arguments.output, result.contents);
    report(console, result, counts, arguments);
    console.table({{"next", "cloze prepare --input " + arguments.inputs.front() + " --vocab " + arguments.output +
                                " --output DATASET" + (arguments.cased ? " --cased" : "") +
                                (arguments.mode == "hf" ? "" : " --mode " + arguments.mode)}});
}

}  // namespace

Command vocab_command(CLI::App& program) {
    auto arguments = std::make_shared<VocabArguments>();
    VocabularyOptions& options = arguments->options;
    CLI::App* app = program.add_subcommand("vocab", "Learn a WordPiece vocabulary from text");
    const auto value = [&](const char* flag, auto& target, const char* description, const char* kind) {
        return app->add_option(flag, target, description)->capture_default_str()->type_name(kind);
    };
    value("--input", arguments->inputs, "Text files, and folders of *.txt", "PATH")->required()->check(some_name());
    value("--vocab-size", options.vocab_size, "Tokens, special ones included", "N")
        ->required()
        ->transform(whole_number<std::int64_t>(1));
    value("--output", arguments->output, "Vocabulary to write, one token a line", "FILE")
        ->required()
        ->check(some_name());
    value("--mode", arguments->mode, "Whose tokenizer rules: google or hf", "MODE");
    app->add_flag("--cased,!--lowercase", arguments->cased, "Keep case and accents; default: lower case");
    value("--min-frequency", options.min_frequency, "Pairs seen less often are not merged", "N")
        ->transform(whole_number<std::int64_t>(1));
    value("--limit-alphabet", options.limit_alphabet, "Characters kept at most, the most frequent", "N")
        ->transform(whole_number<std::int64_t>(1));
    value("--user-tokens", options.user_tokens, "Tokens to include whatever the text", "TOKEN");
    value("--unused", options.unused, "Add [unused0] ... for later use", "N")->transform(whole_number<std::int64_t>(0));
    value("--threads", options.threads, "0: all cores; the result is the same", "N")
        ->transform(whole_number(0, kMostThreads));
    app->add_flag("--overwrite", arguments->overwrite, "Replace a file that is there");
    app->add_flag("--quiet", arguments->quiet, "Print nothing but errors");
    app->footer(R"(Example:
  cloze vocab --input books/ news.txt --vocab-size 30000 --output vocab.txt)");
    return {app, [arguments] { run_vocab(*arguments); }};
}

}  // namespace cloze
