// The report for people: device, date and command, then one aligned table a section.
#include <algorithm>
#include <cstdio>

#include "benchmarks/bench/report.h"

namespace cloze::bench {

namespace {

std::string fixed(double value, int digits) {
    char buffer[64];
    std::snprintf(buffer, sizeof buffer, "%.*f", digits, value);
    return buffer;
}

/// Three significant digits or all before the point: 0.123, 1.23, 12.3, 123, 1234.
std::string short_number(double value) {
    return fixed(value, value < 1 ? 3 : value < 10 ? 2 : value < 100 ? 1 : 0);
}

std::string percent(double fraction) {
    return fixed(100 * fraction, 1) + " %";
}

std::string microseconds(double seconds) {
    return short_number(1e6 * seconds);
}

struct Column {
    const char* head;
    bool left;  // text to the left, numbers to the right
};
using Line = std::vector<std::string>;

std::string aligned(const std::vector<Column>& columns, const std::vector<Line>& lines) {
    std::vector<std::size_t> widths;
    for (std::size_t c = 0; c < columns.size(); ++c) {
        std::size_t width = std::string(columns[c].head).size();
        for (const Line& line : lines) width = std::max(width, line[c].size());
        widths.push_back(width);
    }
    std::string out;
    const auto add = [&](const auto& cell_of) {
        std::string line;
        for (std::size_t c = 0; c < columns.size(); ++c) {
            const std::string cell = cell_of(c);
            const std::string blanks(widths[c] - cell.size(), ' ');
            line += (c > 0 ? "  " : "") + (columns[c].left ? cell + blanks : blanks + cell);
        }
        line.erase(line.find_last_not_of(' ') + 1);
        out += line + '\n';
    };
    add([&](std::size_t c) { return std::string(columns[c].head); });
    for (const Line& line : lines) add([&](std::size_t c) { return line[c]; });
    return out;
}

std::string time_of(const Row& row) {
    if (row.measured()) return microseconds(row.timing.median);
    return row.failed() ? "failed" : row.status;
}

std::string quartiles_of(const Row& row) {
    return row.measured() ? microseconds(row.timing.low) + "-" + microseconds(row.timing.high) : "";
}

std::string kernel_table(const Section& section, const Ceilings& ceilings) {
    std::vector<Line> lines;
    for (const Row& row : section.rows) {
        const double bytes = static_cast<double>(row.cost.bytes), flops = static_cast<double>(row.cost.flops);
        Line line{row.op,
                  row.variant,
                  row.shape,
                  row.dtype,
                  short_number(bytes * 1e-6),
                  short_number(flops * 1e-6),
                  microseconds(ceilings.limit(row.cost)),
                  ceilings.memory_bound(row.cost) ? "memory" : "matmul",
                  time_of(row),
                  quartiles_of(row)};
        line.resize(16);
        if (row.measured()) {
            line[10] = fixed(bytes / row.timing.median * 1e-9, 0);
            line[11] = percent(bytes / row.timing.median / ceilings.copy);
            line[12] = fixed(flops / row.timing.median * 1e-12, 1);
            line[13] = percent(ceilings.limit(row.cost) / row.timing.median);
        }
        if (row.peer) {
            line[14] = row.peer->name + " " + microseconds(row.peer->seconds);
            if (row.measured()) line[15] = fixed(row.peer->seconds / row.timing.median, 2);
        }
        lines.push_back(line);
    }
    return aligned({{"kernel", true},
                    {"variant", true},
                    {"shape", true},
                    {"type", true},
                    {"MB", false},
                    {"MFLOP", false},
                    {"limit us", false},
                    {"by", true},
                    {"time us", false},
                    {"quartiles", false},
                    {"GB/s", false},
                    {"of copy", false},
                    {"TFLOP/s", false},
                    {"of limit", false},
                    {"best peer us", true},
                    {"x peer", false}},
                   lines);
}

std::string product_table(const Section& section, const Ceilings& ceilings) {
    std::vector<Line> lines;
    for (const Row& row : section.rows) {
        const double flops = static_cast<double>(row.cost.flops);
        Line line{row.op,
                  row.variant,
                  row.shape,
                  short_number(flops * 1e-9),
                  microseconds(ceilings.limit(row.cost)),
                  ceilings.memory_bound(row.cost) ? "memory" : "matmul",
                  time_of(row),
                  quartiles_of(row)};
        line.resize(12);
        if (row.measured()) {
            line[8] = fixed(flops / row.timing.median * 1e-12, 0);
            line[9] = percent(flops / row.timing.median / ceilings.matmul);
            if (row.over_plain > 0) line[10] = fixed(row.over_plain, 3);
            line[11] = row.detail;
        }
        lines.push_back(line);
    }
    return aligned({{"product", true},
                    {"output, epilogue", true},
                    {"tokens x outputs x inputs", true},
                    {"GFLOP", false},
                    {"limit us", false},
                    {"by", true},
                    {"time us", false},
                    {"quartiles", false},
                    {"TFLOP/s", false},
                    {"of matmul", false},
                    {"x plain", false},
                    {"algorithm", true}},
                   lines);
}

std::string short_kernel_table(const Section& section, const Ceilings& ceilings) {
    std::vector<Line> lines;
    for (const Row* row : largest_rows(section, ceilings)) {
        const bool measured = row->measured();
        lines.push_back({row->op, row->variant, row->shape, time_of(*row),
                         measured ? percent(ceilings.limit(row->cost) / row->timing.median) : "",
                         ceilings.memory_bound(row->cost) ? "memory" : "matmul", row->peer ? row->peer->name : "",
                         row->peer && measured ? fixed(row->peer->seconds / row->timing.median, 2) : ""});
    }
    return aligned({{"kernel, largest shape", true},
                    {"variant", true},
                    {"shape", true},
                    {"time us", false},
                    {"of limit", false},
                    {"by", true},
                    {"best peer", true},
                    {"x peer", false}},
                   lines);
}

/// One line for each pass and variant: means over the shapes.
std::string short_product_table(const Section& section, const Ceilings& ceilings) {
    std::vector<Line> lines;
    for (const Row* kind : largest_rows(section, ceilings)) {
        double sum = 0, least = 0, over_plain = 0;
        int measured = 0, offered_or_not = 0;
        for (const Row& row : section.rows) {
            if (row.op != kind->op || row.variant != kind->variant) continue;
            ++offered_or_not;
            if (!row.measured()) continue;
            const double part = static_cast<double>(row.cost.flops) / row.timing.median / ceilings.matmul;
            sum += part;
            least = measured == 0 ? part : std::min(least, part);
            over_plain += row.over_plain;
            ++measured;
        }
        lines.push_back({kind->op, kind->variant, std::to_string(measured) + " of " + std::to_string(offered_or_not),
                         measured > 0 ? percent(sum / measured) : "", measured > 0 ? percent(least) : "",
                         over_plain > 0 ? fixed(over_plain / measured, 3) : ""});
    }
    return aligned({{"product", true},
                    {"output, epilogue", true},
                    {"measured", true},
                    {"of matmul, mean", false},
                    {"least", false},
                    {"x plain, mean", false}},
                   lines);
}

std::string head(const Report& report) {
    const Facts& facts = report.facts;
    const Ceilings& ceilings = report.ceilings;
    std::string out = facts.command + "\n" + facts.date + ", commit " + facts.commit + ", CUDA " + facts.cuda + "\n";
    out += "device: " + facts.device;
    if (facts.multiprocessors > 0) {
        out += ", " + std::to_string(facts.multiprocessors) + " multiprocessors, " +
               fixed(static_cast<double>(facts.memory_bytes) * 1e-9, 0) + " GB, " + facts.driver;
    }
    const auto source = [](bool measured) { return measured ? " (measured)" : " (of an H200; not measured here)"; };
    out += "\nceilings: copy " + fixed(ceilings.copy * 1e-9, 0) + " GB/s, read and written" +
           source(ceilings.copy_measured) + "; 8192^3 product in bf16 " + fixed(ceilings.matmul * 1e-12, 0) +
           " TFLOP/s" + source(ceilings.matmul_measured) + "\n";
    if (facts.empty_event_pair > 0) {
        out += "an empty pair of events: " + microseconds(facts.empty_event_pair) + " us\n";
    }
    return out;
}

std::string short_sustained(const std::vector<SustainedSecond>& sustained) {
    double least = sustained.front().flops_per_second, most = least, sum = 0;
    for (const SustainedSecond& second : sustained) {
        least = std::min(least, second.flops_per_second);
        most = std::max(most, second.flops_per_second);
        sum += second.flops_per_second;
    }
    const auto tera = [](double flops) { return fixed(flops * 1e-12, 0); };
    return "sustained product: " + fixed(sustained.back().seconds, 0) + " s, mean " +
           tera(sum / static_cast<double>(sustained.size())) + " TFLOP/s (" + tera(least) + " to " + tera(most) +
           "), at the end " + sustained.back().state + "\n";
}

}  // namespace

std::string table(const Report& report) {
    std::string out = head(report);
    for (const Section& section : report.sections) {
        out += "\n" + section.name + "\n" +
               (section.kind == TableKind::kernels ? kernel_table(section, report.ceilings)
                                                   : product_table(section, report.ceilings));
        for (const Row& row : section.rows) {
            if (row.failed()) out += "failed: " + row.key() + ": " + row.status + "\n";
        }
    }
    if (!report.sustained.empty()) out += "\nsustained product\n";
    for (const SustainedSecond& second : report.sustained) {
        out += fixed(second.seconds, 1) + " s  " + fixed(second.flops_per_second * 1e-12, 0) + " TFLOP/s  " +
               second.state + "\n";
    }
    return out;
}

std::string short_table(const Report& report) {
    std::string out = head(report);
    for (const Section& section : report.sections) {
        out += section.kind == TableKind::kernels ? short_kernel_table(section, report.ceilings)
                                                  : short_product_table(section, report.ceilings);
    }
    if (!report.sustained.empty()) out += short_sustained(report.sustained);
    return out;
}

}  // namespace cloze::bench
