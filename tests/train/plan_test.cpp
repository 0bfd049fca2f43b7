#include "engine/train/plan.h"

#include <catch2/catch.hpp>

using namespace cloze;

namespace {

RunRecipe recipe_of(const std::string& model, std::int64_t max_seq_length, std::int64_t sequences) {
    RunRecipe recipe{};
    recipe.model = preset_config(model);
    recipe.model.hidden_act = "gelu_new";
    recipe.samples.max_seq_length = max_seq_length;
    recipe.samples.max_predictions_per_seq = max_seq_length == 128 ? 20 : 76;
    recipe.precision = DType::bf16;
    recipe.global_batch_size = sequences;
    recipe.micro_batch_tokens = sequences * max_seq_length;
    return recipe;
}

double milliseconds(const RunRecipe& recipe) {
    return 1000 * Planner(recipe, 1).plan().expected_step_seconds(recipe.model, profile_of_card("h200"));
}

}  // namespace

TEST_CASE("a plan's memory is the sum of its groups, and every tensor belongs to one") {
    for (const char* model : {"tiny", "base", "large"}) {
        for (const std::int64_t ranks : {1, 8}) {
            RunRecipe recipe = recipe_of(model, 128, 64);
            recipe.virtual_ranks = ranks;
            const TrainingPlan plan = Planner(recipe, 1).plan();
            std::int64_t bytes = 0;
            for (const MemoryGroup& group : memory_groups(recipe.model, plan.trainer)) {
                bytes += group.bytes;
                if (group.name == "other") CHECK(group.bytes < 64 << 10);
            }
            CHECK(bytes == plan.memory_bytes);
            CHECK(bytes == Trainer::planned_bytes(recipe.model, plan.trainer) + Device::planned_bytes());
            CHECK(plan.shape.micro_batches == ranks);
        }
    }
}

TEST_CASE("a plan without data has full sequences") {
    RunRecipe recipe = recipe_of("base", 512, 48);
    recipe.global_batch_size = 256;
    const TrainingPlan plan = Planner(recipe, 1).plan();
    CHECK(plan.shape.micro_batches == 6);
    CHECK(plan.shape.capacity.tokens == 43 * 512);
    CHECK(plan.shape.capacity.sequences == 48);
    CHECK(plan.shape.capacity.masked == 3272);
    CHECK(plan.shape.sequences_per_step == 258);
    CHECK(plan.step_tokens == 258 * 512);
}

TEST_CASE("the largest micro-batch fits and the next does not") {
    for (const char* card : {"h200", "a100-40", "rtx-3090"}) {
        const RunRecipe recipe = recipe_of("large", 512, 8);
        const std::int64_t usable = profile_of_card(card).usable_bytes();
        const std::optional<TrainingPlan> largest = Planner(recipe, 1).largest(usable);
        REQUIRE(largest);
        CHECK(largest->memory_bytes <= usable);
        const std::int64_t sequences = largest->shape.capacity.tokens / 512;
        CHECK(Planner(recipe_of("large", 512, sequences + 1), 1).plan().memory_bytes > usable);
    }
    CHECK(!Planner(recipe_of("large", 512, 8), 1).largest(std::int64_t{4} << 30));
}

// Medians of benchmarks/device_step.cpp on an H200, 2026-11-27; the shares of step_cost.cpp come from two of the three.
TEST_CASE("expected times are within a tenth of the steps that were measured") {
    CHECK(milliseconds(recipe_of("large", 512, 48)) == Approx(99.8).epsilon(0.1));
    CHECK(milliseconds(recipe_of("large", 128, 192)) == Approx(88.0).epsilon(0.1));
    CHECK(milliseconds(recipe_of("base", 512, 96)) == Approx(61.1).epsilon(0.1));
}
