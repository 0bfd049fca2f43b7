#include "engine/train/trainer.h"

#include <algorithm>
#include <cmath>

namespace cloze {
namespace {

/// The optimizer's and the gradients' memory.
struct Layout {
    Tensor weights, first_moment, second_moment;
    Tensor segment_square, norm_scratch, optimizer_scratch;
    GradientTree tree;
};

Layout lay_out(Arena& arena, const ParameterTable& table, const std::vector<Segment>& segments,
               const TrainerOptions& options) {
    const DType dtype = statistics_dtype(options.model.working);
    const std::int64_t count = static_cast<std::int64_t>(segments.size());
    const std::int64_t scratch = optimizer_update_scratch(options.optimizer.kind, table.elements, count);
    return {.weights = arena.tensor("weights", dtype, 1, table.elements),
            .first_moment = arena.tensor("first moment", dtype, 1, table.elements),
            .second_moment = arena.tensor("second moment", dtype, 1, table.elements),
            .segment_square = arena.tensor("segment squares", DType::f64, 1, count),
            .norm_scratch = arena.tensor("norm scratch", DType::f64, 1, gradient_norm_scratch(table.elements, count)),
            .optimizer_scratch = scratch == 0 ? Tensor{} : arena.tensor("optimizer scratch", DType::f64, 1, scratch),
            .tree = GradientTree(arena, table.elements, dtype, options.virtual_ranks)};
}

/// Without the next-sentence task its head and the pooler get no gradient; they rest instead of decaying to zero.
std::vector<int> trained_parameters(const ParameterTable& table, bool next_sentence) {
    std::vector<int> rows;
    for (int i = 0; i < static_cast<int>(table.rows.size()); ++i) {
        const bool rests = i == table.pooler.weight || i == table.pooler.bias || i == table.next_sentence.weight ||
                           i == table.next_sentence.bias;
        if (next_sentence || !rests) rows.push_back(i);
    }
    return rows;
}

std::vector<Segment> segments_of(const ParameterTable& table, const std::vector<int>& rows) {
    const std::vector<Segment> all = table.segments();
    std::vector<Segment> segments;
    for (const int row : rows) segments.push_back(all[static_cast<std::size_t>(row)]);
    return segments;
}

/// Before anything is allocated.
const TrainerOptions& checked(const TrainerOptions& options) {
    const std::int64_t ranks = options.virtual_ranks;
    require(ranks >= 1 && (ranks & (ranks - 1)) == 0, "trainer: ", ranks,
            " virtual ranks, but a power of two is needed");
    require(options.micro_batches >= 1 && options.micro_batches % ranks == 0, "trainer: ", options.micro_batches,
            " micro-batches are not a multiple of ", ranks, " virtual ranks");
    return options;
}

}  // namespace

Trainer::Trainer(const BertConfig& config, const TrainerOptions& options)
    : options_(checked(options)),
      table_(parameter_table(config)),
      segment_parameter_(trained_parameters(table_, options.model.next_sentence)),
      model_(config, options.model),
      arena_("optimizer", "take a smaller model, or fewer virtual ranks") {
    segments_ = segments_of(table_, segment_parameter_);
    lay_out(arena_, table_, segments_, options_);
    arena_.bind();
    Layout layout = lay_out(arena_, table_, segments_, options_);
    weights_ = {&table_, layout.weights};
    first_moment_ = {&table_, layout.first_moment};
    second_moment_ = {&table_, layout.second_moment};
    segment_square_ = layout.segment_square;
    norm_scratch_ = layout.norm_scratch;
    optimizer_scratch_ = layout.optimizer_scratch;
    tree_ = std::move(layout.tree);
}

std::int64_t Trainer::planned_bytes(const BertConfig& config, const TrainerOptions& options) {
    const ParameterTable table = parameter_table(config);
    Arena arena("optimizer");
    lay_out(arena, table, segments_of(table, trained_parameters(table, options.model.next_sentence)), options);
    return arena.bytes() + PretrainingModel::planned_bytes(config, options.model);
}

std::int64_t Trainer::memory_bytes() const {
    return arena_.bytes() + model_.memory_bytes();
}

StepReport Trainer::step(const StepBatches& batches) {
    begin_step(batches);
    const LossSums losses = accumulate_gradients(batches);
    update();
    ++progress_.steps;
    progress_.updates += state_.skip != 0 ? 0 : 1;
    return {.step = progress_.steps,
            .losses = losses,
            .tokens = batches.tokens,
            .learning_rate = state_.learning_rate,
            .gradient_norm = state_.gradient_norm,
            .skipped = state_.skip != 0,
            .first_nonfinite = state_.skip != 0 ? first_nonfinite_parameter() : std::string()};
}

void Trainer::begin_step(const StepBatches& batches) {
    require(static_cast<std::int64_t>(batches.micro.size()) == options_.micro_batches, "trainer: a step of ",
            batches.micro.size(), " micro-batches, but the run has ", options_.micro_batches);
    require(batches.sequences > 0, "trainer: a step without sequences has nothing to learn");
    const OptimizerRecipe& recipe = options_.optimizer;
    const double updates = static_cast<double>(progress_.updates + 1);
    state_ = {};
    state_.step = progress_.steps;
    state_.dropout_key = step_dropout_key(options_.seed, progress_.steps);
    state_.learning_rate = recipe.schedule.at(progress_.steps);
    // Whole-word masking leaves a sample without predictions where every word has more pieces than may be masked.
    state_.inverse_masked = batches.masked == 0 ? 0 : 1.0 / static_cast<double>(batches.masked);
    state_.inverse_sequences = 1.0 / static_cast<double>(batches.sequences);
    state_.bias_correction1 = recipe.bias_correction ? 1 - std::pow(recipe.beta1, updates) : 1;
    state_.bias_correction2 = recipe.bias_correction ? 1 - std::pow(recipe.beta2, updates) : 1;
}

LossSums Trainer::accumulate_gradients(const StepBatches& batches) {
    LossSums losses;
    const std::int64_t per_rank = options_.micro_batches / options_.virtual_ranks;
    for (std::int64_t rank = 0; rank < options_.virtual_ranks; ++rank) {
        const ParameterView gradients{&table_, tree_.next()};
        for (std::int64_t i = 0; i < per_rank; ++i) {
            const Batch& batch = batches.micro[static_cast<std::size_t>(rank * per_rank + i)];
            model_.forward(weights_, batch, &state_, true);
            losses += model_.losses(batch);
            model_.backward(weights_, batch, &state_, gradients, i > 0);
        }
        tree_.merge({});
    }
    gradients_ = {&table_, tree_.take()};
    return losses;
}

void Trainer::update() {
    const OptimizerRecipe& recipe = options_.optimizer;
    const std::int64_t count = static_cast<std::int64_t>(segments_.size());
    gradient_norm({.state = &state_,
                   .segment_square = segment_square_,
                   .scratch = norm_scratch_,
                   .gradient = gradients_.flat,
                   .segments = segments_.data(),
                   .segment_count = count,
                   .max_norm = recipe.max_gradient_norm},
                  {});
    optimizer_update({.weight = weights_.flat,
                      .working = {},
                      .m = first_moment_.flat,
                      .v = second_moment_.flat,
                      .scratch = optimizer_scratch_,
                      .gradient = gradients_.flat,
                      .state = &state_,
                      .segments = segments_.data(),
                      .segment_count = count,
                      .kind = recipe.kind,
                      .beta1 = recipe.beta1,
                      .beta2 = recipe.beta2,
                      .epsilon = recipe.epsilon,
                      .weight_decay = recipe.weight_decay},
                     {});
}

std::string Trainer::first_nonfinite_parameter() const {
    const double* squares = segment_square_.data<double>();
    for (std::size_t i = 0; i < segments_.size(); ++i) {
        if (!std::isfinite(squares[i])) return table_.rows[static_cast<std::size_t>(segment_parameter_[i])].name;
    }
    return "the sum of squares";
}

}  // namespace cloze
