// Trainer: weights, optimizer state and the step. Knows nothing of files, signals or printing: it is given the
// micro-batches of a step and returns what happened. Tested by tests/train/trainer_test.cpp.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <string>

#include "engine/cluster/gradient_tree.h"
#include "engine/model/pretraining.h"
#include "engine/train/optimizer.h"
#include "engine/train/step_timer.h"
#include "kernels/core/graph.h"

namespace cloze {

struct TrainerOptions {
    PretrainingOptions model;
    OptimizerRecipe optimizer;
    std::uint64_t seed;              // of dropout; the samples bring their own
    std::int64_t micro_batches;      // M, of every step
    std::int64_t virtual_ranks = 1;  // V, a power of two that divides M
    bool graphs = true;              // on a device: launch recorded work; false: kernel by kernel, with the same bits
};

/// What a LaunchLog calls the copies of micro-batches, states and losses.
inline constexpr const char* kCopies = "copies";

/// How far training has come.
struct TrainerProgress {
    std::int64_t steps = 0;    // skipped ones included: the schedule's t
    std::int64_t updates = 0;  // not skipped: Adam's t, since a skipped step leaves the moments as they are
};

/// What one step did.
struct StepReport {
    std::int64_t step;  // its number, from 1
    LossSums losses;
    std::int64_t tokens;
    double learning_rate;
    double gradient_norm;         // before clipping
    bool skipped;                 // a gradient was not finite: nothing was updated
    std::string first_nonfinite;  // the parameter that showed it
    StepTimes times;
};

/// On the host a step is done when begin() returns. On a device begin() gives the work to it and returns while it runs,
/// so that the device finds the next step's work when this one ends; finish() waits, and so does the destructor.
class Trainer {
public:
    /// Allocates everything a step needs; weights and moments are zero until initialised or loaded. A device (null:
    /// the host) outlives the trainer.
    Trainer(const BertConfig& config, const TrainerOptions& options, Device* device = nullptr);
    Trainer(const Trainer&) = delete;
    Trainer& operator=(const Trainer&) = delete;

    /// Gives one optimizer step over exactly M micro-batches; before its update, which the one before decides, waits
    /// for that. `batches` are free when this returns.
    void begin(const StepBatches& batches);
    /// The oldest step that was begun and not yet reported; waits for it.
    StepReport finish();
    std::int64_t unfinished() const;  // steps
    /// Both.
    StepReport step(const StepBatches& batches);

    const ParameterTable& table() const { return table_; }
    /// f32 (f64 for the reference), where the trainer computes. HostCopy brings them to the host and back.
    ParameterView weights() const { return weights_; }
    ParameterView first_moment() const { return first_moment_; }
    ParameterView second_moment() const { return second_moment_; }
    /// Whether work is recorded from here on, as TrainerOptions::graphs.
    void set_graphs(bool on) { options_.graphs = on; }
    /// To be called when weights() were written from outside.
    void weights_written() { working_is_old_ = true; }
    /// What the model computes with: the weights, or their copy in the working type.
    ParameterView working_weights();
    /// Of the last step, for tests.
    ParameterView gradients() const { return gradients_; }
    PretrainingModel& model() { return model_; }
    const Compute& compute() const { return compute_; }

    /// Steps begun, and updates of those that are known to be done: while unfinished() is 0 they belong together. Set
    /// when a checkpoint is loaded, with no step unfinished.
    TrainerProgress progress() const { return progress_; }
    void set_progress(const TrainerProgress& progress);
    std::int64_t memory_bytes() const;

    /// What a trainer of these options will allocate where it computes, without allocating: its own tensors, then the
    /// model's.
    static std::vector<ArenaPart> planned_parts(const BertConfig& config, const TrainerOptions& options);
    static std::int64_t planned_bytes(const BertConfig& config, const TrainerOptions& options);

private:
    /// A step whose losses and norms are on their way to the host.
    struct Begun {
        StepReport report;
        std::int64_t first_kept;  // number of its first micro-batch's losses in the model
    };

    bool on_device() const { return options_.model.place == Place::device; }
    bool has_working_copy() const;
    void choose_products(DeviceGemm& products);
    void set_state(const StepBatches& batches);
    void set_bias_corrections();
    void send_state();
    void accumulate_gradients(const StepBatches& batches, std::int64_t first_kept);
    void note_copies();
    void give_forward();
    void give_backward(const ParameterView& gradients, bool accumulate);
    void give(Graph& graph, const std::function<void()>& work);
    void give_update();
    void update();
    void refresh_working_weights();
    void collect();
    std::string first_nonfinite_parameter() const;

    TrainerOptions options_;
    ParameterTable table_;
    std::vector<int> segment_parameter_;  // rows of the table that are trained
    std::vector<Segment> segments_;       // the same, as the optimizer sees them
    PretrainingModel model_;
    Compute compute_;
    Arena arena_;
    ParameterView weights_{}, working_{}, first_moment_{}, second_moment_{}, gradients_{};
    Tensor segment_square_, norm_scratch_, optimizer_scratch_;
    GradientTree tree_{};
    bool working_is_old_ = true;

    StepState state_;  // on the host; where ops compute:
    StepState* live_state_ = &state_;
    const Segment* live_segments_ = nullptr;
    PinnedBuffer pinned_states_;  // on their way to the device, by turns, and one back
    std::int64_t states_sent_ = 0;
    std::unique_ptr<Event> updated_;

    Graph forward_graph_;
    std::map<std::pair<const void*, bool>, Graph> backward_graphs_;  // by gradient buffer, accumulate
    Graph update_graph_;
    StepTimer timer_;
    TrainerProgress progress_;
    std::optional<Begun> begun_;
    std::deque<StepReport> finished_;
    LastWait last_wait_;
};

}  // namespace cloze
