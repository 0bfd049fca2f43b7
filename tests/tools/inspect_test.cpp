#include <catch2/catch.hpp>

#include "tests/tools/workshop.h"

namespace cloze::test {
namespace {

namespace fs = std::filesystem;

void flip_byte(const fs::path& file, double place) {
    std::string bytes = read_file(file);
    bytes[static_cast<std::size_t>(place * static_cast<double>(bytes.size()))] ^= 0x10;
    write_file(file, bytes);
}

Ended inspect(const std::string& path) {
    return cloze({"inspect", path});
}

void require_says(const std::string& path, const std::vector<std::string>& parts) {
    const Ended ended = inspect(path);
    require_success(ended);
    for (const std::string& part : parts) {
        INFO(part << " in " << ended.out);
        CHECK(ended.out.find(part) != std::string::npos);
    }
}

/// The only file of a folder whose name ends like this.
fs::path file_ending(const std::string& folder, const std::string& ending) {
    for (const fs::directory_entry& entry : fs::directory_iterator(folder)) {
        if (entry.path().string().ends_with(ending)) return entry.path();
    }
    FAIL("no " << ending << " in " << folder);
    return {};
}

}  // namespace

TEST_CASE("inspect knows everything the program makes") {
    Workshop shop;
    shop.with_dataset();
    const std::string checkpoint = shop.train("run", 4, {"--save-every", "2"});
    require_says(shop.path("vocab.txt"), {"vocabulary", "[MASK] 4", "xxh3"});
    require_says(shop.path("model.json"), {"model configuration", "1 layers x 32", "team_note"});
    require_says(shop.path("dataset"), {"dataset", "training", "held out", "every checksum is valid"});
    require_says(shop.path("dataset/dataset.json"), {"dataset"});
    require_says(checkpoint, {"checkpoint", "every checksum is valid", "tensors of F32"});
    require_says(checkpoint + "/model.safetensors",
                 {"safetensors", "bert.embeddings.word_embeddings.weight", "format = pt"});
    require_says(shop.path("run"),
                 {"run ", "checkpoint-00000002  valid", "checkpoint-00000004  valid", "last metrics"});
    fs::remove(fs::path(checkpoint) / "training_state.json");
    require_says(checkpoint, {"model folder", "tensors of F32"});
}

TEST_CASE("inspect names what is damaged") {
    Workshop shop;
    shop.with_dataset();
    const std::string checkpoint = shop.train("run", 4);
    flip_byte(fs::path(checkpoint) / "model.safetensors", 0.5);
    flip_byte(fs::path(checkpoint) / "vocab.txt", 0.5);
    const Ended of_checkpoint = inspect(checkpoint);
    require_complaint(of_checkpoint, 3, {"2 problems", "listed above"});
    CHECK(of_checkpoint.out.find("damaged: model.safetensors") != std::string::npos);
    CHECK(of_checkpoint.out.find("damaged: vocab.txt") != std::string::npos);
    const Ended of_run = inspect(shop.path("run"));
    require_complaint(of_run, 3, {"2 problems"});
    CHECK(of_run.out.find("checkpoint-00000004  damaged") != std::string::npos);

    const fs::path shard = fs::path(shop.path("dataset")) / "train-00000.shard";
    const fs::path found = fs::exists(shard) ? shard : file_ending(shop.path("dataset"), "shard");
    flip_byte(found, 0.5);
    require_complaint(inspect(shop.path("dataset")), 3, {"1 problem,"});
    const Ended of_shard = inspect(found.string());
    CHECK(of_shard.exit_code == 3);
}

TEST_CASE("inspect says what it does not know") {
    const TemporaryFolder folder;
    require_complaint(inspect((folder.path() / "nothing").string()), 3, {"no such file or folder"});
    require_complaint(inspect(folder.path().string()), 3, {"neither a dataset"});
    write_file(folder.path() / "empty", "");
    require_complaint(inspect((folder.path() / "empty").string()), 3, {"empty"});
    write_file(folder.path() / "prose.txt", "Some prose.\nMore of it.\n");
    require_complaint(inspect((folder.path() / "prose.txt").string()), 3, {"prose.txt"});
    write_file(folder.path() / "broken.json", "{\"vocab_size\": ");
    require_complaint(inspect((folder.path() / "broken.json").string()), 3, {"broken.json"});
}

}  // namespace cloze::test
