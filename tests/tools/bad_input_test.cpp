// Every kind of bad input: one line with the remedy, its exit code, and nothing destroyed.
#include <catch2/catch.hpp>
#include <sys/mount.h>
#include <unistd.h>

#include "engine/files/json.h"
#include "tests/tools/workshop.h"

namespace cloze::test {
namespace {

namespace fs = std::filesystem;

constexpr int kUsage = 2;
constexpr int kBadInput = 3;
constexpr int kMachineFailed = 4;

Ended vocab(const Workshop& shop, const std::string& input) {
    return cloze({"vocab", "--input", input, "--vocab-size", "200", "--output", shop.path("new-vocab.txt")});
}

Ended prepare(const Workshop& shop, const std::string& input, const std::string& vocabulary = "vocab.txt") {
    return cloze({"prepare", "--input", input, "--vocab", shop.path(vocabulary), "--output", shop.path("new-dataset")});
}

void edit(const fs::path& file, const std::string& from, const std::string& to) {
    std::string text = read_file(file);
    const std::size_t at = text.find(from);
    REQUIRE(at != std::string::npos);
    write_file(file, text.replace(at, from.size(), to));
}

void flip_middle(const fs::path& file) {
    std::string bytes = read_file(file);
    bytes[bytes.size() / 2] ^= 1;
    write_file(file, bytes);
}

fs::path training_shard(const fs::path& dataset) {
    for (const fs::directory_entry& entry : fs::directory_iterator(dataset)) {
        const std::string name = entry.path().filename().string();
        if (name.starts_with("train") && entry.path().extension() != ".json") return entry.path();
    }
    FAIL("no training shard in " << dataset);
    return {};
}

}  // namespace

TEST_CASE("text that is missing, empty or binary is refused") {
    Workshop shop;
    shop.with_vocabulary();
    write_file(shop.path("empty.txt"), "");
    write_file(shop.path("blank.txt"), "\n \n\t\n");
    write_file(shop.path("binary.txt"), std::string("\x7f"
                                                    "ELF\0\0\1\2\0\0",
                                                    10));
    fs::create_directories(shop.path("nothing"));
    for (const bool learn : {true, false}) {
        const auto run = [&](const std::string& input) { return learn ? vocab(shop, input) : prepare(shop, input); };
        require_complaint(run(shop.path("missing.txt")), kBadInput, {"missing.txt"});
        require_complaint(run(shop.path("empty.txt")), kBadInput, {"empty.txt"});
        require_complaint(run(shop.path("blank.txt")), kBadInput, {});
        require_complaint(run(shop.path("binary.txt")), kBadInput, {"binary.txt"});
        require_complaint(run(shop.path("nothing")), kBadInput, {"no text"});
    }
    CHECK(!fs::exists(shop.path("new-vocab.txt")));
    CHECK(!fs::exists(shop.path("new-dataset")));
}

TEST_CASE("text that may not be read is refused") {
    Workshop shop;
    shop.with_vocabulary();
    write_file(shop.path("secret.txt"), "a secret .\n");
    fs::permissions(shop.path("secret.txt"), fs::perms::none);
    for (const char* place : {".", "vocab.txt"}) {
        fs::permissions(shop.path(place), fs::perms::others_read | fs::perms::others_exec, fs::perm_options::add);
    }
    fs::create_directories(shop.path("open"));
    fs::permissions(shop.path("open"), fs::perms::all);
    const Surroundings stranger{.as_nobody = true};
    const Ended learned = cloze(
        {"vocab", "--input", shop.path("secret.txt"), "--vocab-size", "9", "--output", shop.path("open/v")}, stranger);
    if (learned.exit_code == kCannotStart) return skip("the program cannot be started by another user here");
    require_complaint(learned, kMachineFailed, {"secret.txt", "ermission"});
    require_complaint(cloze({"prepare", "--input", shop.path("secret.txt"), "--vocab", shop.path("vocab.txt"),
                             "--output", shop.path("new-dataset")},
                            stranger),
                      kMachineFailed, {"secret.txt", "ermission"});
}

TEST_CASE("vocabularies that cannot work are refused") {
    Workshop shop;
    shop.with_vocabulary();
    const std::string whole = read_file(shop.path("vocab.txt"));
    const auto refused = [&](const std::string& contents, const std::vector<std::string>& parts) {
        write_file(shop.path("bad.txt"), contents);
        require_complaint(prepare(shop, shop.path("text"), "bad.txt"), kBadInput, parts);
        require_complaint(cloze({"tokenize", "--vocab", shop.path("bad.txt")}), kBadInput, parts);
    };
    refused("", {"bad.txt"});
    refused("[PAD]\n[UNK]\n[CLS]\n[SEP]\nword\n", {"bad.txt", "[MASK]"});
    refused(whole + "the\n", {"bad.txt", "the"});
    refused(whole + "\xff\n", {"bad.txt"});
    CHECK(!fs::exists(shop.path("new-dataset")));
}

TEST_CASE("outputs that exist are not overwritten") {
    Workshop shop;
    shop.with_dataset();
    const auto before = contents_of(shop.path("dataset"));
    const Ended again =
        cloze({"vocab", "--input", shop.path("text"), "--vocab-size", "100", "--output", shop.path("vocab.txt")});
    require_complaint(again, kUsage, {"exists", "--overwrite"});
    const Ended dataset = cloze(
        {"prepare", "--input", shop.path("text"), "--vocab", shop.path("vocab.txt"), "--output", shop.path("dataset")});
    CHECK(dataset.exit_code != 0);
    require_complaint(dataset, dataset.exit_code, {"dataset", "--overwrite"});
    const Ended folder = cloze({"prepare", "--input", shop.path("text"), "--vocab", shop.path("vocab.txt"), "--output",
                                shop.path("text"), "--overwrite"});
    require_complaint(folder, folder.exit_code, {"text"});
    CHECK(folder.exit_code != 0);
    CHECK(contents_of(shop.path("dataset")) == before);
    CHECK(fs::exists(shop.path("text/one.txt")));
}

TEST_CASE("damaged shards are refused before the first step") {
    Workshop shop;
    shop.with_dataset();
    const fs::path shard = training_shard(shop.path("dataset"));
    const std::string whole = read_file(shard);
    flip_middle(shard);
    require_complaint(cloze(shop.pretrain("run", 5)), kBadInput, {shard.filename().string()});
    write_file(shard, whole.substr(0, whole.size() / 2));
    require_complaint(cloze(shop.pretrain("run", 5)), kBadInput, {shard.filename().string()});
    fs::remove(shard);
    const Ended missing = cloze(shop.pretrain("run", 5));
    require_complaint(missing, missing.exit_code, {shard.filename().string()});
    CHECK(missing.exit_code >= kBadInput);
    CHECK(missing.exit_code <= kMachineFailed);
    CHECK(!fs::exists(shop.path("run")));
}

TEST_CASE("a dataset whose vocabulary was replaced is refused") {
    Workshop shop;
    shop.with_dataset();
    const fs::path vocabulary = fs::path(shop.path("dataset")) / "vocab.txt";
    write_file(vocabulary, read_file(vocabulary) + "another\n");
    require_complaint(cloze(shop.pretrain("run", 5)), kBadInput, {"vocab.txt"});
}

TEST_CASE("a damaged checkpoint is passed over, and refused where it was asked for") {
    Workshop shop;
    shop.with_dataset();
    const fs::path last = shop.train("run", 6, {"--save-every", "3"});
    flip_middle(last / "optimizer.safetensors");
    const Ended resumed = cloze(shop.pretrain("run", 6, {"--save-every", "3"}));
    require_success(resumed);
    CHECK(resumed.out.find("continuing at step 3") != std::string::npos);
    CHECK(resumed.out.find("damaged") != std::string::npos);

    flip_middle(last / "model.safetensors");
    require_complaint(cloze({"fill-mask", "--checkpoint", last.string(), "the [MASK]"}), kBadInput,
                      {"model.safetensors"});
    require_complaint(cloze({"evaluate", "--checkpoint", last.string(), "--data", shop.path("dataset")}), kBadInput,
                      {"model.safetensors"});
    require_complaint(cloze(shop.pretrain("other", 6, {"--init-from", last.string()})), kBadInput,
                      {"model.safetensors"});
}

TEST_CASE("sizes that cannot work are refused with the limit") {
    Workshop shop;
    shop.with_dataset();
    const auto with = [&](const std::string& flag, const std::string& value) {
        auto arguments = shop.pretrain("run", 5);
        const auto found = std::find(arguments.begin(), arguments.end(), flag);
        if (found == arguments.end()) {
            arguments.insert(arguments.end(), {flag, value});
        } else {
            *(found + 1) = value;
        }
        return cloze(arguments);
    };
    require_complaint(with("--max-seq-length", "65"), kUsage, {"--max-seq-length 65", "64", "position"});
    require_complaint(with("--micro-batch-tokens", "16"), kUsage, {"--micro-batch-tokens 16", "--max-seq-length 32"});
    require_complaint(with("--global-batch-size", "0"), kUsage, {"--global-batch-size"});
    require_complaint(with("--max-seq-length", "3"), kUsage, {"3"});
    require_complaint(with("--virtual-ranks", "3"), kUsage, {"--virtual-ranks 3"});
    require_complaint(with("--masked-lm-prob", "1.5"), kUsage, {"1.5"});
    require_complaint(with("--mask-share", "0.5"), kUsage, {"share"});
    require_complaint(with("--optimizer", "sgd"), kUsage, {"sgd", "adamw"});
    require_complaint(with("--schedule", "cosine"), kUsage, {"cosine", "linear"});
    require_complaint(with("--next-sentence", "sop"), kUsage, {"sop", "nsp"});
    require_complaint(with("--model", "huge"), kUsage, {"huge", "tiny"});
    require_complaint(with("--seed", "-1"), kUsage, {"--seed", "-1"});
    require_complaint(with("--learning-rate", "0"), kUsage, {"--learning-rate"});
    CHECK(!fs::exists(shop.path("run")));
}

TEST_CASE("configurations: unknown keys are kept, unknown values refused") {
    Workshop shop;
    shop.with_dataset();
    const std::string good = read_file(shop.path("model.json"));
    const auto refused = [&](const std::string& from, const std::string& to, const std::vector<std::string>& parts) {
        write_file(shop.path("model.json"), good);
        edit(shop.path("model.json"), from, to);
        require_complaint(cloze(shop.pretrain("run", 2)), kBadInput, parts);
    };
    refused("\"team_note\": \"kept\"", "\"hidden_act\": \"swish\"", {"hidden_act", "swish", "gelu"});
    refused("\"team_note\": \"kept\"", "\"position_embedding_type\": \"rotary\"", {"rotary", "absolute"});
    refused("\"hidden_size\": 32", "\"hidden_size\": 33", {"hidden_size 33", "num_attention_heads"});
    refused("\"hidden_size\": 32", "\"hidden_size\": \"wide\"", {"hidden_size", "wide"});
    refused("\"hidden_size\": 32,", "", {"hidden_size"});
    refused("{", "", {"model.json"});
    CHECK(!fs::exists(shop.path("run")));
    write_file(shop.path("model.json"), good);
    const fs::path checkpoint = shop.train("run", 2);
    CHECK(Json::parse(read_file(checkpoint / "config.json"))["team_note"] == "kept");
}

TEST_CASE("an output folder of another run is refused and left alone") {
    Workshop shop;
    shop.with_dataset();
    shop.train("run", 4);
    const auto before = contents_of(shop.path("run"));
    auto other = shop.pretrain("run", 4);
    *(std::find(other.begin(), other.end(), "--learning-rate") + 1) = std::string("1e-3");
    require_complaint(cloze(other), kBadInput, {"another run", "learning_rate", "--output"});
    CHECK(contents_of(shop.path("run")) == before);

    require_complaint(cloze(shop.pretrain("run", 4, {"--precision", "bf16"})), kBadInput,
                      {"another run", "precision", "--output"});
    CHECK(contents_of(shop.path("run")) == before);

    require_complaint(cloze(shop.pretrain("dataset", 4)), kBadInput, {"dataset", "--output"});
    write_file(shop.path("file"), "mine");
    const Ended file = cloze(shop.pretrain("file", 4));
    CHECK(file.exit_code != 0);
    require_complaint(file, file.exit_code, {"file"});
    CHECK(read_file(shop.path("file")) == "mine");
}

TEST_CASE("fill-mask refuses texts it cannot fill") {
    Workshop shop;
    shop.with_dataset();
    shop.train("run", 2);
    const auto fill = [&](const std::string& text) {
        return cloze({"fill-mask", "--checkpoint", shop.path("run"), text});
    };
    require_complaint(fill("no blank here"), kUsage, {"[MASK]"});
    std::string long_text = "[MASK]";
    for (int i = 0; i < 80; ++i) long_text += " the";
    require_complaint(fill(long_text), kUsage, {"64"});
    require_complaint(cloze({"fill-mask", "--checkpoint", shop.path("nowhere"), "[MASK]"}), kBadInput, {"nowhere"});
    require_complaint(cloze({"fill-mask", "--checkpoint", shop.path("text"), "[MASK]"}), kBadInput, {"text"});
}

TEST_CASE("a write that fails while saving leaves the checkpoints of before") {
    Workshop shop;
    shop.with_dataset();
    const fs::path first = shop.train("run", 3);
    const auto before = contents_of(first);
    auto longer = shop.pretrain("limited", 6, {"--save-every", "3"});
    const Ended limited = cloze(longer, {.most_file_bytes = 20000});
    require_complaint(limited, kMachineFailed, {"File too large"});
    require_success(cloze(longer));
    CHECK(contents_of(first) == before);
}

TEST_CASE("a disk that is full while saving leaves the checkpoints of before") {
    Workshop shop;
    shop.with_dataset();
    const fs::path disk = shop.path("disk");
    fs::create_directories(disk);
    if (::mount("tmpfs", disk.c_str(), "tmpfs", 0, "size=2m") != 0) return skip("needs to mount a small tmpfs");
    struct Unmount {
        fs::path disk;
        ~Unmount() { ::umount(disk.c_str()); }
    } const unmount{disk};
    const auto run = shop.pretrain("disk/run", 40, {"--save-every", "1", "--keep-checkpoints", "1000"});
    const Ended full = cloze(run);
    require_complaint(full, kMachineFailed, {"free"});
    INFO(full.out);
    CHECK(fs::exists(disk / "run" / "checkpoint-00000001" / "training_state.json"));
    const Ended runs = cloze({"inspect", (disk / "run").string()});
    require_success(runs);
    CHECK(runs.out.find("checkpoint-00000001  valid") != std::string::npos);
}

}  // namespace cloze::test
