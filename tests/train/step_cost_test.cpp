// The costs of a step against what a step launches. Runs on a GPU and on the emulator.
#include <map>

#include "engine/model/host_copy.h"
#include "engine/model/initialization.h"
#include "engine/train/plan.h"
#include "kernels/core/launch_log.h"
#include "tests/kernels/device/device_testing.h"
#include "tests/train/tiny_run.h"

using namespace cloze;
using namespace cloze::test;

namespace {

BertConfig costed_config() {
    BertConfig config = tiny_config();
    config.hidden_size = 64;
    config.num_attention_heads = 2;
    config.intermediate_size = 128;
    return config;
}

TrainerOptions costed_options(std::int64_t micro_batches, std::int64_t virtual_ranks, bool next_sentence) {
    TrainerOptions options = tiny_options(micro_batches, virtual_ranks);
    options.model.working = DType::bf16;
    options.model.place = Place::device;
    options.model.next_sentence = next_sentence;
    options.graphs = false;
    return options;
}

/// Launches of one step by op. The first step also makes the working copy, so it is the second that counts.
std::map<std::string, std::int64_t> launches_of_step(const TrainerOptions& options, Device& device) {
    Trainer trainer(costed_config(), options, &device);
    const HostCopy weights(trainer.weights(), trainer.compute());
    initialize(weights.view(), 0.1, 1, Initialization::truncated_normal);
    weights.send();
    trainer.weights_written();
    BatchStream stream(tiny_sampler(), tiny_stream_settings(options.micro_batches), kTinyLimits);
    trainer.step(stream.next());
    const LaunchLog log;
    trainer.step(stream.next());
    LaunchLog::note("end", trainer.compute());
    std::map<std::string, std::int64_t> launches;
    for (const LaunchLog::Entry& entry : log.entries()) ++launches[entry.op];
    return launches;
}

}  // namespace

TEST_CASE("the costs of a step name every op that it launches, and every product by its shape") {
    if (!device_or_skip()) return;
    Device device(0);
    struct Case {
        std::int64_t micro_batches, virtual_ranks;
        bool next_sentence;
    };
    for (const Case& c : {Case{1, 1, true}, Case{4, 2, true}, Case{2, 1, false}}) {
        const TrainerOptions options = costed_options(c.micro_batches, c.virtual_ranks, c.next_sentence);
        std::map<std::string, std::int64_t> launches = launches_of_step(options, device);
        for (const OpCost& op : step_costs({.config = costed_config(), .trainer = options, .pairs = 1000})) {
            INFO(op.op << ", " << c.micro_batches << " micro-batches, " << c.virtual_ranks << " ranks");
            REQUIRE(launches.count(op.op) == 1);
            CHECK(op.cost.bytes > 0);
            if (op.product) {
                CHECK(launches[op.op] == op.calls);
            } else {
                CHECK(launches[op.op] >= op.calls);
            }
            launches.erase(op.op);
        }
        launches.erase(kCopies);
        for (const auto& [op, count] : launches) FAIL_CHECK(op << " is launched " << count << " times and has no cost");
    }
}

TEST_CASE("the groups of a plan are the bytes that a trainer and its device take") {
    if (!device_or_skip()) return;
    Device device(0);
    for (const std::int64_t ranks : {1, 4}) {
        const TrainerOptions options = costed_options(4, ranks, true);
        std::int64_t bytes = 0;
        for (const MemoryGroup& group : memory_groups(costed_config(), options)) {
            if (group.name != "other") CHECK(group.bytes > 0);
            bytes += group.bytes;
        }
        CHECK(bytes == Trainer(costed_config(), options, &device).memory_bytes() + Device::planned_bytes());
    }
}
