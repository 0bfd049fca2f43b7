#include "engine/train/step_timer.h"

namespace cloze {

StepTimes& StepTimes::operator+=(const StepTimes& other) {
    input += other.input;
    forward += other.forward;
    backward += other.backward;
    optimizer += other.optimizer;
    return *this;
}

void StepTimer::start(std::int64_t step) {
    running_ = &steps_[step % 2];
    running_->used = 0;
    mark(StepPart::input);
}

void StepTimer::lap(StepPart part) {
    mark(part);
}

void StepTimer::mark(StepPart part) {
    const bool on_device = compute_.place == Place::device;
    if (running_->used == running_->marks.size()) {
        running_->marks.push_back({.part = part, .event = on_device ? std::make_unique<Event>() : nullptr, .at = {}});
    }
    Mark& mark = running_->marks[running_->used++];
    mark.part = part;
    if (on_device) {
        mark.event->record(compute_.stream);
    } else {
        mark.at = Clock::now();
    }
}

StepTimes StepTimer::times(std::int64_t step) const {
    const Step& done = steps_[step % 2];
    StepTimes times;
    double* const parts[] = {&times.input, &times.forward, &times.backward, &times.optimizer};
    for (std::size_t i = 1; i < done.used; ++i) {
        const Mark& before = done.marks[i - 1];
        const Mark& mark = done.marks[i];
        *parts[static_cast<std::size_t>(mark.part)] += mark.event
                                                           ? mark.event->seconds_since(*before.event)
                                                           : std::chrono::duration<double>(mark.at - before.at).count();
    }
    return times;
}

}  // namespace cloze
