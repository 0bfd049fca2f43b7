#include "benchmarks/bench/report.h"

#include <algorithm>

namespace cloze::bench {

std::string Row::key() const {
    return op + "/" + variant + "/" + shape + "/" + dtype;
}

Row row_of(const Case& one) {
    Row row{.op = one.op, .variant = one.variant, .shape = "", .dtype = name_of(one.dtype), .cost = one.cost};
    for (const Size& size : one.sizes) {
        row.shape += text(row.shape.empty() ? "" : "x", size.value);
        row.sizes.emplace_back(size.name, size.value);
    }
    return row;
}

double Ceilings::limit(const Cost& cost) const {
    return std::max(static_cast<double>(cost.bytes) / copy, static_cast<double>(cost.flops) / matmul);
}

bool Ceilings::memory_bound(const Cost& cost) const {
    return static_cast<double>(cost.bytes) / copy >= static_cast<double>(cost.flops) / matmul;
}

std::vector<const Row*> largest_rows(const Section& section, const Ceilings& ceilings) {
    std::vector<const Row*> largest;
    for (const Row& row : section.rows) {
        const auto same = std::find_if(largest.begin(), largest.end(), [&](const Row* other) {
            return other->op == row.op && other->variant == row.variant;
        });
        if (same == largest.end()) {
            largest.push_back(&row);
        } else if (ceilings.limit(row.cost) > ceilings.limit((*same)->cost)) {
            *same = &row;
        }
    }
    return largest;
}

namespace {

Json row_json(const Row& row, const Ceilings& ceilings) {
    Json::Object json{{"key", row.key()},
                      {"op", row.op},
                      {"variant", row.variant},
                      {"shape", row.shape},
                      {"dtype", row.dtype},
                      {"sizes", row.sizes},
                      {"bytes", row.cost.bytes},
                      {"flops", row.cost.flops},
                      {"limit_seconds", ceilings.limit(row.cost)},
                      {"limited_by", ceilings.memory_bound(row.cost) ? "memory" : "matmul"},
                      {"status", row.status}};
    if (row.measured()) {
        const double median = row.timing.median;
        json.emplace_back("seconds", median);
        json.emplace_back("seconds_low_quartile", row.timing.low);
        json.emplace_back("seconds_high_quartile", row.timing.high);
        json.emplace_back("samples", row.timing.samples);
        json.emplace_back("calls_per_sample", row.timing.calls);
        json.emplace_back("bytes_per_second", static_cast<double>(row.cost.bytes) / median);
        json.emplace_back("flops_per_second", static_cast<double>(row.cost.flops) / median);
        json.emplace_back("of_copy", static_cast<double>(row.cost.bytes) / median / ceilings.copy);
        json.emplace_back("of_limit", ceilings.limit(row.cost) / median);
    }
    if (row.peer) {
        json.emplace_back("peer", row.peer->name);
        json.emplace_back("peer_seconds", row.peer->seconds);
        if (row.measured()) json.emplace_back("times_as_fast_as_peer", row.peer->seconds / row.timing.median);
    }
    if (row.over_plain > 0) json.emplace_back("time_over_plain_product", row.over_plain);
    if (!row.detail.empty()) json.emplace_back("algorithm", row.detail);
    return json;
}

Row row_from(const Json& json) {
    Row row{
        .op = json["op"].text(),
        .variant = json["variant"].text(),
        .shape = json["shape"].text(),
        .dtype = json["dtype"].text(),
        .sizes = json["sizes"].object(),
        .cost = {static_cast<std::int64_t>(json["bytes"].number()), static_cast<std::int64_t>(json["flops"].number())},
        .status = json["status"].text()};
    row.timing = {.median = json["seconds"].number(),
                  .low = json["seconds_low_quartile"].number(),
                  .high = json["seconds_high_quartile"].number(),
                  .samples = static_cast<int>(json["samples"].number()),
                  .calls = static_cast<int>(json["calls_per_sample"].number())};
    if (!json["peer"].is_null()) row.peer = Peer{json["peer"].text(), json["peer_seconds"].number()};
    row.over_plain = json["time_over_plain_product"].number();
    row.detail = json["algorithm"].text();
    return row;
}

Json facts_json(const Facts& facts) {
    return Json::Object{{"name", facts.device},
                        {"driver", facts.driver},
                        {"cuda", facts.cuda},
                        {"multiprocessors", facts.multiprocessors},
                        {"memory_bytes", facts.memory_bytes},
                        {"empty_event_pair_seconds", facts.empty_event_pair}};
}

constexpr const char* kProgram = "cloze-bench";

}  // namespace

Json to_json(const Report& report) {
    const Ceilings& ceilings = report.ceilings;
    Json::Array sections, sustained;
    for (const Section& section : report.sections) {
        Json::Array rows;
        for (const Row& row : section.rows) rows.push_back(row_json(row, ceilings));
        sections.push_back(Json::Object{{"name", section.name},
                                        {"kind", section.kind == TableKind::kernels ? "kernels" : "products"},
                                        {"rows", rows}});
    }
    for (const SustainedSecond& second : report.sustained) {
        sustained.push_back(Json::Object{{"seconds", second.seconds},
                                         {"flops_per_second", second.flops_per_second},
                                         {"clocks_power_temperature", second.state}});
    }
    return Json::Object{{"program", kProgram},
                        {"date", report.facts.date},
                        {"command", report.facts.command},
                        {"commit", report.facts.commit},
                        {"device", facts_json(report.facts)},
                        {"ceilings", Json::Object{{"copy_bytes_per_second", ceilings.copy},
                                                  {"copy_measured", ceilings.copy_measured},
                                                  {"matmul_flops_per_second", ceilings.matmul},
                                                  {"matmul_measured", ceilings.matmul_measured}}},
                        {"sections", sections},
                        {"sustained", sustained}};
}

Report report_from(const Json& json, const std::string& source) {
    require_input(json["program"].text() == kProgram, source, ": not a report of ", kProgram);
    const Json& device = json["device"];
    const Json& ceilings = json["ceilings"];
    Report report{.facts = {.date = json["date"].text(),
                            .command = json["command"].text(),
                            .commit = json["commit"].text(),
                            .device = device["name"].text(),
                            .driver = device["driver"].text(),
                            .cuda = device["cuda"].text(),
                            .multiprocessors = static_cast<std::int64_t>(device["multiprocessors"].number()),
                            .memory_bytes = static_cast<std::int64_t>(device["memory_bytes"].number()),
                            .empty_event_pair = device["empty_event_pair_seconds"].number()},
                  .ceilings = {.copy = ceilings["copy_bytes_per_second"].number(),
                               .matmul = ceilings["matmul_flops_per_second"].number(),
                               .copy_measured = ceilings["copy_measured"].truth(),
                               .matmul_measured = ceilings["matmul_measured"].truth()},
                  .sections = {},
                  .sustained = {}};
    require_input(report.ceilings.copy > 0 && report.ceilings.matmul > 0, source, ": has no ceilings");
    for (const Json& section : json["sections"].array()) {
        Section read{.name = section["name"].text(),
                     .kind = section["kind"].text() == "products" ? TableKind::products : TableKind::kernels,
                     .rows = {}};
        for (const Json& row : section["rows"].array()) read.rows.push_back(row_from(row));
        report.sections.push_back(std::move(read));
    }
    for (const Json& second : json["sustained"].array()) {
        report.sustained.push_back({.seconds = second["seconds"].number(),
                                    .flops_per_second = second["flops_per_second"].number(),
                                    .state = second["clocks_power_temperature"].text()});
    }
    return report;
}

int add_peers(Report& report, const Json& json) {
    int found = 0;
    for (Section& section : report.sections) {
        for (Row& row : section.rows) {
            for (const Json& peer : json["rows"].array()) {
                const double seconds = peer["seconds"].number();
                if (peer["key"].text() != row.key() || seconds <= 0) continue;
                if (!row.peer || seconds < row.peer->seconds) row.peer = Peer{peer["peer"].text(), seconds};
            }
            if (row.peer) ++found;
        }
    }
    return found;
}

}  // namespace cloze::bench
