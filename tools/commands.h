// The subcommands of `cloze`, one file each: tools/<name>.cpp. Each function declares its flags; what it returns runs
// the command after parsing and throws an Error when something is wrong.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>

namespace cloze {

struct Command {
    CLI::App* app;
    std::function<void()> run;
};

Command vocab_command(CLI::App& program);
Command prepare_command(CLI::App& program);
Command plan_command(CLI::App& program);
Command pretrain_command(CLI::App& program);
Command evaluate_command(CLI::App& program);
Command fill_mask_command(CLI::App& program);
Command tokenize_command(CLI::App& program);
Command inspect_command(CLI::App& program);
Command version_command(CLI::App& program);

}  // namespace cloze
