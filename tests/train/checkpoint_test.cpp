#include "engine/train/checkpoint.h"

#include <catch2/catch.hpp>

#include "engine/files/safetensors.h"
#include "engine/model/initialization.h"
#include "tests/support.h"
#include "tests/train/tiny_run.h"

using namespace cloze;
using namespace cloze::test;
namespace fs = std::filesystem;

namespace {

Vocabulary tiny_vocabulary() {
    std::string contents = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n";
    for (std::int64_t i = 5; i < kTinyVocabulary; ++i) contents += "word" + std::to_string(i) + "\n";
    return Vocabulary::parse(contents, "tiny vocabulary");
}

/// A trainer after some steps, with what belongs into its checkpoint.
struct Trained {
    explicit Trained(std::int64_t steps)
        : trainer(tiny_config(), tiny_options(2, 1)), stream(tiny_sampler(), tiny_stream_settings(2), kTinyLimits) {
        initialize(trainer.weights(), 0.02, 1, Initialization::truncated_normal);
        for (std::int64_t i = 0; i < steps; ++i) trainer.step(stream.next());
    }
    fs::path save(const fs::path& run_folder) const {
        const Vocabulary vocabulary = tiny_vocabulary();
        const TrainingState state{.step = trainer.progress().steps,
                                  .updates = trainer.progress().updates,
                                  .stream = stream.state(),
                                  .recipe = Json::object(),
                                  .matrix_library = "test",
                                  .nonfinite_steps = 0};
        return save_checkpoint(run_folder, trainer, tiny_config(), {.vocabulary = vocabulary, .tokenizer = {}}, state);
    }
    Trainer trainer;
    BatchStream stream;
};

void flip_byte(const fs::path& file, std::size_t at) {
    std::string contents = test::read_file(file);
    contents[at] = static_cast<char>(contents[at] ^ 0x10);
    test::write_file(file, contents);
}

}  // namespace

TEST_CASE("a checkpoint brings back weights, moments, step and the place in the stream, to the bit") {
    const TemporaryFolder folder;
    Trained trained(3);
    const fs::path checkpoint = trained.save(folder.path());
    CHECK(checkpoint.filename() == "checkpoint-00000003");

    Trainer loaded(tiny_config(), tiny_options(2, 1));
    const TrainingState state = load_checkpoint(checkpoint, loaded);
    CHECK(values_of(loaded.weights()) == values_of(trained.trainer.weights()));
    CHECK(values_of(loaded.first_moment()) == values_of(trained.trainer.first_moment()));
    CHECK(values_of(loaded.second_moment()) == values_of(trained.trainer.second_moment()));
    BatchStream continued(tiny_sampler(), tiny_stream_settings(2), kTinyLimits, state.stream);
    for (int i = 0; i < 3; ++i) {
        loaded.step(continued.next());
        trained.trainer.step(trained.stream.next());
    }
    CHECK(loaded.progress().steps == 6);
    CHECK(loaded.progress().updates == 6);
    CHECK(values_of(loaded.weights()) == values_of(trained.trainer.weights()));
}

TEST_CASE("a checkpoint holds what transformers loads") {
    const TemporaryFolder folder;
    const fs::path checkpoint = Trained(1).save(folder.path());
    for (const char* name : {"config.json", "model.safetensors", "vocab.txt", "tokenizer.json", "tokenizer_config.json",
                             "special_tokens_map.json", "optimizer.safetensors", "training_state.json"}) {
        CHECK(fs::exists(checkpoint / name));
    }
    const SafetensorsReader weights(checkpoint / "model.safetensors");
    CHECK(weights.metadata().at("format") == "pt");
    CHECK(weights.require("bert.embeddings.word_embeddings.weight").shape ==
          std::vector<std::int64_t>{kTinyVocabulary, 32});
}

TEST_CASE("damaged checkpoints are passed over, named, and the newest whole one is found") {
    const TemporaryFolder folder;
    for (const std::int64_t steps : {1, 2, 3}) Trained(steps).save(folder.path());
    flip_byte(checkpoint_folder(folder.path(), 3) / "optimizer.safetensors", 5000);
    fs::remove(checkpoint_folder(folder.path(), 2) / "training_state.json");
    std::vector<std::string> notes;
    CHECK(newest_valid_checkpoint(folder.path(), notes) == checkpoint_folder(folder.path(), 1));
    REQUIRE(notes.size() == 2);
    CHECK(notes[0].find("optimizer.safetensors") != std::string::npos);
    CHECK(notes[1].find("training_state.json") != std::string::npos);
    CHECK(resolve_checkpoint(folder.path()) == checkpoint_folder(folder.path(), 1));
    CHECK_THROWS_WITH(resolve_checkpoint(checkpoint_folder(folder.path(), 3)),
                      Catch::Contains("optimizer.safetensors"));
}

TEST_CASE("rotation keeps the newest and never removes the last verified one") {
    const TemporaryFolder folder;
    for (const std::int64_t step : {10, 20, 30, 40}) fs::create_directories(checkpoint_folder(folder.path(), step));
    rotate_checkpoints(folder.path(), 2, checkpoint_folder(folder.path(), 40));
    CHECK(list_checkpoints(folder.path()) ==
          std::vector<fs::path>{checkpoint_folder(folder.path(), 40), checkpoint_folder(folder.path(), 30)});
}

TEST_CASE("rotation does not count checkpoints beyond the last verified one, which were passed over as damaged") {
    const TemporaryFolder folder;
    for (const std::int64_t step : {100, 200, 250, 300}) fs::create_directories(checkpoint_folder(folder.path(), step));
    rotate_checkpoints(folder.path(), 2, checkpoint_folder(folder.path(), 250));
    CHECK(list_checkpoints(folder.path()) == std::vector<fs::path>{checkpoint_folder(folder.path(), 300),
                                                                   checkpoint_folder(folder.path(), 250),
                                                                   checkpoint_folder(folder.path(), 200)});
}

TEST_CASE("what is no checkpoint is refused with what to name instead") {
    const TemporaryFolder folder;
    CHECK_THROWS_WITH(resolve_checkpoint(folder.path() / "missing"), Catch::Contains("no such folder"));
    CHECK_THROWS_WITH(resolve_checkpoint(folder.path()), Catch::Contains("neither a checkpoint"));
}
