// Runs cases on the device in use.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "benchmarks/bench/report.h"

namespace cloze::bench {

struct RunSettings {
    Effort effort;
    std::int64_t rotation_bytes = 240'000'000;  // what the sets of a case move together: four second-level caches
    std::int64_t flush_bytes = 256'000'000;     // see Stopwatch
};

class Runner {
public:
    explicit Runner(const RunSettings& settings) : settings_(settings), stopwatch_(settings.flush_bytes) {}

    /// Never throws: what goes wrong is the row's status.
    Row run(const Case& one);

    Stopwatch& stopwatch() { return stopwatch_; }
    Normals& normals() { return normals_; }
    const RunSettings& settings() const { return settings_; }

private:
    Timing time(const Case& one);

    RunSettings settings_;
    Stopwatch stopwatch_;
    Normals normals_;
};

/// Copies from device to device: by the driver, and by our own kernel that loads and stores 16 bytes at a time.
std::vector<Case> copy_cases(const std::vector<std::int64_t>& megabytes);

/// The fastest of the measured rows, in bytes a second; nothing where none was measured.
std::optional<double> fastest_copy(const std::vector<Row>& rows);

/// Rows that are not measured.
std::vector<Row> rows_of(const std::vector<Case>& cases);

}  // namespace cloze::bench
