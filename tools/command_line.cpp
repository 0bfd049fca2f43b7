#include "tools/command_line.h"

#include <algorithm>
#include <cstdio>
#include <numeric>

#include "engine/files/system_calls.h"
#include "tools/help_formatter.h"

namespace cloze {
namespace {

/// Insertions, deletions, replacements and swaps of neighbours that turn one word into the other.
std::size_t changes_between(const std::string& one, const std::string& other) {
    std::vector<std::size_t> before(other.size() + 1);
    std::vector<std::size_t> last(other.size() + 1);
    std::vector<std::size_t> row(other.size() + 1);
    std::iota(last.begin(), last.end(), 0);
    for (std::size_t i = 1; i <= one.size(); ++i) {
        row[0] = i;
        for (std::size_t j = 1; j <= other.size(); ++j) {
            row[j] = std::min({last[j] + 1, row[j - 1] + 1, last[j - 1] + (one[i - 1] == other[j - 1] ? 0 : 1)});
            const bool swapped = i > 1 && j > 1 && one[i - 1] == other[j - 2] && one[i - 2] == other[j - 1];
            if (swapped) row[j] = std::min(row[j], before[j - 2] + 1);
        }
        before.swap(last);
        last.swap(row);
    }
    return last.back();
}

bool is_flag(const std::string& argument) {
    return argument.size() > 2 && argument.starts_with("--");
}

std::string flag_name(const std::string& argument) {
    return argument.substr(0, argument.find('='));
}

std::vector<std::string> flags_of(const CLI::App& command) {
    std::vector<std::string> names;
    for (const CLI::Option* option : command.get_options()) {
        for (const std::string& name : option->get_lnames()) names.push_back("--" + name);
    }
    return names;
}

/// CLI11 would report a missing required flag first, though the user did give it, misspelt.
void require_known_flags(const CLI::App& command, const std::vector<std::string>& arguments) {
    const std::vector<std::string> known = flags_of(command);
    for (const std::string& argument : arguments) {
        if (argument == "--") return;
        if (!is_flag(argument)) continue;
        const std::string name = flag_name(argument);
        if (std::find(known.begin(), known.end(), name) != known.end()) continue;
        const std::string near = nearest_word(name, known);
        fail(Fault::usage, "unknown flag ", name, near.empty() ? "" : "; did you mean " + near + "?",
             near.empty() ? "; " : " ", "--help lists the flags");
    }
}

/// CLI11 takes "[MASK] to [MASK]" for a list in brackets; a mark in front keeps it the text it is.
constexpr char kTextMark = '\x01';

std::vector<std::string> with_marked_texts(std::vector<std::string> arguments) {
    bool flags_end = false;
    for (std::string& argument : arguments) {
        const std::size_t equals = is_flag(argument) && !flags_end ? argument.find('=') : std::string::npos;
        const std::size_t start = equals == std::string::npos ? 0 : equals + 1;
        if (argument.size() > start && argument[start] == '[') argument.insert(start, 1, kTextMark);
        flags_end = flags_end || argument == "--";
    }
    return arguments;
}

void take_marks_off(CLI::App& command) {
    for (CLI::Option* option : command.get_options()) {
        if (option->get_type_size() == 0) continue;
        option->transform(
            [](const std::string& value) { return value.starts_with(kTextMark) ? value.substr(1) : value; });
    }
}

/// Sentences of CLI11 may span lines and end without a hint.
std::string one_line(std::string message) {
    while (!message.empty() && message.back() == '\n') message.pop_back();
    std::replace(message.begin(), message.end(), '\n', ' ');
    return message;
}

constexpr const char* kExamples = R"(Examples:
  cloze vocab    --input text/ --vocab-size 8000 --output vocab.txt
  cloze prepare  --input text/ --vocab vocab.txt --output dataset
  cloze pretrain --data dataset --model tiny --output run --max-steps 1000
  cloze fill-mask --checkpoint run "Paris is the [MASK] of France."

Each command explains itself: cloze pretrain --help. Flags may be written with
hyphens or underscores. Exit codes: 0 done, 1 internal error, 2 usage, 3 bad
input, 4 input/output failed, 5 diverged, 6 no usable device, 75 stopped after
saving: run the same command again.)";

}  // namespace

