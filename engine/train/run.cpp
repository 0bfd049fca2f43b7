#include "engine/train/run.h"

#include <algorithm>
#include <chrono>
#include <deque>

#include "engine/device/device_profile.h"
#include "engine/device/gemm.h"
#include "engine/files/atomic_folder.h"
#include "engine/files/folder_lock.h"
#include "engine/model/host_copy.h"
#include "engine/model/weights_file.h"
#include "engine/train/checkpoint.h"
#include "engine/train/evaluation.h"
#include "engine/train/metrics.h"
#include "engine/train/run_plan.h"
#include "engine/train/run_record.h"

namespace cloze {
namespace {

namespace fs = std::filesystem;

using Clock = std::chrono::steady_clock;

double seconds_between(Clock::time_point first, Clock::time_point last) {
    return std::chrono::duration<double>(last - first).count();
}

/// What happened since the last line of the log.
struct Interval {
    LossSums losses;
    std::int64_t tokens = 0;
    double seconds = 0;  // of steps; evaluation and saving not counted
    double data_seconds = 0;
    double flops = 0;
    StepTimes times;
    std::int64_t steps = 0;
};

/// How far the sample stream had come when a step was begun.
struct StreamPlace {
    double epochs;
    std::int64_t sequences;
    double fill;
};

class Run {
public:
    Run(const RunRecipe& recipe, const RunHandling& handling, const RunObserver& observer)
        : handling_(handling), observer_(observer), plan_(plan_run(recipe, handling, observer)) {
        if (plan_.device) profile_ = profile_of_device(plan_.device->info().name);
    }

    RunResult execute();

private:
    void require_source_fits() const;
    void require_own_output() const;
    void open_output();
    void require_space() const;
    void start_or_resume();
    void take_gemm_plans(const TrainingState& state);
    std::string matrix_library() const;
    void initialize_weights();
    void fill_weights(const ParameterView& weights);
    void train_step();
    void profile_step();
    void report_profile();
    bool profiles_now() const;
    void finish_step();
    void finish_steps();
    void log(const StepReport& report, const StreamPlace& place);
    void guard_against_divergence(const StepReport& report);
    void evaluate();
    void save();
    bool stop_requested() const { return observer_.stop_requested && observer_.stop_requested(); }
    static bool due(std::int64_t step, std::int64_t every) { return every > 0 && step % every == 0; }

