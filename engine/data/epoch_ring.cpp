#include "engine/data/epoch_ring.h"

#include "kernels/core/error.h"

namespace cloze {

EpochRing::EpochRing(std::shared_ptr<const Sampler> sampler, const std::vector<StreamState::Epoch>& epochs,
                     int plan_threads, bool ahead)
    : sampler_(std::move(sampler)), ahead_(ahead) {
    const auto plan = [&](std::uint32_t epoch) {
        return std::make_shared<const EpochPlan>(*sampler_, epoch, plan_threads);
    };
    for (const StreamState::Epoch& epoch : epochs) {
        if (!entries_.empty()) {
            const Entry& before = entries_.back();
            require_input(
                epoch.epoch == before.plan->epoch() + 1 && epoch.first == before.first + before.plan->samples(),
                "the saved position of the sample stream says that epoch ", epoch.epoch, " begins at sample ",
                epoch.first, ", but the data gives ", before.first + before.plan->samples(),
                "; the data or its settings changed: continue with the original ones or start a new run");
        }
        entries_.push_back({epoch.first, plan(epoch.epoch)});
    }
    if (entries_.empty()) entries_.push_back({0, plan(0)});
}

EpochRing::~EpochRing() {
    cancel_ = true;  // the future's destructor then waits for one block of documents at most
}

void EpochRing::extend() {
    const Entry& newest = entries_.back();
    const std::uint64_t first = newest.first + newest.plan->samples();
    const std::uint32_t epoch = newest.plan->epoch() + 1;
    auto plan = next_.valid() ? next_.get() : std::make_shared<const EpochPlan>(*sampler_, epoch, 1);
    entries_.push_back({first, std::move(plan)});
}

void EpochRing::plan_ahead() {
    const std::uint32_t epoch = entries_.back().plan->epoch() + 1;
    next_ = std::async(std::launch::async,
                       [this, epoch] { return std::make_shared<const EpochPlan>(*sampler_, epoch, 1, &cancel_); });
}

StreamSample EpochRing::locate(std::uint64_t index) {
    require(index >= entries_.front().first, "EpochRing: sample ", index, " lies before epoch ",
            entries_.front().plan->epoch());
    while (index >= entries_.back().first + entries_.back().plan->samples()) extend();
    const Entry& newest = entries_.back();
    if (ahead_ && !next_.valid() && index >= newest.first + newest.plan->samples() / 2) plan_ahead();
    std::size_t i = entries_.size() - 1;
    while (entries_[i].first > index) --i;
    return {index, entries_[i].plan, index - entries_[i].first};
}

void EpochRing::forget_before(std::uint64_t index) {
    while (entries_.size() > 1 && entries_[1].first <= index) entries_.pop_front();
}

std::vector<StreamState::Epoch> EpochRing::epochs() const {
    std::vector<StreamState::Epoch> epochs;
    for (const Entry& entry : entries_) epochs.push_back({entry.plan->epoch(), entry.first});
    return epochs;
}

double EpochRing::epochs_at(std::uint64_t index) const {
    std::size_t i = entries_.size() - 1;
    while (i > 0 && entries_[i].first > index) --i;
    const Entry& entry = entries_[i];
    return entry.plan->epoch() + static_cast<double>(index - entry.first) / static_cast<double>(entry.plan->samples());
}

}  // namespace cloze
