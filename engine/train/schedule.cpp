#include "engine/train/schedule.h"

#include <algorithm>
#include <cmath>

#include "kernels/core/error.h"

namespace cloze {

ScheduleKind schedule_from(const std::string& name) {
    for (const ScheduleKind kind :
         {ScheduleKind::linear, ScheduleKind::google_linear, ScheduleKind::poly, ScheduleKind::constant}) {
        if (name == name_of(kind)) return kind;
    }
    fail(Fault::usage, "schedule '", name, "' is unknown; use linear, google-linear, poly or constant");
}

const char* name_of(ScheduleKind kind) {
    switch (kind) {
        case ScheduleKind::linear: return "linear";
        case ScheduleKind::google_linear: return "google-linear";
        case ScheduleKind::poly: return "poly";
        case ScheduleKind::constant: return "constant";
    }
    return "?";
}

double Schedule::at(std::int64_t t) const {
    if (t < warmup_steps) return base * static_cast<double>(t) / static_cast<double>(warmup_steps);
    const double total = static_cast<double>(total_steps);
    const double left = std::max(0.0, total - static_cast<double>(t));
    switch (kind) {
        case ScheduleKind::linear: return base * left / std::max(1.0, total - static_cast<double>(warmup_steps));
        case ScheduleKind::google_linear: return base * left / total;
        case ScheduleKind::poly: return base * std::pow(left / total, degree);
        case ScheduleKind::constant: return base;
    }
    return base;
}

}  // namespace cloze