    const RunHandling& handling_;
    const RunObserver& observer_;
    RunPlan plan_;
    std::optional<DeviceProfile> profile_;  // of a known GPU
    Json record_;
    std::optional<FolderLock> lock_;
    std::unique_ptr<Trainer> trainer_;
    std::unique_ptr<BatchStream> stream_;
    std::optional<MetricsLog> metrics_;
    std::unique_ptr<HeldOutBatches> held_out_;
    std::unique_ptr<UnigramBaseline> baseline_;
    std::deque<StreamPlace> begun_;  // of the steps that the trainer has not finished
    Interval interval_;
    StepProfiler profiler_;
    std::vector<double> usual_seconds_;  // of the steps before a profile
    Clock::time_point mark_{};           // until here the time of steps is counted
    double training_seconds_ = 0;        // of this process, evaluation and saving not counted
    std::int64_t steps_here_ = 0;        // begun by this process
    double last_pairs_ = 0;              // of the step that is profiled
    std::int64_t nonfinite_steps_ = 0;   // in a row
    std::int64_t saved_step_ = -1;
    RunResult result_{};
};

RunResult Run::execute() {
    record_ = record_of(plan_.recipe, plan_.sampler->store().identity(),
                        tokenizer_mode_name(plan_.dataset->info().tokenizer.mode));
    // Before the folder is made: a wrong --init-from must not become its record. A run that goes on needs no source.
    if (!plan_.recipe.init_from.empty() && list_checkpoints(handling_.output).empty()) require_source_fits();
    if (handling_.preflight_only) {
        require_own_output();
    } else {
        open_output();
    }
    start_or_resume();
    const std::int64_t steps = plan_.recipe.optimizer.schedule.total_steps;
    plan_.preflight.least_seconds *= 1 - static_cast<double>(plan_.preflight.resumed_step) / static_cast<double>(steps);
    if (observer_.on_preflight) observer_.on_preflight(plan_.preflight);
    require_space();
    if (handling_.preflight_only) return result_;

    mark_ = Clock::now();
    while (trainer_->progress().steps < steps && !stop_requested()) {
        profiles_now() ? profile_step() : train_step();
        const std::int64_t done = trainer_->progress().steps;
        const bool pause = done == steps || due(done, handling_.evaluate_every) || due(done, handling_.save_every);
        if (pause || !plan_.device) finish_steps();
        if (done < steps && due(done, handling_.evaluate_every)) evaluate();
        if (due(done, handling_.save_every)) save();
        if (pause) mark_ = Clock::now();
    }
    finish_steps();
    result_.steps_done = trainer_->progress().steps;
    result_.stopped = result_.steps_done < steps;
    save();
    if (!result_.stopped) evaluate();
    metrics_->sync();
    result_.loss_history = MetricsLog::loss_history(handling_.output);
    return result_;
}

void Run::require_source_fits() const {
    const fs::path source = resolve_checkpoint(plan_.recipe.init_from);
    const fs::path vocabulary = source / "vocab.txt", config = source / "config.json";
    if (fs::exists(vocabulary)) {
        require_input(Vocabulary::read(vocabulary).hash() == plan_.dataset->vocabulary().hash(), source.string(),
                      ": its vocab.txt is not the vocabulary of ", plan_.dataset->folder().string(),
                      "; prepare the data with --vocab ", vocabulary.string());
    }
    if (fs::exists(config)) require_same_architecture(read_config(config), plan_.recipe.model, config.string());
}

void Run::require_own_output() const {
    const std::optional<Json> recorded = read_record(handling_.output);
    if (recorded) return require_same_run(*recorded, record_, handling_.output);
    require_input(list_checkpoints(handling_.output).empty(), handling_.output.string(), ": holds checkpoints but no ",
                  kRunRecord, "; choose another --output");
    for (const char* foreign : {kDatasetManifest, kCheckpointManifest, "config.json", kMetricsLog}) {
        require_input(!fs::exists(handling_.output / foreign), handling_.output.string(), ": holds ", foreign,
                      ", so it is not the folder of a run; choose another --output");
    }
}

void Run::open_output() {
    make_folders(handling_.output);
    lock_.emplace(handling_.output);
    require_own_output();
    remove_leftovers(handling_.output);
    const fs::path record = handling_.output / kRunRecord;
    if (!fs::exists(record)) write_file_atomic(record, json_text(record_));
}

void Run::require_space() const {
    const Preflight& p = plan_.preflight;
    if (p.resumed_step == p.steps || p.free_bytes >= p.checkpoint_bytes) return;
    fail(Fault::io, "a checkpoint needs ", p.checkpoint_bytes, " bytes and only ", p.free_bytes, " are free at ",
         handling_.output.string(), "; free space or choose another --output");
}

void Run::start_or_resume() {
    std::vector<std::string>& notes = plan_.preflight.notes;
    std::vector<std::string> damaged;
    const std::optional<fs::path> newest = newest_valid_checkpoint(handling_.output, damaged);
    // To begin again would replace them, which may be whole behind a disk that fails for the moment.
    require_input(newest || damaged.empty(), handling_.output.string(),
                  ": none of its checkpoints is whole: ", damaged.empty() ? std::string() : damaged.front(),
                  "; put a whole one back, or remove them all to begin again at the first step");
    notes.insert(notes.end(), damaged.begin(), damaged.end());
    if (handling_.preflight_only) {
        if (newest) plan_.preflight.resumed_step = read_training_state(*newest).step;
        return;
    }
    if (newest) take_gemm_plans(read_training_state(*newest));
    if (plan_.device && observer_.on_stage) observer_.on_stage("choosing matrix products");
    trainer_ = std::make_unique<Trainer>(plan_.recipe.model, plan_.trainer, plan_.device.get());
    StreamState stream;
    if (newest) {
        const TrainingState state = load_checkpoint(*newest, *trainer_);
        stream = state.stream;
        nonfinite_steps_ = state.nonfinite_steps;
        saved_step_ = state.step;
        result_.checkpoint = *newest;
        plan_.preflight.resumed_step = state.step;
    } else {
        initialize_weights();
    }
    stream_ = std::make_unique<BatchStream>(plan_.sampler,
                                            BatchStreamSettings{.capacity = plan_.shape.capacity,
                                                                .micro_batches = plan_.shape.micro_batches,
                                                                .prefetch_threads = handling_.prefetch_threads,
                                                                .plan_threads = plan_.preflight.threads},
                                            plan_.limits, stream);
    const std::int64_t resumed = plan_.preflight.resumed_step;
    metrics_.emplace(handling_.output, resumed, resumed == plan_.recipe.optimizer.schedule.total_steps);
}

/// The same algorithms give the same bits; those of another library or device do not fit.
void Run::take_gemm_plans(const TrainingState& state) {
    if (state.matrix_library != matrix_library()) {
        plan_.preflight.notes.push_back(text("the checkpoint was computed with ", state.matrix_library, ", this is ",
                                             matrix_library(), ": the continuation rounds differently"));
    } else if (plan_.device) {
        plan_.device->products().take_plans(state.gemm_plans);
    }
}

/// What decides the rounding of matrix products.
std::string Run::matrix_library() const {
    const Preflight& preflight = plan_.preflight;
    return plan_.device ? preflight.matrix_library + " on " + preflight.device : preflight.matrix_library;
}

void Run::initialize_weights() {
    const HostCopy weights = HostCopy::to_be_written(trainer_->weights(), trainer_->compute());
    fill_weights(weights.view());
    weights.send();
    trainer_->weights_written();
}

void Run::fill_weights(const ParameterView& weights) {
    const RunRecipe& recipe = plan_.recipe;
    if (recipe.init_from.empty()) {
        initialize(weights, recipe.model.initializer_range, recipe.samples.seed, recipe.initialization);
        return;
    }
    const LoadReport report = load_weights(resolve_checkpoint(recipe.init_from), weights,
                                           {.refuse = false,
                                            .initializer_range = recipe.model.initializer_range,
                                            .seed = recipe.samples.seed,
                                            .kind = recipe.initialization});
    std::vector<std::string>& notes = plan_.preflight.notes;
    notes.insert(notes.end(), report.notes.begin(), report.notes.end());
    for (const std::string& name : report.missing) notes.push_back("missing there, so initialised: " + name);
    for (const std::string& name : report.unused) notes.push_back("not used: " + name);
}

/// Begins a step; on a device the one before is then finished while this one runs.
void Run::train_step() {
    const Clock::time_point asked = Clock::now();
    const StepBatches batches = stream_->next();
    interval_.data_seconds += seconds_between(asked, Clock::now());
    if (profiles_now()) last_pairs_ = pairs_of(plan_.recipe.model, batches);
    trainer_->begin(batches);
    begun_.push_back({.epochs = stream_->epochs(),
                      .sequences = static_cast<std::int64_t>(stream_->state().sequences),
                      .fill = stream_->fill()});
    ++steps_here_;
    if (trainer_->unfinished() > 1) finish_step();
}

/// The steps before are the warm-up, and what the profiled ones are compared with.
bool Run::profiles_now() const {
    return steps_here_ >= kStepsBeforeProfile && profiler_.steps() < handling_.profile_steps;
}

/// A step as any other, to the bit, but launched kernel by kernel, with an event before each launch.
void Run::profile_step() {
    finish_steps();
    trainer_->set_graphs(false);
    const LaunchLog log;
    const Clock::time_point start = Clock::now();
    train_step();
    finish_steps();
    const double seconds = seconds_between(start, Clock::now());
    LaunchLog::note("end", trainer_->compute());
    profiler_.add(log.entries(), seconds, last_pairs_);
    trainer_->set_graphs(true);
    if (profiler_.steps() == handling_.profile_steps) report_profile();
}

void Run::report_profile() {
    StepProfile profile =
        profiler_.summary({.config = plan_.recipe.model, .trainer = plan_.trainer, .pairs = 0}, profile_);
    profile.device = plan_.preflight.device;
    std::sort(usual_seconds_.begin(), usual_seconds_.end());
    if (!usual_seconds_.empty()) profile.usual_seconds = usual_seconds_[usual_seconds_.size() / 2];
    const fs::path trace = handling_.output / kProfileTrace;
    write_file_atomic(trace, json_line(profiler_.trace(profile)) + "\n");
    if (observer_.on_profile) observer_.on_profile(profile, trace);
    mark_ = Clock::now();
}

void Run::finish_steps() {
    while (trainer_->unfinished() > 0) finish_step();
}

void Run::finish_step() {
    const StepReport report = trainer_->finish();
    const Clock::time_point now = Clock::now();
    const bool usual = handling_.profile_steps > 0 && profiler_.steps() == 0 && steps_here_ > 2;
    if (usual) usual_seconds_.push_back(seconds_between(mark_, now));
    interval_.seconds += seconds_between(mark_, now);
    training_seconds_ += seconds_between(mark_, now);
    mark_ = now;
    interval_.losses += report.losses;
    interval_.tokens += report.tokens;
    interval_.flops += step_flops(plan_.recipe.model, static_cast<double>(report.losses.sequences),
                                  static_cast<double>(report.tokens), static_cast<double>(report.losses.masked));
    interval_.times += report.times;
    ++interval_.steps;
    const std::int64_t steps = plan_.recipe.optimizer.schedule.total_steps;
    if (report.skipped || due(report.step, handling_.log_every) || report.step == steps) log(report, begun_.front());
    begun_.pop_front();
    guard_against_divergence(report);
}

void Run::log(const StepReport& report, const StreamPlace& place) {
    const LossSums& losses = interval_.losses;
    const std::int64_t steps = plan_.recipe.optimizer.schedule.total_steps;
    const double done = static_cast<double>(interval_.steps), flops_per_second = interval_.flops / interval_.seconds;
    const Progress progress{
        .step = report.step,
        .steps = steps,
        .loss = losses.masked_mean() + losses.next_sentence_mean(),
        .masked_loss = losses.masked_mean(),
        .next_sentence_loss = losses.next_sentence_mean(),
        .masked_accuracy = losses.masked_accuracy(),
        .next_sentence_accuracy = losses.next_sentence_accuracy(),
        .learning_rate = report.learning_rate,
        .gradient_norm = report.gradient_norm,
        .sequences_per_second = static_cast<double>(losses.sequences) / interval_.seconds,
        .tokens_per_second = static_cast<double>(interval_.tokens) / interval_.seconds,
        .flops_per_second = flops_per_second,
        .utilization = profile_ ? std::optional(flops_per_second / profile_->stated_flops_per_second) : std::nullopt,
        .step_seconds = interval_.seconds / done,
        .data_seconds = interval_.data_seconds / done,
        .times = interval_.times / done,
        .seconds_left = training_seconds_ / static_cast<double>(steps_here_ - trainer_->unfinished()) *
                        static_cast<double>(steps - report.step),
        .epoch = place.epochs,
        .sequences_seen = place.sequences,
        .fill = place.fill,
        .skipped = report.skipped,
        .first_nonfinite = report.first_nonfinite};
    metrics_->append(progress);
    if (observer_.on_progress) observer_.on_progress(progress);
    interval_ = {};
}

void Run::guard_against_divergence(const StepReport& report) {
    nonfinite_steps_ = report.skipped ? nonfinite_steps_ + 1 : 0;
    if (nonfinite_steps_ < handling_.stop_after_nonfinite) return;
    fail(Fault::diverged, "step ", report.step, ": the gradient of ", report.first_nonfinite, " was not finite for ",
         nonfinite_steps_, " steps in a row; the weights are those of before. Lower --learning-rate or raise ",
         "--warmup-steps in a new --output",
         result_.checkpoint.empty() ? std::string() : ", or start from " + result_.checkpoint.string());
}

void Run::evaluate() {
    if (!plan_.held_out) return;
    if (observer_.on_stage) observer_.on_stage("evaluating on the held-out split");
    if (!held_out_) {
        held_out_ = std::make_unique<HeldOutBatches>(*plan_.held_out, plan_.shape.capacity, plan_.limits,
                                                     handling_.evaluation_sequences);
        baseline_ = std::make_unique<UnigramBaseline>(plan_.sampler->store(), plan_.limits.vocabulary_size);
    }
    const HeldOutSums sums = evaluate_held_out(trainer_->model(), trainer_->working_weights(), *held_out_, *baseline_);
    const Evaluation evaluation = evaluation_of(sums, trainer_->progress().steps, plan_.trainer.model.next_sentence);
    metrics_->append(evaluation);
    result_.evaluation = evaluation;
    if (observer_.on_evaluation) observer_.on_evaluation(evaluation);
}

void Run::save() {
    if (saved_step_ == trainer_->progress().steps) return;
    metrics_->sync();
    const CheckpointText text{.vocabulary = plan_.dataset->vocabulary(), .tokenizer = plan_.dataset->info().tokenizer};
    const TrainingState state{
        .step = trainer_->progress().steps,
        .updates = trainer_->progress().updates,
        .stream = stream_->state(),
        .recipe = record_,
        .matrix_library = matrix_library(),
        .gemm_plans = plan_.device ? plan_.device->products().plans() : std::vector<std::string>(),
        .nonfinite_steps = nonfinite_steps_};
    result_.checkpoint = save_checkpoint(handling_.output, *trainer_, plan_.recipe.model, text, state);
    saved_step_ = state.step;
    rotate_checkpoints(handling_.output, handling_.keep_checkpoints, result_.checkpoint);
    if (observer_.on_checkpoint) observer_.on_checkpoint(result_.checkpoint);
}

}  // namespace

RunResult pretrain(const RunRecipe& recipe, const RunHandling& handling, const RunObserver& observer) {
    return Run(recipe, handling, observer).execute();
}

}  // namespace cloze
