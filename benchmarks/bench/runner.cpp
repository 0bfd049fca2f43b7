#include "benchmarks/bench/runner.h"

#include <algorithm>
#include <memory>

#include "kernels/cast.h"
#include "kernels/core/integer.h"

namespace cloze::bench {

namespace {

// A set that moves more than this needs no other: its own beginning has left the cache when it ends.
constexpr std::int64_t kLoneSetBytes = 1'000'000'000;

bool is_refusal(const std::string& message) {
    return message.find("no device code") != std::string::npos;
}

}  // namespace

Timing Runner::time(const Case& one) {
    const std::int64_t wanted = divide_up(settings_.rotation_bytes, std::max<std::int64_t>(one.cost.bytes, 1));
    const std::int64_t sets = std::clamp<std::int64_t>(wanted, one.cost.bytes > kLoneSetBytes ? 1 : 2, 64);
    std::vector<std::unique_ptr<DeviceSet>> buffers;
    std::vector<Call> calls;
    for (std::int64_t set = 0; set < sets; ++set) {
        buffers.push_back(std::make_unique<DeviceSet>(normals_, stopwatch_.stream()));
        calls.push_back(one.prepare(*buffers.back()));
    }
    Work work{.sets = sets,
              .call = [&](std::int64_t set, Stream stream) { calls[static_cast<std::size_t>(set)].run(stream); }};
    if (calls.front().restore) {
        work.restore = [&](std::int64_t set, Stream stream) { calls[static_cast<std::size_t>(set)].restore(stream); };
    }
    return stopwatch_.time(work, settings_.effort);
}

Row Runner::run(const Case& one) {
    Row row = row_of(one);
    try {
        row.timing = time(one);
        row.status = kMeasured;
    } catch (const std::exception& error) {
        row.status = is_refusal(error.what()) ? kNotOffered : error.what();
    }
    return row;
}

std::vector<Case> copy_cases(const std::vector<std::int64_t>& megabytes) {
    std::vector<Case> cases;
    for (const std::int64_t size : megabytes) {
        const std::int64_t bytes = size * 1'000'000, elements = bytes / 2;
        const Case by_driver{
            .op = "copy",
            .variant = "cudaMemcpyAsync",
            .sizes = {{"megabytes", size}},
            .dtype = DType::bf16,
            .cost = {2 * bytes, 0},
            .prepare = [=](DeviceSet& set) -> Call {
                const Tensor to = set.output(DType::bf16, elements);
                const Tensor from = set.random(DType::bf16, elements);
                return {[=](Stream stream) { copy_on_device(to.address, from.address, bytes, stream); }};
            }};
        Case by_kernel = by_driver;
        by_kernel.variant = "16-byte loads and stores (cast)";
        by_kernel.prepare = [=](DeviceSet& set) -> Call {
            const Cast arguments{.y = set.output(DType::bf16, elements), .x = set.random(DType::bf16, elements)};
            return {[=](Stream stream) { cast(arguments, stream); }};
        };
        cases.push_back(by_driver);
        cases.push_back(by_kernel);
    }
    return cases;
}

std::optional<double> fastest_copy(const std::vector<Row>& rows) {
    std::optional<double> fastest;
    for (const Row& row : rows) {
        if (!row.measured()) continue;
        fastest = std::max(fastest.value_or(0), static_cast<double>(row.cost.bytes) / row.timing.median);
    }
    return fastest;
}

std::vector<Row> rows_of(const std::vector<Case>& cases) {
    std::vector<Row> rows;
    for (const Case& one : cases) rows.push_back(row_of(one));
    return rows;
}

}  // namespace cloze::bench
