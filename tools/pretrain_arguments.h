// Flags of `cloze pretrain` and what they come to: a recipe, which decides the numbers, and a handling, which does not.
// Tested by tests/tools/pretrain_flags_test.cpp.
#pragma once

#include <CLI/CLI.hpp>
#include <optional>
#include <string>

#include "engine/files/json.h"
#include "engine/train/run.h"

namespace cloze {

struct PretrainArguments {
    RunRecipe recipe;
    RunHandling handling;
    // As written; resolve() turns them into the two above.
    std::string data;
    std::string model;
    std::string output;
    std::string init_from;
    std::string device = "auto";
    std::string precision = "auto";
    std::string next_sentence = "nsp";
    std::string optimizer = "adamw";
    std::string schedule = "linear";
    std::string initialization = "truncated-normal";
    std::optional<double> hidden_dropout_prob;
    std::optional<double> attention_dropout_prob;
    std::optional<std::string> hidden_act;
    std::int64_t max_steps = 0;
    std::optional<std::int64_t> warmup_steps;
    double warmup_proportion = 0.1;
    bool quiet = false;
    bool dry_run = false;
    bool print_config = false;
};

void add_pretrain_flags(CLI::App& app, PretrainArguments& arguments);

/// Fills recipe and handling. Throws Fault::usage, Fault::input or Fault::device naming the flag that cannot be.
void resolve(PretrainArguments& arguments);

/// Everything resolve() decided, as JSON; "defaults" lists the flags of `app` that were not given.
Json resolved_config(const PretrainArguments& arguments, const CLI::App& app);

}  // namespace cloze
