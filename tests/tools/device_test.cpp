// The program with a device: planned, profiled, refused. Runs on the emulator, so the program is cloze_emulated.
#include <algorithm>
#include <catch2/catch.hpp>
#include <set>

#include "engine/files/json.h"
#include "tests/tools/workshop.h"
#include "tools/format.h"

namespace cloze::test {
namespace {

namespace fs = std::filesystem;

constexpr int kUsage = 2;
constexpr int kBadInput = 3;
constexpr int kNoDevice = 6;

/// Heads of 32, as devices have them.
constexpr const char* kDeviceModel = R"({
  "vocab_size": 1000, "hidden_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2,
  "intermediate_size": 64, "max_position_embeddings": 64
})";

Workshop& prepared(Workshop& shop) {
    shop.with_dataset();
    write_file(shop.path("model.json"), kDeviceModel);
    return shop;
}

std::vector<std::string> on_device(const Workshop& shop, const std::string& output, int steps,
                                   std::vector<std::string> more = {}) {
    more.insert(more.end(), {"--device", "emulated"});
    return shop.pretrain(output, steps, more);
}

std::vector<Json> training_lines(const fs::path& run) {
    std::vector<Json> lines;
    std::istringstream text(read_file(run / "metrics.jsonl"));
    for (std::string line; std::getline(text, line);) {
        const Json json = Json::parse(line);
        if (json["type"] == "train") lines.push_back(json);
    }
    return lines;
}

bool holds(const std::string& text, const std::string& part) {
    return text.find(part) != std::string::npos;
}

}  // namespace

TEST_CASE("a plan says what the run's preflight says") {
    Workshop shop;
    prepared(shop);
    const Ended planned = cloze({"plan",
                                 "--json",
                                 "--data",
                                 shop.path("dataset"),
                                 "--model",
                                 shop.path("model.json"),
                                 "--max-seq-length",
                                 "32",
                                 "--global-batch-size",
                                 "64",
                                 "--micro-batch-tokens",
                                 "1024",
                                 "--virtual-ranks",
                                 "2",
                                 "--optimizer",
                                 "lamb",
                                 "--seed",
                                 "7",
                                 "--card",
                                 "h200"});
    require_success(planned);
    const Json plan = Json::parse(planned.out);
    auto arguments = on_device(
        shop, "run", 5, {"--dry-run", "--micro-batch-tokens", "1024", "--virtual-ranks", "2", "--optimizer", "lamb"});
    *(std::find(arguments.begin(), arguments.end(), "--global-batch-size") + 1) = std::string("64");
    const Ended run = cloze(arguments);
    require_success(run);
    INFO(run.out);
    CHECK(holds(run.out, "memory         " + bytes_text(plan["memory_bytes"].get<std::int64_t>())));
    CHECK(holds(run.out, scaled(plan["step"]["flops"].get<double>()) + "FLOP a step in bf16"));
    CHECK(holds(run.out, grouped(plan["micro_batch"]["tokens"].get<std::int64_t>()) + " tokens each"));
}

TEST_CASE("a profiled run shows its ops, leaves a trace, and ends with the bytes of any other") {
    Workshop shop;
    prepared(shop);
    const Ended profiled = cloze(on_device(shop, "profiled", 14, {"--profile", "2", "--log-every", "7"}));
    require_success(profiled);
    INFO(profiled.out);
    for (const std::string part : {"profile of 2 steps", "attention_backward", "optimizer_update", "gemm", "FLOP/s",
                                   "copies", "recorded graphs", "profile.json"}) {
        INFO(part);
        CHECK(holds(profiled.out, part));
    }
    const fs::path run = shop.path("profiled");
    const Json trace = Json::parse(read_file(run / "profile.json"));
    std::set<std::string> names;
    double last = 0;
    for (const Json& event : trace["traceEvents"]) {
        if (event["ph"] != "X") continue;
        names.insert(event["name"].get<std::string>());
        CHECK(event["dur"].get<double>() >= 0);
        if (event["tid"] != 2) continue;
        CHECK(event["ts"].get<double>() >= last);
        last = event["ts"].get<double>();
    }
    for (const char* name : {"forward", "backward", "update", "layer_norm_forward", "cross_entropy"}) {
        INFO(name);
        CHECK(names.count(name) == 1);
    }
    const Json& summary = trace["otherData"];
    CHECK(summary["device"] == "emulated device");
    CHECK(summary["op_seconds"].get<double>() <= summary["step_seconds"].get<double>());

    require_success(cloze(on_device(shop, "plain", 14, {"--log-every", "7"})));
    for (const char* file : {"model.safetensors", "optimizer.safetensors"}) {
        INFO(file);
        CHECK(read_file(run / "checkpoint-00000014" / file) ==
              read_file(fs::path(shop.path("plain")) / "checkpoint-00000014" / file));
    }
}

