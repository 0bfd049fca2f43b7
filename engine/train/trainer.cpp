#include "engine/train/trainer.h"

#include <algorithm>
#include <cmath>

#include "kernels/cast.h"
#include "kernels/core/launch_log.h"
#include "kernels/core/named_range.h"

namespace cloze {
namespace {

/// The optimizer's and the gradients' memory.
struct Layout {
    Tensor weights, working, first_moment, second_moment;
    Tensor segment_square, norm_scratch, optimizer_scratch;
    GradientTree tree;
    Tensor state, segments;  // of a device only
};

Layout lay_out(Arena& arena, const ParameterTable& table, const std::vector<Segment>& segments,
               const TrainerOptions& options) {
    const DType working = options.model.working, dtype = statistics_dtype(working);
    const bool copies = working != dtype, on_device = options.model.place == Place::device;
    const std::int64_t count = static_cast<std::int64_t>(segments.size());
    const std::int64_t scratch = optimizer_update_scratch(options.optimizer.kind, table.elements, count);
    const auto bytes = [&](const char* name, std::size_t size) {
        return on_device ? arena.tensor(name, DType::u8, 1, static_cast<std::int64_t>(size)) : Tensor{};
    };
    const Tensor weights = arena.tensor("weights", dtype, 1, table.elements);
    return {.weights = weights,
            .working = copies ? arena.tensor("working weights", working, 1, table.elements) : weights,
            .first_moment = arena.tensor("first moment", dtype, 1, table.elements),
            .second_moment = arena.tensor("second moment", dtype, 1, table.elements),
            .segment_square = arena.tensor("segment squares", DType::f64, 1, count),
            .norm_scratch = arena.tensor("norm scratch", DType::f64, 1, gradient_norm_scratch(table.elements, count)),
            .optimizer_scratch = scratch == 0 ? Tensor{} : arena.tensor("optimizer scratch", DType::f64, 1, scratch),
            .tree = GradientTree(arena, table.elements, dtype, options.virtual_ranks),
            .state = bytes("step state", sizeof(StepState)),
            .segments = bytes("segments", segments.size() * sizeof(Segment))};
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

/// A state is sent twice a step, and a step begins while the one before runs.
constexpr std::int64_t kStatesUnderWay = 4;

/// Products are timed while it lives.
class TuningScope {
public:
    explicit TuningScope(DeviceGemm& products) : products_(products) { products_.set_tuning(true); }
    ~TuningScope() { products_.set_tuning(false); }
    TuningScope(const TuningScope&) = delete;
    TuningScope& operator=(const TuningScope&) = delete;

private:
    DeviceGemm& products_;
};

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

Trainer::Trainer(const BertConfig& config, const TrainerOptions& options, Device* device)
    : options_(checked(options)),
      table_(parameter_table(config)),
      segment_parameter_(trained_parameters(table_, options.model.next_sentence)),
      model_(config, options.model, device),
      compute_(model_.compute()),
      arena_("optimizer", "take a smaller model, or fewer virtual ranks", options.model.place),
      timer_(compute_),
      last_wait_(compute_) {
    segments_ = segments_of(table_, segment_parameter_);
    lay_out(arena_, table_, segments_, options_);
    arena_.bind();
    Layout layout = lay_out(arena_, table_, segments_, options_);
    weights_ = {&table_, layout.weights};
    working_ = {&table_, layout.working};
    first_moment_ = {&table_, layout.first_moment};
    second_moment_ = {&table_, layout.second_moment};
    segment_square_ = layout.segment_square;
    norm_scratch_ = layout.norm_scratch;
    optimizer_scratch_ = layout.optimizer_scratch;
    tree_ = std::move(layout.tree);
    live_segments_ = segments_.data();
    if (device == nullptr) return;
    require(!options_.graphs || compute_.stream.handle != nullptr,
            "trainer: the default stream cannot be recorded; give the Device another, or set graphs to false");
    live_state_ = static_cast<StepState*>(layout.state.address);
    live_segments_ = static_cast<const Segment*>(layout.segments.address);
    copy_to_device(layout.segments.address, segments_.data(), layout.segments.count(), compute_.stream);
    pinned_states_ = PinnedBuffer((kStatesUnderWay + 1) * static_cast<std::int64_t>(sizeof(StepState)));
    updated_ = std::make_unique<Event>();
    choose_products(device->products());
}

std::vector<ArenaPart> Trainer::planned_parts(const BertConfig& config, const TrainerOptions& options) {
    const ParameterTable table = parameter_table(config);
    Arena arena("optimizer", "", options.model.place);
    lay_out(arena, table, segments_of(table, trained_parameters(table, options.model.next_sentence)), options);
    std::vector<ArenaPart> parts = arena.report();
    for (ArenaPart& part : PretrainingModel::planned_parts(config, options.model)) parts.push_back(std::move(part));
    return parts;
}

std::int64_t Trainer::planned_bytes(const BertConfig& config, const TrainerOptions& options) {
    return total_bytes(planned_parts(config, options));
}

std::int64_t Trainer::memory_bytes() const {
    return arena_.bytes() + model_.memory_bytes();
}

/// Runs every product of a micro-batch once on memory that is still zero, so that its plan is made: timing would spoil
/// a step, and cannot be recorded.
void Trainer::choose_products(DeviceGemm& products) {
    const BertConfig& config = model_.config();
    Batch batch = empty_batch(model_.capacity());
    finish_batch(batch, {.vocabulary_size = config.vocab_size, .positions = config.max_position_embeddings});
    model_.put(batch);
    send_state();
    const TuningScope tuning(products);
    const ParameterView gradients{&table_, tree_.next()};
    for (const bool accumulate : {false, true}) {
        model_.forward(working_, live_state_, true);
        model_.backward(working_, live_state_, gradients, accumulate);
    }
    wait(compute_.stream);
}

void Trainer::begin(const StepBatches& batches) {
    set_state(batches);
    timer_.start(progress_.steps + 1);
    send_state();
    refresh_working_weights();
    const std::int64_t first_kept = progress_.steps % 2 * options_.micro_batches;
    accumulate_gradients(batches, first_kept);
    // By now the device is busy with this step, so the host may wait for the one before. Whether that was skipped
    // decides Adam's t.
    if (begun_) collect();
    set_bias_corrections();
    send_state();
    give_update();
    ++progress_.steps;
    begun_ = Begun{.report = {.step = progress_.steps,
                              .losses = {},
                              .tokens = batches.tokens,
                              .learning_rate = state_.learning_rate,
                              .gradient_norm = 0,
                              .skipped = false,
                              .first_nonfinite = {},
                              .times = {}},
                   .first_kept = first_kept};
    if (!on_device()) collect();
}

StepReport Trainer::finish() {
    require(unfinished() > 0, "trainer: no step was begun");
    if (finished_.empty()) collect();
    StepReport report = std::move(finished_.front());
    finished_.pop_front();
    return report;
}

StepReport Trainer::step(const StepBatches& batches) {
    require(unfinished() == 0, "trainer: ", unfinished(), " steps were begun; finish() them before step()");
    begin(batches);
    return finish();
}

void Trainer::set_progress(const TrainerProgress& progress) {
    require(unfinished() == 0, "trainer: ", unfinished(),
            " steps were begun; finish() them before a checkpoint is loaded");
    progress_ = progress;
}

std::int64_t Trainer::unfinished() const {
    return static_cast<std::int64_t>(finished_.size()) + (begun_ ? 1 : 0);
}

void Trainer::set_state(const StepBatches& batches) {
    require(static_cast<std::int64_t>(batches.micro.size()) == options_.micro_batches, "trainer: a step of ",
            batches.micro.size(), " micro-batches, but the run has ", options_.micro_batches);
    require(batches.sequences > 0, "trainer: a step without sequences has nothing to learn");
    state_ = {};
    state_.step = progress_.steps;
    state_.dropout_key = step_dropout_key(options_.seed, progress_.steps);
    state_.learning_rate = options_.optimizer.schedule.at(progress_.steps);
    // Whole-word masking leaves a sample without predictions where every word has more pieces than may be masked.
    state_.inverse_masked = batches.masked == 0 ? 0 : 1.0 / static_cast<double>(batches.masked);
    state_.inverse_sequences = 1.0 / static_cast<double>(batches.sequences);
}

void Trainer::set_bias_corrections() {
    const OptimizerRecipe& recipe = options_.optimizer;
    const double updates = static_cast<double>(progress_.updates + 1);
    state_.bias_correction1 = recipe.bias_correction ? 1 - std::pow(recipe.beta1, updates) : 1;
    state_.bias_correction2 = recipe.bias_correction ? 1 - std::pow(recipe.beta2, updates) : 1;
}

void Trainer::send_state() {
    if (!on_device()) return;
    note_copies();
    StepState* slot = static_cast<StepState*>(pinned_states_.address()) + states_sent_++ % kStatesUnderWay;
    *slot = state_;
    copy_to_device(live_state_, slot, sizeof(StepState), compute_.stream);
}

void Trainer::accumulate_gradients(const StepBatches& batches, std::int64_t first_kept) {
    const std::int64_t per_rank = options_.micro_batches / options_.virtual_ranks;
    tree_.restart();  // a step that an error ended may have left sums
    for (std::int64_t i = 0; i < options_.micro_batches; ++i) {
        note_copies();
        model_.put(batches.micro[static_cast<std::size_t>(i)]);
        timer_.lap(StepPart::input);
        give_forward();
        note_copies();
        model_.keep_losses(first_kept + i);
        timer_.lap(StepPart::forward);
        give_backward({&table_, tree_.next()}, i % per_rank > 0);
        if ((i + 1) % per_rank == 0) tree_.merge(compute_.stream);
        timer_.lap(StepPart::backward);
    }
    gradients_ = {&table_, tree_.take()};
}

/// So that their time is not that of the op before them.
void Trainer::note_copies() {
    if (on_device()) LaunchLog::note(kCopies, compute_.stream);
}

void Trainer::give_forward() {
    const NamedRange range("forward");
    give(forward_graph_, [this] { model_.forward(working_, live_state_, true); });
}

void Trainer::give_backward(const ParameterView& gradients, bool accumulate) {
    const NamedRange range("backward");
    give(backward_graphs_[{gradients.flat.address, accumulate}],
         [this, gradients, accumulate] { model_.backward(working_, live_state_, gradients, accumulate); });
}

void Trainer::give(Graph& graph, const std::function<void()>& work) {
    if (!on_device() || !options_.graphs) return work();
    if (!graph) graph = Graph(compute_.stream, work);
    graph.launch(compute_.stream);
}

void Trainer::give_update() {
    const NamedRange range("update");
    give(update_graph_, [this] { update(); });
    timer_.lap(StepPart::optimizer);
    if (!on_device()) return;
    note_copies();
    StepState* back = static_cast<StepState*>(pinned_states_.address()) + kStatesUnderWay;
    copy_to_host(back, live_state_, sizeof(StepState), compute_.stream);
    updated_->record(compute_.stream);
}

void Trainer::update() {
    const OptimizerRecipe& recipe = options_.optimizer;
    const std::int64_t count = static_cast<std::int64_t>(segments_.size());
    gradient_norm({.state = live_state_,
                   .segment_square = segment_square_,
                   .scratch = norm_scratch_,
                   .gradient = gradients_.flat,
                   .segments = live_segments_,
                   .segment_count = count,
                   .max_norm = recipe.max_gradient_norm},
                  compute_);
    optimizer_update({.weight = weights_.flat,
                      .working = has_working_copy() ? working_.flat : Tensor{},
                      .m = first_moment_.flat,
                      .v = second_moment_.flat,
                      .scratch = optimizer_scratch_,
                      .gradient = gradients_.flat,
                      .state = live_state_,
                      .segments = live_segments_,
                      .segment_count = count,
                      .kind = recipe.kind,
                      .beta1 = recipe.beta1,
                      .beta2 = recipe.beta2,
                      .epsilon = recipe.epsilon,
                      .weight_decay = recipe.weight_decay},
                     compute_);
}

bool Trainer::has_working_copy() const {
    return working_.flat.address != weights_.flat.address;
}

void Trainer::refresh_working_weights() {
    if (working_is_old_ && has_working_copy()) cast({.y = working_.flat, .x = weights_.flat}, compute_);
    working_is_old_ = false;
}

ParameterView Trainer::working_weights() {
    refresh_working_weights();
    return working_;
}

void Trainer::collect() {
    const StepState* state = &state_;
    if (on_device()) {
        updated_->wait();
        state = static_cast<const StepState*>(pinned_states_.address()) + kStatesUnderWay;
    }
    StepReport report = std::move(begun_->report);
    for (std::int64_t i = 0; i < options_.micro_batches; ++i) {
        report.losses += model_.kept_losses(begun_->first_kept + i);
    }
    begun_.reset();
    report.times = timer_.times(report.step);
    report.gradient_norm = state->gradient_norm;
    report.skipped = state->skip != 0;
    if (report.skipped) report.first_nonfinite = first_nonfinite_parameter();
    progress_.updates += report.skipped ? 0 : 1;
    finished_.push_back(std::move(report));
}

std::string Trainer::first_nonfinite_parameter() const {
    std::vector<double> fetched;
    const double* squares = segment_square_.data<double>();
    if (on_device()) {
        fetched.resize(segments_.size());
        copy_to_host(fetched.data(), squares, segment_square_.count() * 8, compute_.stream);
        wait(compute_.stream);
        squares = fetched.data();
    }
    for (std::size_t i = 0; i < segments_.size(); ++i) {
        if (!std::isfinite(squares[i])) return table_.rows[static_cast<std::size_t>(segment_parameter_[i])].name;
    }
    return "the sum of squares";
}

}  // namespace cloze
