#include "engine/train/run.h"

#include <catch2/catch.hpp>
#include <cmath>
#include <optional>

#include "engine/data/prepare.h"
#include "engine/files/json.h"
#include "engine/train/checkpoint.h"
#include "engine/train/fill_mask.h"
#include "tests/support.h"
#include "tests/train/tiny_run.h"

using namespace cloze;
using namespace cloze::test;
namespace fs = std::filesystem;

namespace {

constexpr const char* kWords[] = {"red", "green", "blue", "one", "two", "three", "four", "cat", "dog", "bird"};

Vocabulary word_vocabulary() {
    std::string contents = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n.\n";
    for (const char* word : kWords) contents += std::string(word) + "\n";
    return Vocabulary::parse(contents, "words");
}

/// A dataset folder of sentences that cycle through the words.
fs::path prepare_words(const fs::path& folder) {
    std::string text;
    for (int document = 0; document < 60; ++document) {
        for (int sentence = 0; sentence < 6; ++sentence) {
            for (int word = 0; word < 6; ++word) text += std::string(kWords[(document + sentence + word) % 10]) + " ";
            text += ".\n";
        }
        text += "\n";
    }
    test::write_file(folder / "words.txt", text);
    PrepareSettings settings;
    settings.inputs = {folder / "words.txt"};
    settings.output = folder / "data";
    settings.format = TextFormat::lines;
    settings.held_out_fraction = 0.2;
    prepare_dataset(word_vocabulary(), settings);
    return folder / "data";
}

struct Setting {
    RunRecipe recipe;
    RunHandling handling;
};

Setting tiny_setting(const fs::path& data, const fs::path& output) {
    Setting setting;
    setting.recipe.data = data;
    setting.recipe.model = tiny_config();
    setting.recipe.samples.max_seq_length = 32;
    setting.recipe.global_batch_size = 8;
    setting.recipe.micro_batch_tokens = 128;
    setting.recipe.optimizer.schedule = {
        .kind = ScheduleKind::linear, .base = 2e-3, .warmup_steps = 3, .total_steps = 24};
    setting.handling.output = output;
    setting.handling.log_every = 4;
    setting.handling.save_every = 5;
    return setting;
}

/// Runs until `stop_after` steps of this call are done; 0: to the end.
RunResult run(const Setting& setting, std::int64_t stop_after = 0) {
    std::int64_t asked = 0;
    RunObserver observer;
    observer.stop_requested = [&] { return stop_after > 0 && asked++ == stop_after; };
    return pretrain(setting.recipe, setting.handling, observer);
}

}  // namespace

TEST_CASE("a stopped run continued by the same call ends with the bytes of the undisturbed one") {
    const TemporaryFolder folder;
    const fs::path data = prepare_words(folder.path());
    const RunResult whole = run(tiny_setting(data, folder.path() / "whole"));
    REQUIRE(whole.steps_done == 24);
    for (const std::int64_t first : {1, 7, 16}) {
        const Setting setting = tiny_setting(data, folder.path() / ("parts" + std::to_string(first)));
        const RunResult stopped = run(setting, first);
        CHECK(stopped.stopped);
        CHECK(stopped.steps_done == first);
        run(setting, 2);
        const RunResult finished = run(setting);
        CHECK_FALSE(finished.stopped);
        for (const char* file : {"model.safetensors", "optimizer.safetensors"}) {
            CHECK(test::read_file(finished.checkpoint / file) == test::read_file(whole.checkpoint / file));
        }
    }
}

TEST_CASE("a finished run called again does nothing and reports the same") {
    const TemporaryFolder folder;
    const Setting setting = tiny_setting(prepare_words(folder.path()), folder.path() / "run");
    const RunResult first = run(setting);
    const RunResult again = run(setting);
    CHECK(again.steps_done == 24);
    CHECK(again.checkpoint == first.checkpoint);
    CHECK(again.evaluation->masked_loss == first.evaluation->masked_loss);
    CHECK(again.loss_history == first.loss_history);
    const std::string log = test::read_file(setting.handling.output / "metrics.jsonl");
    CHECK(std::count(log.begin(), log.end(), '\n') == 6 + 1);  // logged steps, one evaluation
}

