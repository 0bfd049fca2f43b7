// Parsing of the command line around CLI11: flags may be written with hyphens or underscores, a misspelt flag or
// command is answered with the nearest one, every complaint is one line. Tested by tests/tools/command_line_test.cpp.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "tools/commands.h"

namespace cloze {

/// "--max_steps=a_b" becomes "--max-steps=a_b"; values stay, and so does everything after a lone "--".
std::vector<std::string> normalized_flags(std::vector<std::string> arguments);

/// The known word with the fewest changes to `word`; empty when none is near.
std::string nearest_word(const std::string& word, const std::vector<std::string>& known);

/// The program `cloze` with all its subcommands.
class CommandLine {
public:
    CommandLine();

    /// "cloze pretrain" once parse() has seen the subcommand; how messages begin.
    const std::string& name() const { return name_; }

    /// Runs what the arguments (without the program's name) say. Throws Fault::usage for arguments that make no sense.
    void run(const std::vector<std::string>& arguments);

private:
    const Command& find_command(const std::vector<std::string>& arguments);
    void parse(std::vector<std::string> arguments);

    std::unique_ptr<CLI::App> program_;
    std::vector<Command> commands_;
    std::string name_ = "cloze";
};

}  // namespace cloze
