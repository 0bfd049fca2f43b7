#include "engine/data/batch_stream.h"

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <exception>
#include <mutex>
#include <thread>

#include "engine/data/epoch_ring.h"
#include "engine/data/sampler.h"
#include "kernels/core/error.h"

namespace cloze {

namespace {

Batch assemble(const Sampler& sampler, const std::vector<StreamSample>& samples, const BatchCapacity& capacity,
               const BatchLimits& limits) {
    Batch batch = empty_batch(capacity);
    Sample sample;
    for (const StreamSample& one : samples) {
        sampler.make(one.plan->source(one.position), sample);
        append_sample(batch, sample, one.index, limits);
    }
    finish_batch(batch, limits);
    return batch;
}

SampleSize longest_sample(const Sampler& sampler) {
    const std::int64_t tokens = sampler.settings().max_seq_length;
    return {tokens, sampler.predictions(tokens)};
}

void add_totals(StepBatches& step) {
    for (const Batch& batch : step.micro) {
        step.masked += batch.counts.masked;
        step.sequences += batch.counts.sequences;
        step.tokens += batch.counts.tokens;
    }
}

void require_stream(const BatchStreamSettings& settings, const Sampler& sampler, const BatchLimits& limits) {
    require(settings.micro_batches >= 1, "BatchStream: a step of ", settings.micro_batches, " micro-batches");
    require(settings.first_micro_batch >= 0 && settings.micro_batch_count >= 0 &&
                settings.first_micro_batch + settings.micro_batch_count <= settings.micro_batches,
            "BatchStream: micro-batches ", settings.first_micro_batch, " + ", settings.micro_batch_count,
            " lie outside a step of ", settings.micro_batches);
    require(settings.prefetch_threads >= 0 && settings.prefetch_steps >= 1, "BatchStream: ", settings.prefetch_threads,
            " prefetch threads for ", settings.prefetch_steps, " steps; at least 0 and 1");
    require(sampler.settings().max_seq_length <= limits.positions, "max_seq_length ", sampler.settings().max_seq_length,
            " is above the model's position table of ", limits.positions, "; lower it to ", limits.positions,
            " or use a model with more positions");
    require_input(sampler.roles().vocabulary_size <= limits.vocabulary_size, "the data's vocabulary of ",
                  sampler.roles().vocabulary_size, " entries is larger than the model's of ", limits.vocabulary_size,
                  "; use the configuration and the vocabulary that belong together");
}

std::string stream_identity(const BatchStreamSettings& settings, const Sampler& sampler) {
    return text(sampler.identity(), " micro_batches=", settings.micro_batches, " tokens=", settings.capacity.tokens,
                " sequences=", settings.capacity.sequences, " masked=", settings.capacity.masked);
}

}  // namespace

/// One step on its way: planned by one thread, its micro-batches made by any, handed out when none is missing.
struct StepInWork {
    std::vector<std::vector<StreamSample>> micro;  // this rank's
    StepBatches step;
    StreamState after;
    double epochs_after = 0;
    std::size_t claimed = 0;
    std::size_t made = 0;
    std::exception_ptr failure;

    bool complete() const { return failure || made == micro.size(); }
};

struct BatchStream::Work {
    Work(std::shared_ptr<const Sampler> of, const BatchStreamSettings& asked, const BatchLimits& ids,
         const StreamState& from);
    ~Work();

    void start();
    std::shared_ptr<StepInWork> plan_step();
    void make_micro_batch(StepInWork& work, std::size_t i) const;
    std::shared_ptr<StepInWork> next_step();
    void prefetch();

    std::shared_ptr<const Sampler> sampler;
    BatchStreamSettings settings;
    BatchLimits limits;
    StreamState state;  // after the last step handed out
    double epochs = 0;

    EpochRing ring;  // ring, packer and planned belong to the thread that plans
    Packer packer;
    StreamState planned;