TEST_CASE("a run whose gradients stay not finite ends as diverged, also across a restart") {
    const TemporaryFolder folder;
    Setting setting = tiny_setting(prepare_words(folder.path()), folder.path() / "run");
    setting.recipe.optimizer.schedule.base = 1e30;  // one update throws the weights beyond what f32 can square
    setting.recipe.optimizer.schedule.warmup_steps = 0;
    setting.handling.stop_after_nonfinite = 4;
    CHECK(run(setting, 3).stopped);  // an update, then two steps without
    try {
        run(setting);
        FAIL("went on");
    } catch (const Error& error) {
        CHECK(error.fault() == Fault::diverged);
        CHECK_THAT(error.what(), Catch::StartsWith("step 5: ") && Catch::Contains("4 steps in a row"));
    }
    setting.handling.stop_after_nonfinite = 0;
    CHECK_THROWS_WITH(run(setting), Catch::Contains("stop_after_nonfinite 0"));
}

TEST_CASE("weights that are no longer finite end the run at its evaluation, and are no answer") {
    const TemporaryFolder folder;
    Setting setting = tiny_setting(prepare_words(folder.path()), folder.path() / "run");
    setting.recipe.optimizer.schedule = {
        .kind = ScheduleKind::constant, .base = 1e30, .warmup_steps = 0, .total_steps = 3};
    const auto fault_of = [](const auto& call) -> std::optional<Fault> {
        try {
            call();
        } catch (const Error& error) {
            return error.fault();
        }
        return std::nullopt;
    };
    CHECK(fault_of([&] { run(setting); }) == Fault::diverged);
    CHECK(fault_of([&] {
              evaluate({.checkpoint = folder.path() / "run", .data = setting.recipe.data, .samples = {}});
          }) == Fault::diverged);
    CHECK(fault_of([&] { fill_mask(folder.path() / "run", {"red [MASK]"}, 3); }) == Fault::diverged);
}

TEST_CASE("metrics.jsonl has each logged step once, also after a restart from an older checkpoint") {
    const TemporaryFolder folder;
    const Setting setting = tiny_setting(prepare_words(folder.path()), folder.path() / "run");
    run(setting, 13);
    fs::remove_all(checkpoint_folder(setting.handling.output, 13));  // as if killed before the last save
    run(setting);
    std::vector<std::int64_t> steps;
    std::istringstream lines(test::read_file(setting.handling.output / "metrics.jsonl"));
    for (std::string line; std::getline(lines, line);) {
        const Json json = Json::parse(line);
        if (json["type"] == "train") steps.push_back(json["step"].get<std::int64_t>());
    }
    CHECK(steps == std::vector<std::int64_t>{4, 8, 12, 16, 20, 24});
}

TEST_CASE("foreign lines in metrics.jsonl do not keep a run from going on") {
    const TemporaryFolder folder;
    const Setting setting = tiny_setting(prepare_words(folder.path()), folder.path() / "run");
    run(setting, 8);
    const fs::path log = setting.handling.output / "metrics.jsonl";
    test::write_file(log, test::read_file(log) + R"({"step": "four", "type": 7})" + "\n" + R"({"step": 2.5})" + "\n");
    const RunResult result = run(setting);
    CHECK(result.steps_done == 24);
    CHECK(result.loss_history.size() == 6);
    CHECK(test::read_file(log).find(R"("step": "four")") != std::string::npos);
}

TEST_CASE("a folder with the log of another program is refused and stays as it is") {
    const TemporaryFolder folder;
    const Setting setting = tiny_setting(prepare_words(folder.path()), folder.path() / "run");
    test::write_file(setting.handling.output / "metrics.jsonl", R"({"step": 9})"
                                                                "\n");
    CHECK_THROWS_WITH(run(setting), Catch::Contains("holds metrics.jsonl") && Catch::Contains("--output"));
    CHECK(test::read_file(setting.handling.output / "metrics.jsonl") == R"({"step": 9})"
                                                                        "\n");
    CHECK_FALSE(fs::exists(setting.handling.output / "run.json"));
}

