#include <catch2/catch.hpp>
#include <csignal>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/tools/program.h"

namespace cloze::test {
namespace {

const std::string kVocabulary = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nun\n##aff\n##able\ndog\n##s\n.\n[\n]\nmask\nCat\n";

struct Tokens {
    TemporaryFolder folder;
    std::string vocab = (folder.path() / "vocab.txt").string();

    Tokens() { write_file(vocab, kVocabulary); }
    Ended run(const std::string& input, std::vector<std::string> more) const {
        std::vector<std::string> arguments = {"tokenize", "--vocab", vocab};
        arguments.insert(arguments.end(), more.begin(), more.end());
        return cloze(arguments, {.input = input});
    }
};

}  // namespace

TEST_CASE("tokenize gives a line for each line") {
    const Tokens tokens;
    const Ended words = tokens.run("Unaffable dogs.\n\nxyz dog\n", {"--mode", "hf"});
    require_success(words);
    CHECK(words.out == "un ##aff ##able dog ##s .\n\n[UNK] dog\n");
    CHECK(words.err.empty());
    CHECK(tokens.run("Unaffable dogs.\r\nlast line without end", {"--ids"}).out == "5 6 7 8 9 10\n1 1 1 1\n");
    CHECK(tokens.run("", {}).out.empty());
    CHECK(tokens.run("Cat\n", {"--cased"}).out == "Cat\n");
    CHECK(tokens.run("Cat\n", {}).out == "[UNK]\n");
}

TEST_CASE("the modes differ at special tokens in the text") {
    const Tokens tokens;
    CHECK(tokens.run("[MASK]\n", {"--mode", "hf"}).out == "[MASK]\n");
    CHECK(tokens.run("[MASK]\n", {"--mode", "google"}).out == "[ mask ]\n");
    require_complaint(tokens.run("x\n", {"--mode", "bing"}), 2, {"bing", "google", "hf"});
}

TEST_CASE("invalid UTF-8 is replaced, counted and reported once") {
    const Tokens tokens;
    const Ended ended = tokens.run("dog\xff\xfe dogs\n", {});
    CHECK(ended.exit_code == 0);
    CHECK(ended.out == "dog dog ##s\n");
    CHECK(ended.err.find("2 sequences of invalid UTF-8") != std::string::npos);
}

TEST_CASE("lines longer than any block come out whole") {
    const Tokens tokens;
    std::string input;
    std::string expected;
    for (int word = 0; word < 300000; ++word) {
        input += "dogs ";
        expected += word == 0 ? "8 9" : " 8 9";
    }
    CHECK(tokens.run(input + "\n" + input, {"--ids"}).out == expected + "\n" + expected + "\n");
}

TEST_CASE("tokenize answers a line before the next one comes") {
    const Tokens tokens;
    int questions[2];
    int answers[2];
    REQUIRE(::pipe(questions) == 0);
    REQUIRE(::pipe(answers) == 0);
    const pid_t process = ::fork();
    REQUIRE(process >= 0);
    if (process == 0) {
        ::dup2(questions[0], STDIN_FILENO);
        ::dup2(answers[1], STDOUT_FILENO);
        ::close(questions[1]);
        ::close(answers[0]);
        ::execl(CLOZE_EXECUTABLE, "cloze", "tokenize", "--vocab", tokens.vocab.c_str(), static_cast<char*>(nullptr));
        ::_exit(126);
    }
    ::close(questions[0]);
    ::close(answers[1]);
    for (int turn = 0; turn < 3; ++turn) {
        REQUIRE(::write(questions[1], "dogs\n", 5) == 5);
        std::string answer(8, ' ');
        REQUIRE(::read(answers[0], answer.data(), answer.size()) == 8);
        CHECK(answer == "dog ##s\n");
    }
    ::close(questions[1]);
    int status = 0;
    REQUIRE(::waitpid(process, &status, 0) == process);
    CHECK(WEXITSTATUS(status) == 0);
    ::close(answers[0]);
}

TEST_CASE("tokenize says when standard output is full") {
    const Tokens tokens;
    if (!std::filesystem::exists("/dev/full")) return skip("needs /dev/full");
    const Ended ended = cloze({"tokenize", "--vocab", tokens.vocab}, {.input = "dog\n", .output_file = "/dev/full"});
    require_complaint(ended, 4, {"standard output", "No space left"});
}

}  // namespace cloze::test
