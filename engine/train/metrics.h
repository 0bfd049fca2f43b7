// metrics.jsonl: a JSON object a line, for machines. Tested by tests/train/run_test.cpp.
#pragma once

#include <filesystem>
#include <optional>
#include <vector>

#include "engine/files/write.h"
#include "engine/train/run.h"

namespace cloze {

inline constexpr const char* kMetricsLog = "metrics.jsonl";

class MetricsLog {
public:
    /// Opens the log of a run that continues at `resumed_step`. What will be computed again goes: lines of later steps,
    /// and of a finished run the last evaluation.
    MetricsLog(const std::filesystem::path& run_folder, std::int64_t resumed_step, bool finished);

    void append(const Progress& progress);
    void append(const Evaluation& evaluation);
    void sync() { log_.sync(); }

    /// Loss of every training line of the log, in order.
    static std::vector<double> loss_history(const std::filesystem::path& run_folder);

private:
    LineLog log_;
};

}  // namespace cloze
