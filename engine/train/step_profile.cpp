#include "engine/train/step_profile.h"

#include <algorithm>

namespace cloze {
namespace {

constexpr double kMicro = 1e6;
constexpr int kProcess = 1, kPartsTrack = 1, kOpsTrack = 2;

Json named(const char* what, int track, const std::string& name) {
    return {{"ph", "M"}, {"name", what}, {"pid", kProcess}, {"tid", track}, {"args", {{"name", name}}}};
}

/// A bar of the trace; `start` in seconds.
Json bar(const std::string& name, int track, double start, double seconds) {
    return {{"ph", "X"},    {"name", name},         {"pid", kProcess},
            {"tid", track}, {"ts", start * kMicro}, {"dur", seconds * kMicro}};
}

/// The named ranges of a step as bars above its ops.
void append_parts(Json& events, const std::vector<LaunchLog::Entry>& entries, double start) {
    for (std::size_t first = 0; first < entries.size();) {
        std::size_t end = first;
        double seconds = 0;
        while (end < entries.size() && entries[end].range == entries[first].range) seconds += entries[end++].seconds;
        if (!entries[first].range.empty()) {
            events.push_back(bar(entries[first].range, kPartsTrack, start + entries[first].start, seconds));
        }
        first = end;
    }
}

Json op_json(const OpProfile& op) {
    Json json = {{"op", op.op}, {"launches", op.launches}, {"seconds", op.seconds}};
    if (op.cost) {
        json["bytes"] = op.cost->cost.bytes;
        json["flops"] = op.cost->cost.flops;
    }
    if (op.limit_seconds > 0) json["share_of_limit"] = op.limit_seconds / op.seconds;
    return json;
}

}  // namespace

void StepProfiler::add(const std::vector<LaunchLog::Entry>& entries, double seconds, double pairs) {
    steps_.push_back({.entries = entries, .seconds = seconds, .pairs = pairs});
}

StepProfile StepProfiler::summary(StepWork work, const std::optional<DeviceProfile>& profile) const {
    const double count = static_cast<double>(steps_.size());
    StepProfile summary;
    summary.steps = steps();
    work.pairs = 0;
    for (const Step& step : steps_) {
        summary.step_seconds += step.seconds / count;
        work.pairs += step.pairs / count;
        for (const LaunchLog::Entry& entry : step.entries) {
            auto found = std::find_if(summary.ops.begin(), summary.ops.end(),
                                      [&](const OpProfile& known) { return known.op == entry.op; });
            if (found == summary.ops.end()) {
                found = summary.ops.insert(summary.ops.end(), OpProfile{});
                found->op = entry.op;
            }
            found->launches += 1 / count;
            found->seconds += entry.seconds / count;
            summary.op_seconds += entry.seconds / count;
        }
    }
    for (const OpCost& cost : step_costs(work)) {
        for (OpProfile& op : summary.ops) {
            if (op.op != cost.op) continue;
            op.cost = cost;
            if (profile) op.limit_seconds = limit_seconds(cost, *profile);
        }
    }
    std::stable_sort(summary.ops.begin(), summary.ops.end(),
                     [](const OpProfile& a, const OpProfile& b) { return a.seconds > b.seconds; });
    return summary;
}

Json StepProfiler::trace(const StepProfile& summary) const {
    Json events = Json::array({named("process_name", 0, summary.device), named("thread_name", kPartsTrack, "parts"),
                               named("thread_name", kOpsTrack, "ops")});
    double start = 0;
    for (const Step& step : steps_) {
        append_parts(events, step.entries, start);
        double end = 0;
        for (const LaunchLog::Entry& entry : step.entries) {
            events.push_back(bar(entry.op, kOpsTrack, start + entry.start, entry.seconds));
            end = entry.start + entry.seconds;
        }
        start += std::max(end, step.seconds);
    }
    Json ops = Json::array();
    for (const OpProfile& op : summary.ops) ops.push_back(op_json(op));
    return {{"displayTimeUnit", "ms"},
            {"traceEvents", std::move(events)},
            {"otherData",
             {{"program", "cloze"},
              {"device", summary.device},
              {"steps", summary.steps},
              {"op_seconds", summary.op_seconds},
              {"step_seconds", summary.step_seconds},
              {"usual_step_seconds", summary.usual_seconds},
              {"ops", std::move(ops)}}}};
}

}  // namespace cloze
