// cloze-bench: each kernel and each matrix product against the roofs of the GPU. See usage() in options.cpp, and
// docs/performance.md. Tested by tests/benchmarks/bench_test.py.
#include <algorithm>
#include <cstdio>

#include "benchmarks/bench/facts.h"
#include "benchmarks/bench/gemm.h"
#include "benchmarks/bench/options.h"
#include "benchmarks/bench/roofline.h"
#include "benchmarks/bench/runner.h"
#include "kernels/core/device_info.h"

namespace cloze::bench {

namespace {

constexpr std::int64_t kRoofMegabytes = 1000;

CaseSettings case_settings(const Options& options) {
    CaseSettings settings;
    settings.dtype = options.dtype;
    if (options.quick) {
        settings.models = {kBertLarge};
        settings.tokens = {16384};
        settings.sequence_lengths = {128, 512};
    }
    if (options.smoke) {
        settings.models = {{64, 128, 1, 1, 509, 512}};
        settings.tokens = {72};
        settings.sequence_lengths = {24};
    }
    return settings;
}

RunSettings run_settings(const Options& options) {
    RunSettings settings;
    if (options.quick) settings.effort.seconds = 0.05;
    if (options.seconds > 0) settings.effort.seconds = options.seconds;
    if (options.smoke) {
        settings = {
            .effort = {.seconds = 0, .least_samples = 1, .most_samples = 1}, .rotation_bytes = 0, .flush_bytes = 1024};
    }
    return settings;
}

std::vector<std::int64_t> copy_megabytes(const Options& options) {
    if (options.smoke) return {1};
    if (options.quick) return {kRoofMegabytes};
    return {256, kRoofMegabytes, 2000};
}

/// What the command line asks for.
struct Plan {
    std::vector<Case> copies, kernels;
    std::vector<Product> products;
};

template <typename Item>
std::vector<Item> selected(const std::vector<Item>& all, const std::string& filter) {
    std::vector<Item> kept;
    for (const Item& item : all) {
        if (row_of(item).key().find(filter) != std::string::npos) kept.push_back(item);
    }
    return kept;
}

Plan plan_of(const Options& options) {
    const CaseSettings settings = case_settings(options);
    const auto wants = [&](const char* what) { return options.what == what || options.what == "all"; };
    Plan plan;
    if (wants("copy")) plan.copies = selected(copy_cases(copy_megabytes(options)), options.filter);
    if (wants("kernels")) plan.kernels = selected(kernel_cases(settings), options.filter);
    if (wants("gemm")) plan.products = selected(products_of(settings), options.filter);
    return plan;
}

/// Sections in the order of the program's name: copies, kernels, products.
Section& add_section(Report& report, const char* name, TableKind kind) {
    return report.sections.emplace_back(Section{name, kind, {}});
}

constexpr const char* kProducts = "matrix products (cuBLASLt)";

void list_products(const std::vector<Product>& products, Report& report) {
    Section& section = add_section(report, kProducts, TableKind::products);
    for (const Product& product : products) section.rows.push_back(row_of(product));
}

void list(const Plan& plan, Report& report) {
    add_section(report, "copies", TableKind::kernels).rows = rows_of(plan.copies);
    add_section(report, "kernels", TableKind::kernels).rows = rows_of(plan.kernels);
    list_products(plan.products, report);
}

/// Written after each row: a run that is stopped has told what it knew.
void save(const Options& options, const Report& report) {
    if (!options.json.empty()) write_file(options.json, to_json(report).dump());
}

void run_cases(Runner& runner, const std::vector<Case>& cases, const Options& options, Report& report,
               const char* name) {
    Section& section = add_section(report, name, TableKind::kernels);
    section.rows = rows_of(cases);
    for (std::size_t i = 0; i < cases.size(); ++i) {
        section.rows[i] = runner.run(cases[i]);
        save(options, report);
    }
}

void run_products(ProductLibrary& library, const std::vector<Product>& products, const Options& options,
                  Report& report) {
    list_products(products, report);
    std::vector<Row>& rows = report.sections.back().rows;
    for (std::size_t i = 0; i < products.size(); ++i) {
        rows[i] = run_product(library, products[i], rows);
        save(options, report);
    }
}

/// The roof of memory: the fastest copy of a size far beyond the cache.
void measure_copy(Runner& runner, const Options& options, Ceilings& ceilings) {
    std::vector<Row> rows;
    for (const Case& one : copy_cases({options.smoke ? 1 : kRoofMegabytes})) rows.push_back(runner.run(one));
    if (const std::optional<double> fastest = fastest_copy(rows)) {
        ceilings.copy = *fastest;
        ceilings.copy_measured = true;
    }
}

/// The library of matrix products, and the roof it sets; null where there is none or it does not work.
std::unique_ptr<ProductLibrary> open_products(Runner& runner, int candidates, Ceilings& ceilings) {
    try {
        std::unique_ptr<ProductLibrary> library = open_cublaslt(runner, candidates);
        if (library) {
            ceilings.matmul = measured_matmul(*library);
            ceilings.matmul_measured = true;
            return library;
        }
        std::fputs("cloze-bench: this build has no cuBLASLt: matrix products are not measured\n", stderr);
    } catch (const std::exception& error) {
        std::fprintf(stderr, "cloze-bench: matrix products are not measured: %s\n", error.what());
    }
    return nullptr;
}

/// The roofs come first: they also bring the clocks up.
void measure(const Plan& plan, const Options& options, Report& report) {
    add_device(report.facts, 0);
    Runner runner(run_settings(options));
    report.facts.empty_event_pair = runner.stopwatch().empty_pair();
    measure_copy(runner, options, report.ceilings);
    const std::unique_ptr<ProductLibrary> library = open_products(runner, options.candidates, report.ceilings);
    run_cases(runner, plan.copies, options, report, "copies");
    run_cases(runner, plan.kernels, options, report, "kernels");
    if (library) {
        run_products(*library, plan.products, options, report);
        if (options.sustained > 0) report.sustained = library->sustain(kSustainedProduct, options.sustained);
    } else {
        list_products(plan.products, report);
    }
}

bool any_failed(const Report& report) {
    return std::any_of(report.sections.begin(), report.sections.end(), [](const Section& section) {
        return std::any_of(section.rows.begin(), section.rows.end(), [](const Row& row) { return row.failed(); });
    });
}

int run(const Options& options, const std::string& command) {
    Report report;
    if (options.what == "report") {
        report = report_from(read_json(options.from), options.from);
    } else {
        report.facts = facts_of_now(command, options.commit);
        const Plan plan = plan_of(options);
        if (device_count() == 0) {
            list(plan, report);
        } else {
            measure(plan, options, report);
        }
    }
    if (!options.peers.empty()) add_peers(report, read_json(options.peers));
    std::erase_if(report.sections, [](const Section& section) { return section.rows.empty(); });
    save(options, report);
    if (!options.svg.empty()) write_file(options.svg, roofline_svg(report));
    std::fputs((options.brief ? short_table(report) : table(report)).c_str(), stdout);
    return any_failed(report) ? 1 : 0;
}

}  // namespace

}  // namespace cloze::bench

int main(int count, char** values) {
    using namespace cloze;
    std::string command;
    for (int i = 0; i < count; ++i) command += std::string(i > 0 ? " " : "") + values[i];
    try {
        const bench::Options options = bench::parse_options({values + 1, values + count});
        if (options.help) {
            std::fputs(bench::usage(), stdout);
            return 0;
        }
        return bench::run(options, command);
    } catch (const Error& error) {
        std::fprintf(stderr, "cloze-bench: %s\n", error.what());
        return error.fault() == Fault::usage ? 2 : 1;
    } catch (const std::exception& error) {
        std::fprintf(stderr, "cloze-bench: %s\n", error.what());
        return 1;
    }
}
