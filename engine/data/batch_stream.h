// The run's stream of samples, cut into optimizer steps of exactly M micro-batches, made ahead by threads. The stream
// runs through the epochs one after the other, each in its own order; where it stands is a few integers
// (StreamState), from which any step can be reached without replaying what came before. The same batches at any number
// of threads, with or without prefetch. Tested by tests/data/batch_stream_test.cpp.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "engine/data/batch.h"
#include "engine/data/epoch_plan.h"
#include "engine/data/packing.h"

namespace cloze {

/// Where the stream stands after a step: all that a checkpoint must keep of the data side.
struct StreamState {
    struct Epoch {
        std::uint32_t epoch = 0;
        std::uint64_t first = 0;  // stream index of its first sample
    };
    std::string identity;       // of sampler and capacities; filled by the stream, checked when a run continues
    std::vector<Epoch> epochs;  // those that `packer` refers to, oldest first; empty at the start of a run
    Packer::State packer;
    std::uint64_t steps = 0;  // handed out, and what was in them, over the whole stream and all ranks
    std::uint64_t sequences = 0;
    std::uint64_t tokens = 0;
};

/// One line of JSON, and back. parse throws Fault::input naming `source` for anything that is not a stream state.
std::string stream_state_json(const StreamState& state);
StreamState parse_stream_state(const std::string& json, const std::string& source);

struct BatchStreamSettings {
    BatchCapacity capacity;
    std::int64_t micro_batches = 1;      // M, a step
    std::int64_t first_micro_batch = 0;  // this rank makes [first, first + count) of each step's M
    std::int64_t micro_batch_count = 0;  // 0: all
    int prefetch_threads = 1;            // 0: next() makes its step itself
    int prefetch_steps = 2;              // at most this many steps are ready or in work
    int plan_threads = 1;                // for the first epoch's plan; later ones are planned by one background thread
};

class BatchStream {
public:
    /// Starts at the beginning, or continues after the step that `state` was taken. `limits.positions` is the model's
    /// position table. Throws Fault::input when the state is of another corpus, vocabulary or setting.
    BatchStream(std::shared_ptr<const Sampler> sampler, const BatchStreamSettings& settings, const BatchLimits& limits,
                const StreamState& state = {});
    ~BatchStream();
    BatchStream(const BatchStream&) = delete;
    BatchStream& operator=(const BatchStream&) = delete;

    /// The next step. An error of a prefetch thread is thrown here, and again by every later call.
    StepBatches next();

    /// After the last step that next() returned.
    const StreamState& state() const;

    /// Progress for logs: epochs begun and done, as in 2.25, by samples taken from the stream.
    double epochs() const;
    /// Tokens in use over capacity, of all steps so far.
    double fill() const;

    struct Work;  // shared with the prefetch threads

private:
    std::unique_ptr<Work> work_;
};

/// A fixed set of micro-batches for evaluation: epoch 0 of the store under a fixed seed, so that its pairs and masks
/// are the same in every run and at every evaluation.
class HeldOutBatches {
public:
    /// `sampler` is of the held-out split; its seed is replaced. At most `most_sequences` (0: all), which are then the
    /// first ones of the epoch's order, a fair choice.
    HeldOutBatches(const Sampler& sampler, const BatchCapacity& capacity, const BatchLimits& limits,
                   std::int64_t most_sequences = 0);

    std::int64_t count() const { return static_cast<std::int64_t>(packed_.size()); }
    std::int64_t sequences() const { return sequences_; }
    /// Made anew at each call; any order, any thread.
    Batch batch(std::int64_t index) const;

private:
    Sampler sampler_;
    std::shared_ptr<const EpochPlan> plan_;
    BatchCapacity capacity_;
    BatchLimits limits_;
    std::vector<std::vector<std::uint64_t>> packed_;
    std::int64_t sequences_ = 0;
};

}  // namespace cloze
