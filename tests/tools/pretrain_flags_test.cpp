#include <catch2/catch.hpp>

#include "engine/files/json.h"
#include "tests/tools/workshop.h"

namespace cloze::test {

namespace fs = std::filesystem;

namespace {

Json printed_config(std::vector<std::string> more) {
    std::vector<std::string> arguments = {"pretrain", "--data", "d",           "--model", "tiny",
                                          "--output", "o",      "--max-steps", "1000",    "--print-config"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    const Ended ended = cloze(arguments);
    require_success(ended);
    return Json::parse(ended.out);
}

}  // namespace

TEST_CASE("print-config resolves every value and touches nothing") {
    const Json config = printed_config({"--learning_rate", "2e-3", "--warmup-steps=40", "--hidden-act", "gelu_new",
                                        "--hidden-dropout-prob", "0", "--attention-dropout-prob", "0.05",
                                        "--no-bias-correction", "--optimizer", "lamb", "--schedule", "google-linear"});
    CHECK(config["optimizer"]["learning_rate"] == 2e-3);
    CHECK(config["optimizer"]["warmup_steps"] == 40);
    CHECK(config["optimizer"]["bias_correction"] == false);
    CHECK(config["optimizer"]["kind"] == "lamb");
    CHECK(config["optimizer"]["schedule"] == "google-linear");
    CHECK(config["model"]["hidden_act"] == "gelu_new");
    CHECK(config["model"]["hidden_dropout_prob"] == 0.0);
    CHECK(config["model"]["attention_probs_dropout_prob"] == 0.05);
    CHECK(config["model"]["hidden_size"] == 128);
    CHECK(config["samples"]["max_seq_length"] == 128);
    const Json& defaults = config["defaults"];
    CHECK(std::find(defaults.begin(), defaults.end(), "seed") != defaults.end());
    CHECK(std::find(defaults.begin(), defaults.end(), "learning-rate") == defaults.end());
    CHECK(!fs::exists("o"));
}

TEST_CASE("warm-up is a tenth of the steps unless said otherwise") {
    CHECK(printed_config({})["optimizer"]["warmup_steps"] == 100);
    CHECK(printed_config({"--warmup-proportion", "0.25"})["optimizer"]["warmup_steps"] == 250);
    CHECK(printed_config({"--warmup-steps", "0"})["optimizer"]["warmup_steps"] == 0);
    require_complaint(cloze({"pretrain", "--data", "d", "--model", "tiny", "--output", "o", "--max-steps", "10",
                             "--warmup-steps", "1", "--warmup-proportion", "0.5"}),
                      2, {"--warmup-proportion", "--warmup-steps"});
}

TEST_CASE("hyphens and underscores mean the same") {
    CHECK(printed_config({"--max-seq-length", "64", "--micro-batch-tokens", "512"}) ==
          printed_config({"--max_seq_length", "64", "--micro_batch_tokens", "512"}));
}

TEST_CASE("numbers are decimal, finite and within what fits, or refused in one short line") {
    CHECK(printed_config({"--global-batch-size", "010"})["batch"]["global_batch_size"] == 10);
    CHECK(printed_config({"--seed", "18446744073709551615"})["samples"]["seed"] == 18446744073709551615u);
    const auto refused = [](const std::string& flag, const std::string& value, const std::string& part) {
        const Ended ended =
            cloze({"pretrain", "--data", "d", "--model", "tiny", "--output", "o", "--max-steps", "9", flag, value});
        require_complaint(ended, 2, {flag, "'" + value + "'", part});
        CHECK(ended.err.size() < 200);
    };
    refused("--seed", "18446744073709551616", "from 0 to 18446744073709551615");
    refused("--seed", "-1", "whole number from 0");
    refused("--micro-batch-tokens", "9223372036854775808", "to 9223372036854775807");
    refused("--log-every", "0", "whole number from 1");
    refused("--global-batch-size", "0x10", "whole number");
    refused("--global-batch-size", "1e3", "whole number");
    refused("--threads", "100000", "from 0 to 1024");
    refused("--learning-rate", "0", "above 0");
    refused("--learning-rate", "inf", "above 0");
    refused("--learning-rate", "fast", "above 0");
    refused("--poly-degree", "nan", "above 0");
    refused("--warmup-proportion", "nan", "from 0 to 1");
    refused("--weight-decay", "-0.1", "at least 0");
    refused("--init-from", "", "variable");
    require_complaint(cloze({"prepare", "--input", "t", "--vocab", "v", "--output", "o", "--held-out", "0.9"}), 2,
                      {"--held-out", "'0.9'", "from 0 to 0.5"});
    require_complaint(cloze({"inspect", ""}), 2, {"PATH", "''"});
}

TEST_CASE("dry-run shows the preflight and writes nothing") {
    Workshop shop;
    shop.with_dataset();
    const Ended ended = cloze(shop.pretrain("run", 100, {"--dry-run"}));
    require_success(ended);
    INFO(ended.out);
    for (const std::string part : {"data", "epochs", "warm-up 10 steps", "memory", "checkpoints", "free", "FLOP"}) {
        INFO(part);
        CHECK(ended.out.find(part) != std::string::npos);
    }
    CHECK(!fs::exists(shop.path("run")));
}

TEST_CASE("a device that is not there is exit code 6, automatic choice takes the processor") {
    Workshop shop;
    shop.with_dataset();
    require_complaint(cloze(shop.pretrain("run", 5, {"--device", "cuda"})), 6, {"--device cpu"});
    require_complaint(cloze(shop.pretrain("run", 5, {"--device", "tpu"})), 2, {"'tpu'", "auto, cpu, cuda"});
    CHECK(!fs::exists(shop.path("run")));
    require_success(cloze(shop.pretrain("run", 2, {"--device", "auto"})));
}

TEST_CASE("quiet leaves the metrics and prints nothing") {
    Workshop shop;
    shop.with_dataset();
    const Ended ended = cloze(shop.pretrain("run", 4, {"--quiet", "--log-every", "2"}));
    require_success(ended);
    CHECK(ended.out.empty());
    CHECK(ended.err.empty());
    const std::string metrics = read_file(shop.path("run/metrics.jsonl"));
    for (const std::string key : {"step", "tflops", "forward_seconds", "optimizer_seconds", "gap_seconds"}) {
        INFO(key);
        CHECK(metrics.find("\"" + key + "\"") != std::string::npos);
    }
}

}  // namespace cloze::test