std::vector<std::string> normalized_flags(std::vector<std::string> arguments) {
    for (std::string& argument : arguments) {
        if (argument == "--") break;
        if (!is_flag(argument)) continue;
        const std::size_t end = std::min(argument.find('='), argument.size());
        std::replace(argument.begin(), argument.begin() + static_cast<std::ptrdiff_t>(end), '_', '-');
    }
    return arguments;
}

std::string nearest_word(const std::string& word, const std::vector<std::string>& known) {
    std::string nearest;
    std::size_t fewest = std::max<std::size_t>(2, word.size() / 3) + 1;
    for (const std::string& candidate : known) {
        const std::size_t changes = changes_between(word, candidate);
        if (changes < fewest) {
            fewest = changes;
            nearest = candidate;
        }
    }
    return nearest;
}

CommandLine::CommandLine() : program_(std::make_unique<CLI::App>("Pretrains BERT encoders from raw text.", "cloze")) {
    program_->formatter(std::make_shared<HelpFormatter>());
    program_->footer(kExamples);
    program_->set_help_flag("--help,-h", "Show this help");
    program_->set_version_flag("--version", CLOZE_VERSION, "Print the version");
    for (const auto& declare : {vocab_command, prepare_command, plan_command, pretrain_command, evaluate_command,
                                fill_mask_command, tokenize_command, inspect_command, version_command}) {
        commands_.push_back(declare(*program_));
        commands_.back().app->set_help_flag("--help,-h", "Show this help");
        take_marks_off(*commands_.back().app);
    }
}

const Command& CommandLine::find_command(const std::vector<std::string>& arguments) {
    std::vector<std::string> names;
    for (const Command& command : commands_) names.push_back(command.app->get_name());
    std::string all = std::accumulate(
        names.begin(), names.end(), std::string(),
        [](std::string list, const std::string& name) { return std::move(list) + (list.empty() ? "" : ", ") + name; });
    require(!arguments.empty(), "name a command: ", all, "; cloze --help explains them");
    std::string word = arguments.front();
    std::replace(word.begin(), word.end(), '_', '-');
    const auto found = std::find(names.begin(), names.end(), word);
    if (found == names.end()) {
        const std::string near = nearest_word(word, names);
        fail(Fault::usage, "unknown command '", arguments.front(), "'; ",
             near.empty() ? "there are " + all : "did you mean " + near + "?");
    }
    return commands_[static_cast<std::size_t>(found - names.begin())];
}

void CommandLine::parse(std::vector<std::string> arguments) {
    arguments = with_marked_texts(std::move(arguments));
    std::reverse(arguments.begin(), arguments.end());  // the order CLI11 takes them in
    program_->parse(std::move(arguments));
}

void CommandLine::run(const std::vector<std::string>& given) {
    std::vector<std::string> arguments = normalized_flags(given);
    const Command* command = nullptr;
    const bool about_program = !arguments.empty() && arguments.front().starts_with("-");
    if (about_program) {
        require_known_flags(*program_, arguments);
    } else {
        command = &find_command(arguments);
        arguments.front() = command->app->get_name();
        name_ = "cloze " + command->app->get_name();
        require_known_flags(*command->app, arguments);
    }
    try {
        parse(std::move(arguments));
    } catch (const CLI::CallForHelp&) {
        std::fputs(program_->help().c_str(), stdout);
        return;
    } catch (const CLI::CallForVersion& version) {
        std::printf("cloze %s\n", version.what());
        return;
    } catch (const CLI::ParseError& error) {
        fail(Fault::usage, one_line(error.what()), "; ", name_, " --help explains the arguments");
    }
    require(command != nullptr, "name a command; cloze --help lists them");
    command->run();
}

}  // namespace cloze
