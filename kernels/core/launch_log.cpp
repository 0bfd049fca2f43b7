#include "kernels/core/launch_log.h"

#include "kernels/core/named_range.h"

namespace cloze {

thread_local LaunchLog* LaunchLog::current_ = nullptr;

LaunchLog::LaunchLog() : outer_(current_) {
    current_ = this;
}

LaunchLog::~LaunchLog() {
    current_ = outer_;
}

void LaunchLog::add(const char* op, Stream stream) {
    noted_.push_back(std::make_unique<Noted>());
    noted_.back()->op = op;
    noted_.back()->range = NamedRange::current();
    noted_.back()->before.record(stream);
}

std::vector<LaunchLog::Entry> LaunchLog::entries() const {
    std::vector<Entry> entries;
    for (std::size_t i = 0; i + 1 < noted_.size(); ++i) {
        const Event& next = noted_[i + 1]->before;
        next.wait();
        const Event& before = noted_[i]->before;
        entries.push_back({.op = noted_[i]->op,
                           .range = noted_[i]->range,
                           .start = before.seconds_since(noted_.front()->before),
                           .seconds = next.seconds_since(before)});
    }
    return entries;
}

}  // namespace cloze
