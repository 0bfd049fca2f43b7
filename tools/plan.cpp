// `cloze plan`: what a run would take on a GPU, without one. Tested by tests/tools/plan_test.cpp.
#include <cmath>
#include <cstdio>

#include "tools/commands.h"
#include "tools/device_choice.h"
#include "tools/flag_checks.h"
#include "tools/plan_report.h"

namespace cloze {
namespace {

struct PlanArguments {
    RunRecipe recipe;
    std::string model;
    std::string data;
    std::string precision = "bf16";
    std::string optimizer = "adamw";
    std::string next_sentence = "nsp";
    std::string card;
    std::optional<double> memory_gib;
    std::int64_t sequences = 0;
    std::int64_t max_steps = 0;
    std::int64_t world_size = 1;
    int threads = 0;
    bool json = false;
};

constexpr double kGibibyte = 1024.0 * 1024 * 1024;

void resolve(PlanArguments& a) {
    RunRecipe& recipe = a.recipe;
    require(a.world_size == 1, "--world-size ", a.world_size,
            ": one process trains on one GPU in this version; plan for --world-size 1");
    recipe.model = config_from(a.model);
    recipe.data = a.data;
    recipe.precision = precision_from(a.precision, true);
    recipe.optimizer.kind = optimizer_from(a.optimizer);
    recipe.samples.next_sentence = parse_next_sentence(a.next_sentence);
    if (a.sequences == 0) return;
    const bool fits = !__builtin_mul_overflow(a.sequences, recipe.samples.max_seq_length, &recipe.micro_batch_tokens);
    require(fits, "--sequences ", a.sequences, " of --max-seq-length ", recipe.samples.max_seq_length,
            " are more tokens than can be counted");
}

std::vector<PlannedCard> cards_of(const PlanArguments& a, const Planner& planner) {
    std::vector<PlannedCard> cards;
    const auto add = [&](const std::string& name, std::int64_t bytes, std::optional<DeviceProfile> profile) {
        cards.push_back(
            {.name = name, .usable_bytes = bytes, .profile = std::move(profile), .largest = planner.largest(bytes)});
    };
    const auto asked = [&] { return static_cast<std::int64_t>(std::floor(*a.memory_gib * kGibibyte)); };
    if (!a.card.empty()) {
        const DeviceProfile& profile = profile_of_card(a.card);
        add(a.card, a.memory_gib ? asked() : profile.usable_bytes(), profile);
    } else if (a.memory_gib) {
        add("yours", asked(), std::nullopt);
    } else {
        for (const DeviceProfile& profile : device_profiles()) add(profile.card, profile.usable_bytes(), profile);
    }
    return cards;
}

void run_plan(PlanArguments& arguments) {
    resolve(arguments);
    const Planner planner(arguments.recipe, arguments.threads);
    const PlanReport report{.planner = planner,
                            .plan = planner.plan(),
                            .cards = cards_of(arguments, planner),
                            .max_steps = arguments.max_steps};
    if (arguments.json) {
        std::printf("%s\n", json_line(plan_json(report)).c_str());
        return;
    }
    Console console(false);
    print_plan(console, report);
}

void add_recipe_flags(CLI::App& app, PlanArguments& a) {
    const auto value = [&](const char* flag, auto& target, const char* description, const char* kind) {
        return app.add_option(flag, target, description)->capture_default_str()->type_name(kind)->group("Run");
    };
    RunRecipe& recipe = a.recipe;
    value("--model", a.model, "tiny, mini, small, medium, base, large, or config.json", "MODEL")
        ->required()
        ->check(some_name());
    value("--data", a.data, "Dataset: its lengths instead of full sequences", "DIR")->check(some_name());
    value("--max-seq-length", recipe.samples.max_seq_length, "Tokens of a sequence, special ones included", "N")
        ->transform(whole_number<std::int64_t>(0));
    value("--global-batch-size", recipe.global_batch_size, "Sequences a step, on average", "N")
        ->transform(whole_number<std::int64_t>(1));
    CLI::Option* tokens = value("--micro-batch-tokens", recipe.micro_batch_tokens, "Upper limit of a micro-batch", "N")
                              ->transform(whole_number<std::int64_t>(1));
    app.add_option("--sequences", a.sequences, "The same in full sequences")
        ->type_name("N")
        ->group("Run")
        ->transform(whole_number<std::int64_t>(1))
        ->excludes(tokens);
    value("--virtual-ranks", recipe.virtual_ranks, "Shares of a step with sums of their own", "N")
        ->transform(whole_number<std::int64_t>(1));
    value("--world-size", a.world_size, "Processes, each with a GPU; 1 in this version", "N")
        ->transform(whole_number<std::int64_t>(1));
    value("--precision", a.precision, "bf16", "TYPE");
    value("--optimizer", a.optimizer, "adamw or lamb", "NAME");
    value("--next-sentence", a.next_sentence, "nsp: pairs and their head; none", "KIND");
    value("--masked-lm-prob", recipe.samples.masked_lm_prob, "Share of tokens to predict", "X");
    value("--seed", recipe.samples.seed, "Of the samples", "N")->transform(whole_number<std::uint64_t>(0));
    value("--threads", a.threads, "That read the data; 0: all cores", "N")->transform(whole_number(0, kMostThreads));
}

void add_card_flags(CLI::App& app, PlanArguments& a) {
    std::string cards;
    for (const DeviceProfile& profile : device_profiles()) cards += (cards.empty() ? "" : ", ") + profile.card;
    app.add_option("--card", a.card, cards + " [all]")->type_name("NAME")->group("Card")->check(some_name());
    app.add_option("--memory-gib", a.memory_gib, "What the run may fill, instead of a card's")
        ->type_name("X")
        ->group("Card")
        ->check(number_within(0.001, 1e6));
    app.add_option("--max-steps", a.max_steps, "How long these would take")
        ->type_name("N")
        ->group("Card")
        ->transform(whole_number<std::int64_t>(1));
    app.add_flag("--json", a.json, "Print one JSON object")->group("Card");
}

}  // namespace

Command plan_command(CLI::App& program) {
    auto arguments = std::make_shared<PlanArguments>();
    CLI::App* app = program.add_subcommand("plan", "Memory and time of a run on a GPU, without one");
    add_recipe_flags(*app, *arguments);
    add_card_flags(*app, *arguments);
    app->footer(R"(Bytes are exact: those of the run with the same flags. Times are estimates.

Examples:
  cloze plan --model large --max-seq-length 512 --micro-batch-tokens 24576
  cloze plan --model base --data dataset --card a100-40 --max-steps 100000)");
    return {app, [arguments] { run_plan(*arguments); }};
}

}  // namespace cloze
