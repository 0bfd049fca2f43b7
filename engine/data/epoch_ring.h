// The epochs that the sample stream is in: from a stream index to the plan and position it stands for. Plans the next
// epoch ahead on a thread of its own. Tested by tests/data/batch_stream_test.cpp.
#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <future>
#include <memory>

#include "engine/data/batch_stream.h"

namespace cloze {

/// One sample of the stream, with the plan that knows it.
struct StreamSample {
    std::uint64_t index;
    std::shared_ptr<const EpochPlan> plan;
    std::uint64_t position;  // in the plan's order
};

/// For one thread at a time.
class EpochRing {
public:
    /// `epochs` as in StreamState; empty: epoch 0 at index 0. `ahead`: plan the next epoch in the background once half
    /// of the newest has been asked for.
    EpochRing(std::shared_ptr<const Sampler> sampler, const std::vector<StreamState::Epoch>& epochs, int plan_threads,
              bool ahead);
    ~EpochRing();

    /// Plans the epochs up to the one that holds `index`, which must not lie before forget_before().
    StreamSample locate(std::uint64_t index);
    /// Drops epochs that end at or before `index`.
    void forget_before(std::uint64_t index);

    std::vector<StreamState::Epoch> epochs() const;
    /// Epochs gone by at `index`, which lies in a known epoch or at the end of the newest.
    double epochs_at(std::uint64_t index) const;

private:
    struct Entry {
        std::uint64_t first;
        std::shared_ptr<const EpochPlan> plan;
    };
    void extend();
    void plan_ahead();

    std::shared_ptr<const Sampler> sampler_;
    bool ahead_;
    std::deque<Entry> entries_;  // at least one
    std::atomic<bool> cancel_{false};
    std::future<std::shared_ptr<const EpochPlan>> next_;
};

}  // namespace cloze
