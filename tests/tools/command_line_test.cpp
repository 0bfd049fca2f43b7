#include "tools/command_line.h"

#include <catch2/catch.hpp>

#include "tests/tools/program.h"

namespace cloze::test {

TEST_CASE("flags may be written with hyphens or underscores, and values stay as they are") {
    using Words = std::vector<std::string>;
    CHECK(normalized_flags({"pretrain", "--max_seq_length", "a_b", "--data=x_y", "-h"}) ==
          Words{"pretrain", "--max-seq-length", "a_b", "--data=x_y", "-h"});
    CHECK(normalized_flags({"--top_k=3", "--", "--not_a_flag"}) == Words{"--top-k=3", "--", "--not_a_flag"});
    CHECK(normalized_flags({}).empty());
}

TEST_CASE("the nearest word is found within a few changes") {
    const std::vector<std::string> known = {"--learning-rate", "--max-steps", "--seed", "--data"};
    CHECK(nearest_word("--learnig-rate", known) == "--learning-rate");
    CHECK(nearest_word("--max-setps", known) == "--max-steps");
    CHECK(nearest_word("--sed", known) == "--seed");
    CHECK(nearest_word("--completely-different", known).empty());
}

TEST_CASE("what cannot be understood is answered in one line with the nearest word, exit code 2") {
    require_complaint(cloze({}), 2, {"name a command", "pretrain"});
    require_complaint(cloze({"pretrian"}), 2, {"unknown command 'pretrian'", "did you mean pretrain?"});
    require_complaint(cloze({"xyzzy"}), 2, {"unknown command", "tokenize"});
    require_complaint(cloze({"pretrain", "--learnig-rate", "1"}), 2,
                      {"cloze pretrain: unknown flag --learnig-rate", "did you mean --learning-rate?"});
    require_complaint(cloze({"--versoin"}), 2, {"did you mean --version?"});
    require_complaint(cloze({"pretrain"}), 2, {"cloze pretrain: ", "--data", "required", "--help"});
    require_complaint(cloze({"vocab", "--input", "x", "--output", "y", "--vocab-size", "many"}), 2,
                      {"--vocab-size", "many"});
    require_complaint(cloze({"inspect", "one", "two"}), 2, {"two"});
    require_complaint(cloze({"fill_mask", "--checkpoint"}), 2, {"cloze fill-mask: ", "--checkpoint"});
}

}  // namespace cloze::test
