// `cloze fill-mask`: what a checkpoint expects at the [MASK] of a text. Tested by tests/tools/pipeline_test.cpp.
#include "engine/train/fill_mask.h"

#include <cstdio>

#include "engine/files/json.h"
#include "tools/commands.h"
#include "tools/flag_checks.h"
#include "tools/format.h"

namespace cloze {
namespace {

struct FillMaskArguments {
    std::string checkpoint;
    std::vector<std::string> texts;
    int top_k = 5;
    bool json = false;
};

Json to_json(const std::string& text, const MaskFill& fill) {
    Json masks = Json::array();
    for (const auto& candidates : fill.masks) {
        Json mask = Json::array();
        for (const MaskCandidate& candidate : candidates) {
            mask.push_back({{"token", candidate.token}, {"probability", candidate.probability}});
        }
        masks.push_back(std::move(mask));
    }
    return {{"text", text}, {"masks", std::move(masks)}};
}

void print(const std::string& text, const MaskFill& fill) {
    std::printf("%s\n", text.c_str());
    for (std::size_t i = 0; i < fill.masks.size(); ++i) {
        if (fill.masks.size() > 1) std::printf("  [MASK] %zu\n", i + 1);
        for (const MaskCandidate& candidate : fill.masks[i]) {
            std::printf("  %7s  %s\n", percent(candidate.probability).c_str(), candidate.token.c_str());
        }
    }
}

void run_fill_mask(const FillMaskArguments& arguments) {
    const std::vector<MaskFill> fills = fill_mask(arguments.checkpoint, arguments.texts, arguments.top_k);
    for (std::size_t i = 0; i < fills.size(); ++i) {
        if (arguments.json) {
            std::printf("%s\n", json_line(to_json(arguments.texts[i], fills[i])).c_str());
        } else {
            print(arguments.texts[i], fills[i]);
        }
    }
}

}  // namespace

Command fill_mask_command(CLI::App& program) {
    auto arguments = std::make_shared<FillMaskArguments>();
    CLI::App* app = program.add_subcommand("fill-mask", "Show what a checkpoint expects at [MASK]");
    app->add_option("--checkpoint", arguments->checkpoint, "Checkpoint, or a run's folder: its newest")
        ->required()
        ->check(some_name())
        ->type_name("DIR");
    app->add_option("TEXT", arguments->texts, "Texts, each with at least one [MASK]")->required();
    app->add_option("--top-k", arguments->top_k, "Candidates for each [MASK]")
        ->transform(whole_number(1, 1000))
        ->capture_default_str()
        ->type_name("N");
    app->add_flag("--json", arguments->json, "One JSON object a text");
    app->footer(R"(Example:
  cloze fill-mask --checkpoint run "The [MASK] was a great success.")");
    return {app, [arguments] { run_fill_mask(*arguments); }};
}

}  // namespace cloze
