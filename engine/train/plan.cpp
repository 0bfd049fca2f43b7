#include "engine/train/plan.h"

#include <algorithm>
#include <cmath>

#include "kernels/core/integer.h"
#include "kernels/core/parallel.h"

namespace cloze {
namespace {

constexpr std::int64_t kMostTokens = std::int64_t{1} << 24;  // of a micro-batch: engine/data/step_shape.cpp
constexpr std::int64_t kMostUseful = std::int64_t{1} << 20;  // no GPU gets faster by larger ones
constexpr std::int64_t kMostSequences = std::int64_t{1} << 24;

/// Groups in the order of the report.
enum Group : std::size_t {
    weights,
    working,
    moments,
    gradients,
    layers,
    embedding,
    heads,
    backward,
    scratch,
    feed,
    workspace,
    other,
    groups
};
constexpr const char* kGroupNames[groups] = {"weights",
                                             "working copy",
                                             "moments",
                                             "gradients",
                                             "activations: layers",
                                             "activations: embedding",
                                             "activations: heads",
                                             "backward buffers",
                                             "scratch",
                                             "micro-batch buffers",
                                             "products' workspace",
                                             "other"};

/// By the names that the layouts of trainer.cpp and engine/model/activations.cpp give.
Group group_of(const std::string& name) {
    if (name.ends_with("scratch")) return scratch;
    if (name == "weights") return weights;
    if (name == "working weights") return working;
    if (name.ends_with(" moment")) return moments;
    if (name.starts_with("gradient.")) return gradients;
    if (name.starts_with("layer.")) return layers;
    if (name.starts_with("embedding.")) return embedding;
    if (name.starts_with("heads.")) return heads;
    if (name.starts_with("backward.")) return backward;
    return name == kMicroBatchPart ? feed : other;
}

void require_plannable(const RunRecipe& recipe) {
    require_settings(recipe.samples);
    require_config(recipe.model, "model");
    const std::int64_t ranks = recipe.virtual_ranks;
    require(ranks >= 1 && (ranks & (ranks - 1)) == 0, "--virtual-ranks ", ranks, " is not a power of two");
    require_device_recipe(recipe);
    require(recipe.global_batch_size >= 1 && recipe.global_batch_size <= kMostSequences, "--global-batch-size ",
            recipe.global_batch_size, " is outside [1, ", kMostSequences, "]");
    const std::int64_t longest = recipe.samples.max_seq_length;
    require(longest <= recipe.model.max_position_embeddings, "--max-seq-length ", longest,
            " is above the model's position table (max_position_embeddings ", recipe.model.max_position_embeddings,
            "); use at most that, or a config.json with a larger table");
    require(recipe.micro_batch_tokens >= longest && recipe.micro_batch_tokens <= kMostTokens, "--micro-batch-tokens ",
            recipe.micro_batch_tokens, " is outside [--max-seq-length ", longest, ", ", kMostTokens, "]");
}

/// M, T, S and P where every sequence has max_seq_length tokens.
StepShape full_shape(const RunRecipe& recipe) {
    const std::int64_t length = recipe.samples.max_seq_length, ranks = recipe.virtual_ranks;
    const std::int64_t most = recipe.micro_batch_tokens / length;
    const std::int64_t micro_batches = round_up(divide_up(recipe.global_batch_size, most), ranks);
    const std::int64_t sequences = divide_up(recipe.global_batch_size, micro_batches);
    const std::int64_t tokens = round_up(sequences * length, 8);
    return {.micro_batches = micro_batches,
            .capacity = {.tokens = tokens,
                         .sequences = std::min(round_up(sequences, 8), tokens),
                         .masked = std::min(round_up(sequences * recipe.samples.predictions(length), 8), tokens)},
            .sequences_per_step = static_cast<double>(sequences * micro_batches),
            .mean_length = static_cast<double>(length),
            .fill = static_cast<double>(sequences * length) / static_cast<double>(tokens)};
}

/// To the next smaller size that is worth a try.
std::int64_t step_down(std::int64_t tokens, std::int64_t unit) {
    return std::max(unit, tokens / 256 / unit * unit);
}

}  // namespace

std::vector<MemoryGroup> memory_groups(const BertConfig& config, const TrainerOptions& options) {
    std::vector<MemoryGroup> result;
    for (const char* name : kGroupNames) result.push_back({.name = name, .bytes = 0});
    for (const ArenaPart& part : Trainer::planned_parts(config, options))
        result[group_of(part.name)].bytes += part.bytes;
    result[workspace].bytes = Device::planned_bytes();
    return result;
}

double TrainingPlan::expected_step_seconds(const BertConfig& config, const DeviceProfile& profile) const {
    const double micro_batch_tokens = step_tokens / static_cast<double>(shape.micro_batches);
    const StepWork work{
        .config = config, .trainer = trainer, .pairs = pairs_of(config, micro_batch_tokens, shape.mean_length)};
    double seconds = 0;
    for (const OpCost& op : step_costs(work)) seconds += expected_seconds(op, profile);
    return seconds;
}

Planner::Planner(const RunRecipe& recipe, int threads) : recipe_(recipe) {
    set_thread_count(threads);
    require_plannable(recipe_);
    if (recipe_.data.empty()) return;
    const Dataset data = Dataset::open(recipe_.data);
    fit_vocabulary(recipe_.model, data, notes_);
    require_config(recipe_.model, "model");
    sampler_ =
        std::make_shared<const Sampler>(data.tokens(Split::train), recipe_.samples, token_roles(data.vocabulary()));
    epoch_ = std::make_shared<const EpochPlan>(*sampler_, 0, thread_count());
}

double Planner::mean_length() const {
    return epoch_ ? epoch_->mean_length() : static_cast<double>(recipe_.samples.max_seq_length);
}

TrainingPlan Planner::plan_of(const RunRecipe& recipe) const {
    TrainingPlan plan{};
    plan.shape = epoch_ ? step_shape_of(recipe, *sampler_, *epoch_) : full_shape(recipe);
    plan.trainer = trainer_options(recipe, plan.shape, Place::device);
    plan.memory_bytes = Trainer::planned_bytes(recipe.model, plan.trainer) + Device::planned_bytes();
    plan.step_tokens = plan.shape.sequences_per_step * mean_length();
    plan.step_flops = step_flops(recipe.model, plan.shape.sequences_per_step, plan.step_tokens,
                                 plan.step_tokens * recipe.samples.masked_lm_prob);
    return plan;
}

/// With micro-batches of at most `tokens`, and as many sequences a step as fill them.
TrainingPlan Planner::filled(std::int64_t tokens) const {
    RunRecipe recipe = recipe_;
    recipe.micro_batch_tokens = tokens;
    const double sequences = static_cast<double>(tokens * recipe.virtual_ranks) * (epoch_ ? 0.995 : 1) / mean_length();
    recipe.global_batch_size = std::clamp<std::int64_t>(static_cast<std::int64_t>(sequences), 1, kMostSequences);
    return plan_of(recipe);
}

/// What filled() would take, without packing the data for it: its shape in the proportions of `known`.
std::int64_t Planner::scaled_bytes(std::int64_t tokens, const TrainingPlan& known) const {
    if (!epoch_) return filled(tokens).memory_bytes;
    const BatchCapacity& capacity = known.shape.capacity;
    const auto scaled = [&](std::int64_t count) { return round_up(divide_up(count * tokens, capacity.tokens), 8); };
    TrainerOptions trainer = known.trainer;
    trainer.model.capacity = {
        .tokens = tokens, .sequences = scaled(capacity.sequences), .masked = scaled(capacity.masked)};
    return Trainer::planned_bytes(recipe_.model, trainer) + Device::planned_bytes();
}

std::optional<TrainingPlan> Planner::largest(std::int64_t bytes) const {
    const TrainingPlan known = plan();
    const std::int64_t longest = recipe_.samples.max_seq_length, unit = epoch_ ? 8 : longest;
    std::int64_t fits = 0, too_large = kMostUseful / unit + 1;  // in units
    while (too_large - fits > 1) {
        const std::int64_t middle = fits + (too_large - fits) / 2;
        (scaled_bytes(middle * unit, known) <= bytes ? fits : too_large) = middle;
    }
    for (std::int64_t tokens = fits * unit; tokens >= round_up(longest, unit); tokens -= step_down(tokens, unit)) {
        TrainingPlan plan = filled(tokens);
        if (plan.memory_bytes <= bytes) return plan;
    }
    return std::nullopt;
}

}  // namespace cloze
