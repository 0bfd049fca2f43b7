#include "tests/tools/workshop.h"

#include <array>
#include <catch2/catch.hpp>
#include <random>

namespace cloze::test {
namespace {

namespace fs = std::filesystem;

constexpr const char* kOneLayer = R"({
  "vocab_size": 1000, "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2,
  "intermediate_size": 64, "max_position_embeddings": 64, "team_note": "kept"
})";

struct Topic {
    std::array<const char*, 3> who, does, what;
};

constexpr std::array kTopics = {
    Topic{{"the sailor", "a captain", "the old pilot"},
          {"steers", "repairs", "praises"},
          {"the ship", "a mast", "his boat"}},
    Topic{{"the baker", "a young cook", "the farmer"},
          {"bakes", "sells", "tastes"},
          {"the bread", "a cake", "fresh rolls"}},
    Topic{{"the teacher", "a pupil", "the clerk"},
          {"reads", "writes", "forgets"},
          {"the letter", "a long book", "her notes"}},
    Topic{{"the painter", "a sculptor", "the critic"},
          {"admires", "finishes", "hangs"},
          {"the portrait", "a frame", "his sketch"}},
};
constexpr std::array kWhen = {"in the morning", "before noon", "every evening", "on sundays"};

}  // namespace

std::string small_corpus(int documents, unsigned seed) {
    std::mt19937 random(seed);
    const auto pick = [&random](const auto& choices) { return std::string(choices[random() % choices.size()]); };
    std::string text;
    for (int document = 0; document < documents; ++document) {
        const Topic& topic = kTopics[random() % kTopics.size()];
        const unsigned sentences = 6 + random() % 8;
        for (unsigned sentence = 0; sentence < sentences; ++sentence) {
            text += pick(topic.who) + " " + pick(topic.does) + " " + pick(topic.what) + " " + pick(kWhen) + ".\n";
        }
        text += "\n";
    }
    return text;
}

std::map<std::string, std::string> contents_of(const fs::path& folder) {
    std::map<std::string, std::string> contents;
    for (const fs::directory_entry& entry : fs::recursive_directory_iterator(folder)) {
        if (entry.is_regular_file()) contents[fs::relative(entry.path(), folder).string()] = read_file(entry.path());
    }
    return contents;
}

Workshop::Workshop() {
    write_file(path("text/one.txt"), small_corpus(60, 1));
    write_file(path("text/two.txt"), small_corpus(60, 2));
    write_file(path("model.json"), kOneLayer);
}

Workshop& Workshop::with_vocabulary() {
    require_success(cloze({"vocab", "--input", path("text"), "--vocab-size", "200", "--output", path("vocab.txt")}));
    return *this;
}

Workshop& Workshop::with_dataset() {
    with_vocabulary();
    require_success(cloze({"prepare", "--input", path("text"), "--vocab", path("vocab.txt"), "--output",
                           path("dataset"), "--held-out", "0.1", "--format", "lines"}));
    return *this;
}

std::vector<std::string> Workshop::pretrain(const std::string& output, int steps,
                                            const std::vector<std::string>& more) const {
    std::vector<std::string> arguments = {"pretrain",
                                          "--data",
                                          path("dataset"),
                                          "--model",
                                          path("model.json"),
                                          "--output",
                                          path(output),
                                          "--max-steps",
                                          std::to_string(steps),
                                          "--max-seq-length",
                                          "32",
                                          "--global-batch-size",
                                          "8",
                                          "--learning-rate",
                                          "3e-3",
                                          "--seed",
                                          "7",
                                          "--threads",
                                          "2"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return arguments;
}

std::string Workshop::train(const std::string& output, int steps, const std::vector<std::string>& more) const {
    require_success(cloze(pretrain(output, steps, more)));
    std::string digits = std::to_string(steps);
    digits.insert(0, 8 - digits.size(), '0');
    return path(output) + "/checkpoint-" + digits;
}

}  // namespace cloze::test