TEST_CASE("the log of a run on a device splits its steps' time") {
    Workshop shop;
    prepared(shop);
    require_success(cloze(on_device(shop, "run", 6, {"--log-every", "3"})));
    const std::vector<Json> lines = training_lines(shop.path("run"));
    REQUIRE(lines.size() == 2);
    for (const Json& line : lines) {
        INFO(line.dump());
        const auto seconds = [&](const char* key) { return line[key].get<double>(); };
        CHECK(seconds("forward_seconds") > 0);
        CHECK(seconds("backward_seconds") > 0);
        CHECK(seconds("optimizer_seconds") > 0);
        CHECK(seconds("input_seconds") > 0);
        CHECK(seconds("data_seconds") >= 0);
        CHECK(seconds("gap_seconds") >= 0);
        CHECK(seconds("tflops") > 0);
        CHECK(!line.contains("model_flops_utilization"));  // nobody knows how fast the emulator should be
    }
}

TEST_CASE("devices that are not there, too small or unfit are refused before anything is written") {
    Workshop shop;
    prepared(shop);
    require_complaint(cloze(shop.pretrain("run", 5, {"--device", "emulated:7"})), kNoDevice, {"device 7", "device 0"});
    require_complaint(cloze(shop.pretrain("run", 5, {"--device", "emulated:-1"})), kUsage, {"'emulated:-1'"});
    require_complaint(cloze(shop.pretrain("run", 5, {"--device", "cuda"})), kNoDevice, {"--device cpu"});
    require_complaint(cloze(on_device(shop, "run", 5, {"--precision", "f32"})), kUsage, {"--precision f32", "bf16"});
    require_complaint(cloze(shop.pretrain("run", 5, {"--profile", "2"})), kUsage, {"--profile", "--device cuda"});
    require_complaint(cloze(on_device(shop, "run", 11, {"--profile", "2"})), kUsage,
                      {"--profile 2", "--max-steps is 11"});

    auto large = on_device(shop, "run", 5, {"--micro-batch-tokens", "20000"});
    *(std::find(large.begin(), large.end(), "--model") + 1) = std::string("large");
    *(std::find(large.begin(), large.end(), "--global-batch-size") + 1) = std::string("1000");
    require_complaint(cloze(large), kNoDevice,
                      {"MiB of device memory", "16384 MiB of emulated device are free", "--micro-batch-tokens below",
                       "smaller model"});

    std::string narrow = kDeviceModel;
    narrow.replace(narrow.find("\"num_attention_heads\": 2"), 24, "\"num_attention_heads\": 4");
    write_file(shop.path("model.json"), narrow);
    require_complaint(cloze(on_device(shop, "run", 5)), kUsage, {"16 columns", "32 and 64", "num_attention_heads"});
    CHECK(!fs::exists(shop.path("run")));
}

TEST_CASE("a run of another precision is refused, products of another library are noted") {
    Workshop shop;
    prepared(shop);
    require_success(cloze(on_device(shop, "run", 2)));
    const auto before = contents_of(shop.path("run"));
    require_complaint(cloze(shop.pretrain("run", 2, {"--device", "cpu", "--precision", "f32"})), kBadInput,
                      {"another run", "precision \"bf16\" there, \"f32\" here", "--output"});
    CHECK(contents_of(shop.path("run")) == before);

    const Ended moved = cloze(shop.pretrain("run", 2, {"--device", "cpu", "--precision", "bf16"}));
    require_success(moved);
    INFO(moved.out);
    CHECK(holds(moved.out, "was computed with the host's products"));
    CHECK(holds(moved.out, "rounds differently"));
}

}  // namespace cloze::test
