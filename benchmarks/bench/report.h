// What a run found: rows with their times, the ceilings they are measured against, and where and when. Written as a
// table for people and as JSON for programs, and read back from JSON, so that peers measured later can be set beside
// it. Tested by tests/benchmarks/bench_test.py.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "benchmarks/bench/case.h"
#include "benchmarks/bench/json.h"
#include "benchmarks/bench/stopwatch.h"

namespace cloze::bench {

inline constexpr const char* kMeasured = "measured";
inline constexpr const char* kNotMeasured = "not measured";
inline constexpr const char* kNotOffered = "not offered on devices";

/// Another implementation of the same work on the same device.
struct Peer {
    std::string name;
    double seconds;
};

struct Row {
    std::string op;
    std::string variant;
    std::string shape;  // "65536x1024"
    std::string dtype;
    Json::Object sizes = {};  // the same shape with names
    Cost cost;
    std::string status = kNotMeasured;  // kMeasured, kNotMeasured, kNotOffered, or what went wrong
    Timing timing = {};                 // where measured
    std::optional<Peer> peer = {};      // the fastest
    double over_plain = 0;    // of a product: its time over that of the product without epilogue; 0 = not known
    std::string detail = {};  // of a product: the algorithm

    bool measured() const { return status == kMeasured; }
    bool failed() const { return status != kMeasured && status != kNotMeasured && status != kNotOffered; }
    /// "op/variant/shape/dtype": what peers are found by.
    std::string key() const;
};

Row row_of(const Case& one);

/// What the device reaches at most, measured in the same run; without a device, an H200's, so that limits have a size.
struct Ceilings {
    double copy = 4.3e12;    // bytes a second, read and written
    double matmul = 788e12;  // FLOP a second of an 8192^3 product in bf16
    bool copy_measured = false;
    bool matmul_measured = false;

    /// The least time for a cost, in seconds.
    double limit(const Cost& cost) const;
    bool memory_bound(const Cost& cost) const;
};

/// Where and when.
struct Facts {
    std::string date;     // "2026-11-25 14:03"
    std::string command;  // as it was typed
    std::string commit;
    std::string device;  // name, or "none"
    std::string driver;  // driver, power limit and clocks, as nvidia-smi gives them
    std::string cuda;    // of the build
    std::int64_t multiprocessors = 0;
    std::int64_t memory_bytes = 0;
    double empty_event_pair = 0;  // seconds
};

/// One second of a sustained product.
struct SustainedSecond {
    double seconds;  // since the start
    double flops_per_second;
    std::string state;  // "clocks.sm, power, temperature", as nvidia-smi gives them
};

enum class TableKind { kernels, products };

struct Section {
    std::string name;
    TableKind kind;
    std::vector<Row> rows;
};

struct Report {
    Facts facts;
    Ceilings ceilings;
    std::vector<Section> sections;
    std::vector<SustainedSecond> sustained;
};

std::string table(const Report& report);
/// The largest shape of each kernel; for each kind of product its mean over the shapes; one line of the sustained one.
std::string short_table(const Report& report);

/// Of each op and variant the row of the longest limit, in the order of the section.
std::vector<const Row*> largest_rows(const Section& section, const Ceilings& ceilings);
Json to_json(const Report& report);
/// Throws Fault::input where the file is no report.
Report report_from(const Json& json, const std::string& source);

/// Sets the fastest peer of `json` (benchmarks/peers.py) beside each row of the same key. Returns how many rows got
/// one.
int add_peers(Report& report, const Json& json);

}  // namespace cloze::bench
