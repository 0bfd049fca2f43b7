#include <catch2/catch.hpp>

#include "engine/files/json.h"
#include "tests/tools/workshop.h"

namespace cloze::test {
namespace {

Json planned(std::vector<std::string> more) {
    std::vector<std::string> arguments = {"plan", "--json"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    const Ended ended = cloze(arguments);
    require_success(ended);
    return Json::parse(ended.out);
}

/// Bytes of the group whose name is given.
std::int64_t bytes_of(const Json& plan, const std::string& name) {
    for (const Json& group : plan["memory"]) {
        if (group["name"] == name) return group["bytes"].get<std::int64_t>();
    }
    FAIL("no group " << name);
    return 0;
}

}  // namespace

TEST_CASE("plan shows memory by category, cards and times without a device") {
    const Ended ended = cloze({"plan", "--model", "large", "--max-seq-length", "512", "--sequences", "48",
                               "--global-batch-size", "48", "--max-steps", "1000"});
    require_success(ended);
    INFO(ended.out);
    for (const std::string part :
         {"one process on one GPU", "336,226,108 parameters", "moments", "activations: layers", "backward buffers",
          "micro-batch buffers", "products' workspace", "█", "h200", "rtx-4090", "24,576 tokens", "ms", "estimates"}) {
        INFO(part);
        CHECK(ended.out.find(part) != std::string::npos);
    }
}

TEST_CASE("the numbers of a plan agree with each other") {
    const Json plan = planned({"--model", "base", "--max-seq-length", "128", "--sequences", "64", "--global-batch-size",
                               "256", "--card", "a100-80", "--max-steps", "3600"});
    std::int64_t bytes = 0, tensors = 0;
    for (const Json& group : plan["memory"]) bytes += group["bytes"].get<std::int64_t>();
    for (const Json& tensor : plan["tensors"]) tensors += tensor["bytes"].get<std::int64_t>();
    CHECK(bytes == plan["memory_bytes"]);
    CHECK(tensors + bytes_of(plan, "products' workspace") == bytes);
    CHECK(bytes_of(plan, "moments") == 2 * bytes_of(plan, "weights"));
    CHECK(bytes_of(plan, "weights") == 2 * bytes_of(plan, "working copy"));
    CHECK(plan["step"]["micro_batches"] == 4);
    CHECK(plan["step"]["tokens"] == 256 * 128);
    REQUIRE(plan["cards"].size() == 1);
    const Json& card = plan["cards"][0];
    CHECK(card["fits"] == true);
    CHECK(card["measured"] == false);
    CHECK(card["hours"].get<double>() == Approx(card["expected_step_seconds"].get<double>()));
    CHECK(card["largest_micro_batch"]["memory_bytes"] <= card["usable_bytes"]);
    CHECK(card["largest_micro_batch"]["tokens"].get<std::int64_t>() > 64 * 128);
}

TEST_CASE("virtual ranks and optimizers change a plan as they change a run") {
    const std::vector<std::string> flags = {"--model", "tiny", "--memory-gib", "8"};
    const auto with = [&](std::vector<std::string> more) {
        more.insert(more.end(), flags.begin(), flags.end());
        return planned(more);
    };
    const std::int64_t one = bytes_of(with({}), "gradients");
    CHECK(bytes_of(with({"--virtual-ranks", "4"}), "gradients") == 3 * one);
    CHECK(with({"--optimizer", "lamb"})["memory_bytes"] >= with({})["memory_bytes"]);
    CHECK(with({})["cards"][0].contains("expected_step_seconds") == false);
    CHECK(planned({"--model", "large", "--sequences", "64", "--memory-gib", "2"})["cards"][0]["fits"] == false);
}

TEST_CASE("a plan with data has the shape of the run") {
    Workshop shop;
    shop.with_dataset();
    require_complaint(cloze({"plan", "--model", shop.path("model.json")}), 2, {"16 columns", "num_attention_heads"});
    std::string model = read_file(shop.path("model.json"));
    write_file(shop.path("model.json"), model.replace(model.find("_heads\": 2"), 10, "_heads\": 1"));
    const Json plan = planned({"--model", shop.path("model.json"), "--data", shop.path("dataset"), "--max-seq-length",
                               "32", "--global-batch-size", "16", "--micro-batch-tokens", "512", "--card", "h200"});
    CHECK(plan["step"]["mean_sequence_tokens"].get<double>() < 32);
    CHECK(plan["micro_batch"]["tokens"].get<std::int64_t>() <= 512);
    CHECK(plan["notes"].size() == 1);
    CHECK(plan["cards"][0]["largest_micro_batch"]["tokens"].get<std::int64_t>() > 512);
}

TEST_CASE("what cannot be planned is refused in one line") {
    const auto refused = [](std::vector<std::string> more, int exit_code, const std::vector<std::string>& parts) {
        std::vector<std::string> arguments = {"plan"};
        arguments.insert(arguments.end(), more.begin(), more.end());
        require_complaint(cloze(arguments), exit_code, parts);
    };
    refused({}, 2, {"--model"});
    refused({"--model", "huge"}, 2, {"huge", "tiny"});
    refused({"--model", "/nowhere/config.json"}, 3, {"nowhere"});
    refused({"--model", "tiny", "--card", "h1000"}, 2, {"h1000", "h100", "--memory-gib"});
    refused({"--model", "tiny", "--world-size", "8"}, 2, {"--world-size 8", "one GPU"});
    refused({"--model", "tiny", "--world-size", "0"}, 2, {"--world-size"});
    refused({"--model", "tiny", "--precision", "f32"}, 2, {"--precision f32", "bf16"});
    refused({"--model", "tiny", "--precision", "fp8"}, 2, {"fp8"});
    refused({"--model", "tiny", "--virtual-ranks", "3"}, 2, {"--virtual-ranks 3"});
    refused({"--model", "tiny", "--max-seq-length", "513"}, 2, {"513", "512"});
    refused({"--model", "tiny", "--micro-batch-tokens", "100"}, 2, {"--micro-batch-tokens 100"});
    refused({"--model", "tiny", "--sequences", "9223372036854775807"}, 2, {"--sequences"});
    refused({"--model", "tiny", "--sequences", "4", "--micro-batch-tokens", "4096"}, 2, {"--sequences"});
    refused({"--model", "tiny", "--global-batch-size", "9223372036854775807"}, 2, {"--global-batch-size"});
    refused({"--model", "tiny", "--memory-gib", "-1"}, 2, {"--memory-gib"});
    refused({"--model", "tiny", "--memory-gib", "nan"}, 2, {"--memory-gib"});
    refused({"--model", "tiny", "--optimizer", "sgd"}, 2, {"sgd"});
    refused({"--model", "tiny", "--data", "/nowhere"}, 3, {"nowhere"});
}

}  // namespace cloze::test
