#include "tools/plan_report.h"

#include <cmath>

#include "tools/format.h"

namespace cloze {
namespace {

constexpr int kMeterColumns = 30;

/// Expected seconds of a step, and whether the plan's micro-batch fits at all.
std::optional<double> step_seconds(const PlanReport& report, const PlannedCard& card) {
    if (!card.profile || report.plan.memory_bytes > card.usable_bytes) return std::nullopt;
    return report.plan.expected_step_seconds(report.planner.recipe().model, *card.profile);
}

std::string batch_text(const TrainingPlan& plan) {
    const BatchCapacity& capacity = plan.shape.capacity;
    return counted(capacity.tokens, "token") + ", at most " + grouped(capacity.masked) +
           " of them predicted, in up to " + counted(capacity.sequences, "sequence");
}

void print_step(Console& console, const PlanReport& report) {
    const RunRecipe& recipe = report.planner.recipe();
    const TrainingPlan& plan = report.plan;
    const BertConfig& model = recipe.model;
    const int ranks = static_cast<int>(recipe.virtual_ranks);
    const std::string lengths = recipe.data.empty()
                                    ? "every sequence " + counted(recipe.samples.max_seq_length, "token") + " long"
                                    : fixed(plan.shape.mean_length, 1) + " tokens a sequence on average";
    console.heading("plan: one process on one GPU");
    console.table({
        {"model", grouped(model.num_hidden_layers) + " layers x " + grouped(model.hidden_size) + ", " +
                      counted(parameter_table(model).parameter_count(), "parameter")},
        {"numbers", std::string(name_of(recipe.precision)) + ", weights in f32; " + name_of(recipe.optimizer.kind) +
                        (ranks > 1 ? "; " + counted(ranks, "virtual rank") : "")},
        {"micro-batch", batch_text(plan)},
        {"step", counted(plan.shape.micro_batches, "micro-batch") + " = " + fixed(plan.shape.sequences_per_step, 1) +
                     " sequences, " + lengths + "; " + scaled(plan.step_flops) + "FLOP"},
    });
    for (const std::string& note : report.planner.notes()) console.line("  note: " + note);
}

void print_memory(Console& console, const PlanReport& report) {
    const auto total = static_cast<double>(report.plan.memory_bytes);
    console.heading("memory on the device: " + bytes_text(report.plan.memory_bytes) + ", " +
                    grouped(report.plan.memory_bytes) + " bytes");
    for (const MemoryGroup& group : memory_groups(report.planner.recipe().model, report.plan.trainer)) {
        if (group.bytes == 0) continue;
        const double share = static_cast<double>(group.bytes) / total;
        std::string name = group.name;
        if (group.name == "activations: layers") {
            name += " (" + grouped(report.planner.recipe().model.num_hidden_layers) + ")";
        }
        console.line("  " + left(name, 25) + right(bytes_text(group.bytes), 10) + right(percent(share), 8) + "  " +
                     meter(share, kMeterColumns, console.display().unicode));
    }
}

std::string largest_text(const PlannedCard& card) {
    if (!card.largest) return "not one sequence fits";
    const BatchCapacity& capacity = card.largest->shape.capacity;
    const double sequences =
        card.largest->shape.sequences_per_step / static_cast<double>(card.largest->shape.micro_batches);
    return grouped(capacity.tokens) + " tokens, " + grouped(std::llround(sequences)) + " sequences";
}

void print_cards(Console& console, const PlanReport& report) {
    const bool timed = report.max_steps > 0;
    console.heading("cards: what a process can fill, the largest micro-batch, and about the time of the step above");
    console.line("  " + left("card", 13) + right("memory", 10) + "  " + left("largest micro-batch", 32) +
                 right("step", 10) + right("tokens/s", 11) + (timed ? right("all steps", 18) : ""));
    for (const PlannedCard& card : report.cards) {
        std::string line =
            "  " + left(card.name, 13) + right(bytes_text(card.usable_bytes), 10) + "  " + left(largest_text(card), 32);
        const std::optional<double> seconds = step_seconds(report, card);
        if (seconds) {
            line += right(fixed(1000 * *seconds, *seconds < 0.1 ? 1 : 0) + " ms", 10) +
                    right(scaled(report.plan.step_tokens / *seconds), 11);
            if (timed) line += right(duration_text(*seconds * static_cast<double>(report.max_steps)), 18);
        } else {
            line += right(report.plan.memory_bytes > card.usable_bytes ? "too large" : "-", 10);
        }
        console.line(line);
    }
    console.line(
        "  Times are estimates: measured on an H200; for other cards the vendor's figures times the share that");
    console.line("  the H200 reaches of its own (docs/performance.md).");
}

Json capacity_json(const TrainingPlan& plan) {
    return {{"tokens", plan.shape.capacity.tokens},
            {"sequences", plan.shape.capacity.sequences},
            {"masked", plan.shape.capacity.masked},
            {"mean_sequences", plan.shape.sequences_per_step / static_cast<double>(plan.shape.micro_batches)},
            {"memory_bytes", plan.memory_bytes}};
}

Json card_json(const PlanReport& report, const PlannedCard& card) {
    Json json = {{"card", card.name},
                 {"usable_bytes", card.usable_bytes},
                 {"fits", report.plan.memory_bytes <= card.usable_bytes},
                 {"largest_micro_batch", card.largest ? capacity_json(*card.largest) : Json()}};
    if (card.profile) {
        json["measured"] = card.profile->measured;
        json["product_flops_per_second"] = card.profile->product_flops_per_second;
        json["copy_bytes_per_second"] = card.profile->copy_bytes_per_second;
    }
    if (const std::optional<double> seconds = step_seconds(report, card)) {
        json["expected_step_seconds"] = *seconds;
        json["tokens_per_second"] = report.plan.step_tokens / *seconds;
        json["model_flops_utilization"] = report.plan.step_flops / *seconds / card.profile->stated_flops_per_second;
        if (report.max_steps > 0) json["hours"] = *seconds * static_cast<double>(report.max_steps) / 3600;
    }
    return json;
}

}  // namespace

void print_plan(Console& console, const PlanReport& report) {
    print_step(console, report);
    print_memory(console, report);
    print_cards(console, report);
}

Json plan_json(const PlanReport& report) {
    const RunRecipe& recipe = report.planner.recipe();
    const TrainingPlan& plan = report.plan;
    Json groups = Json::array(), cards = Json::array(), tensors = Json::array();
    for (const MemoryGroup& group : memory_groups(recipe.model, plan.trainer)) {
        groups.push_back({{"name", group.name}, {"bytes", group.bytes}});
    }
    for (const ArenaPart& part : Trainer::planned_parts(recipe.model, plan.trainer)) {
        tensors.push_back({{"name", part.name}, {"bytes", part.bytes}});
    }
    for (const PlannedCard& card : report.cards) cards.push_back(card_json(report, card));
    Json json = {{"parameters", parameter_table(recipe.model).parameter_count()},
                 {"precision", name_of(recipe.precision)},
                 {"optimizer", name_of(recipe.optimizer.kind)},
                 {"virtual_ranks", recipe.virtual_ranks},
                 {"world_size", 1},
                 {"memory_bytes", plan.memory_bytes},
                 {"memory", std::move(groups)},
                 {"tensors", std::move(tensors)},
                 {"micro_batch", capacity_json(plan)},
                 {"step",
                  {{"micro_batches", plan.shape.micro_batches},
                   {"sequences", plan.shape.sequences_per_step},
                   {"tokens", plan.step_tokens},
                   {"mean_sequence_tokens", plan.shape.mean_length},
                   {"flops", plan.step_flops}}},
                 {"cards", std::move(cards)},
                 {"notes", report.planner.notes()}};
    if (report.max_steps > 0) json["max_steps"] = report.max_steps;
    return json;
}

}  // namespace cloze
