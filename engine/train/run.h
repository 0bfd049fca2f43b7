// A pretraining run: what `cloze pretrain` does, as one call that a larger program can make. Opens the data, plans the
// batches, resumes or starts, trains, evaluates, saves, and tells an observer. Prints nothing, installs no signal
// handler, ends no process. Tested by tests/train/run_test.cpp.
//
// The output folder:
//   run.json                what the run is; a folder with another run.json belongs to another run and is refused
//   metrics.jsonl           a line per logged step and evaluation
//   profile.json            of the last profile, for Perfetto
//   checkpoint-00000100/    HuggingFace folders, see engine/train/checkpoint.h; the newest valid one is resumed
#pragma once

#include <filesystem>
#include <functional>
#include <optional>
#include <string>

#include "engine/data/sampler.h"
#include "engine/model/config.h"
#include "engine/model/initialization.h"
#include "engine/train/step_profile.h"
#include "engine/train/trainer.h"

namespace cloze {

/// Everything that decides the numbers of a run; written to run.json.
struct RunRecipe {
    std::filesystem::path data;            // dataset folder of `cloze prepare`
    BertConfig model;                      // vocab_size is taken from the data
    std::filesystem::path init_from = {};  // a checkpoint whose weights to start from; empty: random
    SampleSettings samples;                // sequence length, masking, next sentence, seed
    OptimizerRecipe optimizer;             // schedule.total_steps = steps of the run
    Initialization initialization = Initialization::truncated_normal;
    std::int64_t global_batch_size = 256;    // sequences a step, on average
    std::int64_t micro_batch_tokens = 4096;  // upper limit of a micro-batch
    std::int64_t virtual_ranks = 1;          // V
    DType precision = DType::f32;            // of weights in products and of activations: f32, or bf16
};

/// What may differ when a run is continued.
struct RunHandling {
    std::filesystem::path output;
    std::optional<int> gpu = {};  // index of the device; absent: the host
    int threads = 0;              // of the ops on the host; 0: all cores
    int prefetch_threads = 1;
    std::int64_t log_every = 10;               // steps
    std::int64_t evaluate_every = 0;           // steps; 0: only at the end
    std::int64_t evaluation_sequences = 2000;  // at most, of the held-out split
    std::int64_t save_every = 1000;            // steps; also at the end and when stopped
    std::int64_t keep_checkpoints = 3;         // >= 1; the last verified one is never removed
    bool preflight_only = false;               // stop before the first step; nothing is written
    std::int64_t profile_steps = 0;            // of a GPU, after the first few of this process; written to profile.json
    std::int64_t stop_after_nonfinite = 10;    // skipped steps in a row that end the run
};

/// What will happen, before the first step.
struct Preflight {
    std::int64_t parameters;
    std::int64_t training_documents, training_tokens, held_out_documents;
    std::int64_t samples_per_epoch;
    double mean_sequence_tokens;
    std::int64_t micro_batches;  // M of a step
    BatchCapacity capacity;      // of a micro-batch
    double sequences_per_step;   // expected: M x mean sequences
    double epochs;               // of the whole run
    std::int64_t warmup_steps, steps;
    std::int64_t memory_bytes;  // weights, gradients, moments, activations; where the run computes
    std::int64_t checkpoint_bytes;
    std::int64_t free_bytes;  // where the checkpoints go
    double step_flops;        // of a step, forward and backward
    double least_seconds;     // of the steps that are left, if they were matrix products alone; measured, 0: not
    std::string device;       // of a GPU: its name
    std::string matrix_library;
    int threads;
    std::int64_t resumed_step = 0;   // 0: a fresh run
    std::vector<std::string> notes;  // of loading weights, of damaged checkpoints passed over
};

/// Averages since the last report.
struct Progress {
    std::int64_t step, steps;
    double loss, masked_loss, next_sentence_loss;
    double masked_accuracy, next_sentence_accuracy;
    double learning_rate, gradient_norm;
    double sequences_per_second, tokens_per_second;
    double flops_per_second;            // by step_flops() of engine/train/run_plan.h, of what was really in the steps
    std::optional<double> utilization;  // of the vendor's dense bf16 rate; absent where the device is not known
    double step_seconds;                // of a step; what follows are parts of it
    double data_seconds;                // the host waited for micro-batches; a GPU may have been busy meanwhile
    StepTimes times;                    // where the step was computed
    double seconds_left;                // estimate
    double epoch;                       // of the sample stream
    std::int64_t sequences_seen;        // since step 0
    double fill;                        // share of the token capacity in use
    bool skipped;
    std::string first_nonfinite;
};

struct Evaluation {
    std::int64_t step;
    double masked_loss, masked_accuracy;
    double next_sentence_loss, next_sentence_accuracy;
    std::int64_t masked, sequences;
    bool next_sentence;           // whether that head is trained at all
    double next_sentence_chance;  // accuracy of always giving the more frequent answer
    double unigram_loss;          // of the same predictions, by token frequency in the training split
    double unigram_accuracy;      // of always saying the most frequent token
};

inline constexpr const char* kProfileTrace = "profile.json";
/// Steps of a process before its first profiled one: the first few are slower than what follows.
inline constexpr std::int64_t kStepsBeforeProfile = 10;

struct RunObserver {
    std::function<void(const std::string& stage)> on_stage = {};  // "verifying the data", before long work
    std::function<void(const Preflight&)> on_preflight = {};
    std::function<void(const Progress&)> on_progress = {};  // every log_every steps, and the last
    std::function<void(const Evaluation&)> on_evaluation = {};
    std::function<void(const std::filesystem::path&)> on_checkpoint = {};  // after it is verified
    std::function<void(const StepProfile&, const std::filesystem::path& trace)> on_profile = {};
    std::function<bool()> stop_requested = {};  // asked after every step
};

struct RunResult {
    std::int64_t steps_done;
    bool stopped;                          // asked to stop; the same call continues
    std::filesystem::path checkpoint;      // the last one
    std::optional<Evaluation> evaluation;  // the last one
    std::vector<double> loss_history;      // masked + next-sentence loss of the logged steps, resumed ones included
};

RunResult pretrain(const RunRecipe& recipe, const RunHandling& handling, const RunObserver& observer);

/// Held-out losses of a checkpoint (or of a run folder's newest) on a dataset, with its own fixed samples.
struct EvaluateOptions {
    std::filesystem::path checkpoint;
    std::filesystem::path data;
    std::optional<SampleSettings> samples;  // absent: those of the checkpoint's run, or the defaults
    std::int64_t micro_batch_tokens = 4096;
    std::int64_t sequences = 0;  // at most; 0: all of the held-out split
    int threads = 0;
};
Evaluation evaluate(const EvaluateOptions& options);

}  // namespace cloze