    std::mutex guard;  // of everything below
    std::condition_variable changed;
    std::deque<std::shared_ptr<StepInWork>> steps;
    bool planning = false;
    bool stop = false;
    std::vector<std::jthread> threads;
};

BatchStream::Work::Work(std::shared_ptr<const Sampler> of, const BatchStreamSettings& asked, const BatchLimits& ids,
                        const StreamState& from)
    : sampler(std::move(of)),
      settings(asked),
      limits(ids),
      state(from),
      ring(sampler, state.epochs, settings.plan_threads, settings.prefetch_threads > 0),
      packer(
          settings.capacity, longest_sample(*sampler),
          [this](std::uint64_t index) {
              const StreamSample sample = ring.locate(index);
              const std::int64_t length = sample.plan->length(sample.position);
              return SampleSize{length, sampler->predictions(length)};
          },
          state.packer) {
    if (settings.micro_batch_count == 0)
        settings.micro_batch_count = settings.micro_batches - settings.first_micro_batch;
    state.identity = stream_identity(settings, *sampler);
    ring.locate(state.packer.next);
    epochs = ring.epochs_at(state.packer.next);
    planned = state;
}

// Apart from construction, so that the destructor stops those that did start when one cannot.
void BatchStream::Work::start() {
    for (int i = 0; i < settings.prefetch_threads; ++i) threads.emplace_back([this] { prefetch(); });
}

BatchStream::Work::~Work() {
    {
        const std::lock_guard lock(guard);
        stop = true;
    }
    changed.notify_all();
    threads.clear();
}

std::shared_ptr<StepInWork> BatchStream::Work::plan_step() {
    auto work = std::make_shared<StepInWork>();
    try {
        for (std::int64_t i = 0; i < settings.micro_batches; ++i) {
            const std::vector<std::uint64_t> packed = packer.pack();
            planned.sequences += packed.size();
            const bool mine =
                i >= settings.first_micro_batch && i < settings.first_micro_batch + settings.micro_batch_count;
            if (mine) work->micro.emplace_back();
            for (const std::uint64_t index : packed) {
                StreamSample sample = ring.locate(index);
                planned.tokens += static_cast<std::uint64_t>(sample.plan->length(sample.position));
                if (mine) work->micro.back().push_back(std::move(sample));
            }
            const Packer::State& at = packer.state();
            ring.forget_before(at.window.empty() ? at.next : at.window.front());
        }
        ++planned.steps;
        planned.packer = packer.state();
        ring.locate(planned.packer.next);
        planned.epochs = ring.epochs();
        work->epochs_after = ring.epochs_at(planned.packer.next);
        work->after = planned;
        work->step.micro.resize(work->micro.size());
    } catch (...) {
        work->failure = std::current_exception();
    }
    return work;
}

void BatchStream::Work::make_micro_batch(StepInWork& work, std::size_t i) const {
    work.step.micro[i] = assemble(*sampler, work.micro[i], settings.capacity, limits);
}

// A prefetch thread: makes micro-batches of the oldest step that has one left, else plans a further step. Planning is
// sequential, so that the packer sees the stream in order whoever plans.
void BatchStream::Work::prefetch() {
    std::unique_lock lock(guard);
    while (!stop) {
        StepInWork* open = nullptr;
        for (const auto& step : steps) {
            if (!step->failure && step->claimed < step->micro.size()) {
                open = step.get();
                break;
            }
        }
        if (open != nullptr) {
            const std::size_t i = open->claimed++;
            lock.unlock();
            std::exception_ptr failure;
            try {
                make_micro_batch(*open, i);
            } catch (...) {
                failure = std::current_exception();
            }
            lock.lock();
            ++open->made;
            if (failure && !open->failure) open->failure = failure;
            if (open->made == open->micro.size() || open->failure) changed.notify_all();
        } else if (!planning && steps.size() < static_cast<std::size_t>(settings.prefetch_steps) &&
                   (steps.empty() || !steps.back()->failure)) {
            planning = true;
            lock.unlock();
            std::shared_ptr<StepInWork> step = plan_step();
            lock.lock();
            planning = false;
            steps.push_back(std::move(step));
            changed.notify_all();
        } else {
            changed.wait(lock);
        }
    }
}

std::shared_ptr<StepInWork> BatchStream::Work::next_step() {
    if (threads.empty()) {
        if (steps.empty()) steps.push_back(plan_step());
        StepInWork& step = *steps.front();
        for (; step.made < step.micro.size() && !step.failure; ++step.made) {
            try {
                make_micro_batch(step, step.made);
            } catch (...) {
                step.failure = std::current_exception();
            }
        }
    }
    std::unique_lock lock(guard);
    changed.wait(lock, [&] { return !steps.empty() && steps.front()->complete(); });
    std::shared_ptr<StepInWork> step = steps.front();
    if (!step->failure) steps.pop_front();  // a failed step stays, so that later calls fail alike
    changed.notify_all();
    return step;
}

BatchStream::BatchStream(std::shared_ptr<const Sampler> sampler, const BatchStreamSettings& settings,
                         const BatchLimits& limits, const StreamState& state) {
    require_stream(settings, *sampler, limits);
    const std::string identity = stream_identity(settings, *sampler);
    require_input(state.identity.empty() || state.identity == identity,
                  "the saved position of the sample stream belongs to other data or settings: it was [", state.identity,
                  "], this run has [", identity, "]; continue with the original ones or start a new run");
    work_ = std::make_unique<Work>(std::move(sampler), settings, limits, state);
    work_->start();
}

BatchStream::~BatchStream() = default;

StepBatches BatchStream::next() {
    const std::shared_ptr<StepInWork> done = work_->next_step();
    if (done->failure) std::rethrow_exception(done->failure);
    work_->state = std::move(done->after);
    work_->epochs = done->epochs_after;
    StepBatches step = std::move(done->step);
    add_totals(step);
    return step;
}

const StreamState& BatchStream::state() const {
    return work_->state;
}

double BatchStream::epochs() const {
    return work_->epochs;
}

double BatchStream::fill() const {
    const auto room = static_cast<double>(work_->state.steps) * static_cast<double>(work_->settings.micro_batches) *
                      static_cast<double>(work_->settings.capacity.tokens);
    return room == 0 ? 0.0 : static_cast<double>(work_->state.tokens) / room;
}

// Fixed, so that held-out figures of different runs are about the same samples and masks.
static constexpr std::uint64_t kHeldOutSeed = 0x686f6c646f757473;

HeldOutBatches::HeldOutBatches(const Sampler& sampler, const BatchCapacity& capacity, const BatchLimits& limits,
                               std::int64_t most_sequences)
    : sampler_(sampler.with_seed(kHeldOutSeed)),
      plan_(std::make_shared<const EpochPlan>(sampler_, 0, 1)),
      capacity_(capacity),
      limits_(limits) {
    require_stream({.capacity = capacity}, sampler_, limits);
    std::uint64_t end = plan_->samples();
    if (most_sequences > 0) end = std::min(end, static_cast<std::uint64_t>(most_sequences));
    sequences_ = static_cast<std::int64_t>(end);
    const auto size_of = [this](std::uint64_t position) {
        const std::int64_t length = plan_->length(position);
        return SampleSize{length, sampler_.predictions(length)};
    };
    Packer packer(capacity, longest_sample(sampler_), size_of, {}, end);
    for (auto packed = packer.pack(); !packed.empty(); packed = packer.pack()) packed_.push_back(std::move(packed));
}

Batch HeldOutBatches::batch(std::int64_t index) const {
    require(index >= 0 && index < count(), "HeldOutBatches: no micro-batch ", index, " among ", count());
    std::vector<StreamSample> samples;
    for (const std::uint64_t position : packed_[static_cast<std::size_t>(index)]) {
        samples.push_back({position, plan_, position});
    }
    return assemble(sampler_, samples, capacity_, limits_);
}

}  // namespace cloze