TEST_CASE("a folder of another run is refused, naming what differs, and stays as it is") {
    const TemporaryFolder folder;
    Setting setting = tiny_setting(prepare_words(folder.path()), folder.path() / "run");
    run(setting, 2);
    const std::string record = test::read_file(setting.handling.output / "run.json");
    setting.recipe.optimizer.schedule.base = 1e-3;
    CHECK_THROWS_WITH(run(setting), Catch::Contains("belongs to another run") &&
                                        Catch::Contains("optimizer.learning_rate 0.002 there, 0.001 here"));
    setting.handling.preflight_only = true;
    CHECK_THROWS_WITH(run(setting), Catch::Contains("belongs to another run"));
    CHECK(test::read_file(setting.handling.output / "run.json") == record);
}

TEST_CASE("a run none of whose checkpoints is whole is refused and stays as it is") {
    const TemporaryFolder folder;
    const Setting setting = tiny_setting(prepare_words(folder.path()), folder.path() / "run");
    run(setting, 7);
    const fs::path newest = checkpoint_folder(setting.handling.output, 7);
    const fs::path older = checkpoint_folder(setting.handling.output, 5);
    const std::string log = test::read_file(setting.handling.output / "metrics.jsonl");
    for (const fs::path& checkpoint : {newest, older}) {
        std::string bytes = test::read_file(checkpoint / "model.safetensors");
        bytes[bytes.size() / 2] ^= 1;
        test::write_file(checkpoint / "model.safetensors", bytes);
    }
    CHECK_THROWS_WITH(run(setting), Catch::Contains("none of its checkpoints is whole") &&
                                        Catch::Contains("checkpoint-00000007") && Catch::Contains("remove them all"));
    CHECK(test::read_file(setting.handling.output / "metrics.jsonl") == log);
    CHECK(fs::exists(newest));
    fs::remove_all(newest);
    fs::remove_all(older);
    CHECK(run(setting).steps_done == 24);
}

TEST_CASE("a run from the weights of another starts fresh but for the weights") {
    const TemporaryFolder folder;
    const fs::path data = prepare_words(folder.path());
    const RunResult first = run(tiny_setting(data, folder.path() / "first"));
    Setting setting = tiny_setting(data, folder.path() / "second");
    setting.recipe.init_from = folder.path() / "first";
    setting.recipe.optimizer.schedule.total_steps = 1;
    setting.recipe.optimizer.schedule.warmup_steps = 1;  // the first update of a warm-up has rate 0
    const RunResult second = run(setting);
    CHECK(test::read_file(second.checkpoint / "model.safetensors") ==
          test::read_file(first.checkpoint / "model.safetensors"));
}

TEST_CASE("weights of another architecture are refused before the run's folder is made") {
    const TemporaryFolder folder;
    const fs::path data = prepare_words(folder.path());
    run(tiny_setting(data, folder.path() / "first"), 1);
    Setting setting = tiny_setting(data, folder.path() / "second");
    setting.recipe.init_from = folder.path() / "first";
    setting.recipe.model.num_attention_heads *= 2;  // every shape still fits
    CHECK_THROWS_WITH(run(setting), Catch::Contains("num_attention_heads"));
    CHECK_FALSE(fs::exists(folder.path() / "second"));
}

TEST_CASE("evaluate repeats what the run said, and the baseline is the unigram distribution") {
    const TemporaryFolder folder;
    const fs::path data = prepare_words(folder.path());
    const RunResult result = run(tiny_setting(data, folder.path() / "run"));
    const Evaluation repeated =
        evaluate({.checkpoint = folder.path() / "run", .data = data, .samples = {}, .sequences = 2000});
    CHECK(repeated.masked == result.evaluation->masked);
    CHECK(repeated.masked_loss == Approx(result.evaluation->masked_loss).epsilon(1e-5));
    CHECK(repeated.unigram_loss == Approx(result.evaluation->unigram_loss));
    CHECK(repeated.unigram_loss == Approx(std::log(11.0)).epsilon(0.1));  // ten words and a stop, nearly uniform
}

