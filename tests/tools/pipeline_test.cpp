#include <catch2/catch.hpp>

#include "engine/files/json.h"
#include "tests/tools/workshop.h"

namespace cloze::test {

namespace fs = std::filesystem;

TEST_CASE("text becomes a vocabulary, a dataset, a model, and the model fills a blank") {
    Workshop shop;
    shop.with_dataset();
    const Ended training = cloze(shop.pretrain("run", 300, {"--evaluate-every", "150", "--log-every", "30"}));
    require_success(training);
    INFO(training.out);
    CHECK(training.err.empty());
    for (const std::string part : {"new run", "micro-batch", "step 30/300", "step 300/300", "held out: mlm", "unigram",
                                   "next sentence", "checkpoint-00000300", "cloze fill-mask --checkpoint", "█"}) {
        INFO(part);
        CHECK(training.out.find(part) != std::string::npos);
    }

    const Ended evaluation =
        cloze({"evaluate", "--checkpoint", shop.path("run"), "--data", shop.path("dataset"), "--json"});
    require_success(evaluation);
    const Json held_out = Json::parse(evaluation.out);
    CHECK(held_out["masked_lm_loss"].get<double>() < held_out["unigram_loss"].get<double>() - 0.1);
    CHECK(held_out["step"] == 300);
    const Ended shown = cloze({"evaluate", "--checkpoint", shop.path("run"), "--data", shop.path("dataset")});
    require_success(shown);
    CHECK(shown.out.find("nat better") != std::string::npos);

    const Ended filled = cloze({"fill-mask", "--checkpoint", shop.path("run"), "--top-k", "3", "--json",
                                "the sailor [MASK] the ship every evening .", "a young cook bakes the [MASK] ."});
    require_success(filled);
    const std::size_t end = filled.out.find('\n');
    const Json first = Json::parse(filled.out.substr(0, end));
    const Json second = Json::parse(filled.out.substr(end + 1));
    CHECK(first["masks"][0].size() == 3);
    CHECK(second["text"] == "a young cook bakes the [MASK] .");
    double sum = 0;
    double before = 1;
    for (const Json& candidate : first["masks"][0]) {
        const double probability = candidate["probability"].get<double>();
        CHECK(probability <= before);
        sum += probability;
        before = probability;
    }
    CHECK(sum <= 1.0 + 1e-6);
    const Ended brackets =
        cloze({"fill-mask", "--checkpoint", shop.path("run"), "--top-k=1", "[MASK]", "[MASK] bakes, the [MASK]"});
    require_success(brackets);
    CHECK(brackets.out.find("[MASK] bakes, the [MASK]\n  [MASK] 1\n") != std::string::npos);
    CHECK(brackets.out.find(" %  ") != std::string::npos);
}

TEST_CASE("tokens in brackets can be added to a vocabulary") {
    Workshop shop;
    require_success(cloze({"vocab", "--input", shop.path("text"), "--vocab-size=60", "--user-tokens", "[ENT]", "[A,B]",
                           "--unused", "2", "--output", shop.path("vocab.txt")}));
    const std::string start = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n[ENT]\n[A,B]\n[unused0]\n[unused1]\n";
    CHECK(read_file(shop.path("vocab.txt")).starts_with(start));
}

TEST_CASE("a finished run run again changes nothing") {
    Workshop shop;
    shop.with_dataset();
    shop.train("run", 10);
    const auto before = contents_of(fs::path(shop.path("run")) / "checkpoint-00000010");
    const Ended again = cloze(shop.pretrain("run", 10));
    require_success(again);
    CHECK(contents_of(fs::path(shop.path("run")) / "checkpoint-00000010") == before);
}

TEST_CASE("the number of threads does not change a byte of a checkpoint or a dataset") {
    Workshop shop;
    shop.with_dataset();
    require_success(cloze({"prepare", "--input", shop.path("text"), "--vocab", shop.path("vocab.txt"), "--output",
                           shop.path("again"), "--held-out", "0.1", "--format", "lines", "--threads", "1"}));
    CHECK(contents_of(shop.path("again")) == contents_of(shop.path("dataset")));
    const std::string two = shop.train("two", 5);
    auto one_thread = shop.pretrain("one", 5);
    *(std::find(one_thread.begin(), one_thread.end(), "--threads") + 1) = std::string("1");
    require_success(cloze(one_thread));
    CHECK(read_file(fs::path(two) / "model.safetensors") ==
          read_file(fs::path(shop.path("one")) / "checkpoint-00000005" / "model.safetensors"));
}

TEST_CASE("init-from takes weights alone, into a run of its own") {
    Workshop shop;
    shop.with_dataset();
    const std::string first = shop.train("first", 5);
    const Ended second = cloze(shop.pretrain("second", 5, {"--init-from", first, "--next-sentence", "none"}));
    require_success(second);
    CHECK(second.out.find("new run") != std::string::npos);
    CHECK(second.out.find("next sentence") == std::string::npos);
    require_success(cloze(shop.pretrain(
        "third", 5,
        {"--init-from", shop.path("first"), "--optimizer", "lamb", "--schedule", "poly", "--whole-word-mask"})));
}

TEST_CASE("old checkpoints make room for new ones") {
    Workshop shop;
    shop.with_dataset();
    shop.train("run", 8, {"--save-every", "2", "--keep-checkpoints", "2"});
    CHECK(!fs::exists(shop.path("run/checkpoint-00000004")));
    CHECK(fs::exists(shop.path("run/checkpoint-00000006")));
    CHECK(fs::exists(shop.path("run/checkpoint-00000008")));
}

}  // namespace cloze::test