TEST_CASE("fill-mask gives a distribution per mask, the most probable first") {
    const TemporaryFolder folder;
    run(tiny_setting(prepare_words(folder.path()), folder.path() / "run"));
    const std::vector<MaskFill> fills = fill_mask(folder.path() / "run", {"red [MASK] blue [MASK] .", "[MASK]"}, 16);
    REQUIRE(fills.size() == 2);
    REQUIRE(fills[0].masks.size() == 2);
    REQUIRE(fills[0].masks[0].size() == 16);
    double sum = 0;
    for (const MaskCandidate& candidate : fills[0].masks[0]) sum += candidate.probability;
    CHECK(sum == Approx(1.0));
    CHECK(fills[0].masks[0][0].probability >= fills[0].masks[0][1].probability);
    CHECK_THROWS_WITH(fill_mask(folder.path() / "run", {"red green"}, 3), Catch::Contains("no [MASK]"));
    std::string longer;
    for (int i = 0; i < 40; ++i) longer += "red ";
    CHECK_THROWS_WITH(fill_mask(folder.path() / "run", {longer + "[MASK]"}, 3),
                      Catch::Contains("the model reaches 32"));
}

TEST_CASE("a preflight writes nothing and tells the shape of the run") {
    const TemporaryFolder folder;
    Setting setting = tiny_setting(prepare_words(folder.path()), folder.path() / "run");
    setting.handling.preflight_only = true;
    Preflight preflight{};
    RunObserver observer;
    observer.on_preflight = [&](const Preflight& told) { preflight = told; };
    pretrain(setting.recipe, setting.handling, observer);
    CHECK_FALSE(fs::exists(setting.handling.output));
    CHECK(preflight.steps == 24);
    CHECK(preflight.sequences_per_step == Approx(8).epsilon(0.05));
    CHECK(preflight.memory_bytes > 0);
    CHECK(preflight.micro_batches * preflight.capacity.tokens >= 8 * 20);
}

TEST_CASE("what cannot work is refused before anything is written") {
    const TemporaryFolder folder;
    const fs::path data = prepare_words(folder.path());
    const auto message_of = [&](const std::function<void(Setting&)>& change) -> std::string {
        Setting setting = tiny_setting(data, folder.path() / "refused");
        change(setting);
        try {
            run(setting);
        } catch (const Error& error) {
            CHECK_FALSE(fs::exists(folder.path() / "refused"));
            return error.what();
        }
        return "accepted";
    };
    using Catch::Contains;
    CHECK_THAT(message_of([](Setting& s) { s.recipe.samples.max_seq_length = 64; }), Contains("64") && Contains("32"));
    CHECK_THAT(message_of([](Setting& s) { s.recipe.optimizer.schedule.base = -1; }), Contains("--learning-rate"));
    CHECK_THAT(message_of([](Setting& s) { s.recipe.global_batch_size = 0; }), Contains("batch"));
    CHECK_THAT(message_of([](Setting& s) { s.recipe.virtual_ranks = 3; }), Contains("virtual"));
    CHECK_THAT(message_of([](Setting& s) { s.recipe.optimizer.schedule.degree = NAN; }), Contains("--poly-degree nan"));
    CHECK_THAT(message_of([](Setting& s) { s.recipe.optimizer.epsilon = INFINITY; }), Contains("--epsilon inf"));
    CHECK_THAT(message_of([](Setting& s) { s.recipe.optimizer.weight_decay = INFINITY; }), Contains("--weight-decay"));
    CHECK_THAT(message_of([](Setting& s) { s.recipe.optimizer.schedule.total_steps = 1'000'000'000; }),
               Contains("1000000000 steps") && Contains("at most 65000") && Contains("--max-steps"));
    CHECK_THAT(message_of([&](Setting& s) { s.recipe.data = folder.path() / "nowhere"; }), Contains("nowhere"));
}
