#include <algorithm>
#include <catch2/catch.hpp>
#include <sstream>

#include "tests/tools/program.h"
#include "tools/format.h"

namespace cloze::test {
namespace {

const std::vector<std::string> kCommands = {"vocab",     "prepare",  "plan",    "pretrain", "evaluate",
                                            "fill-mask", "tokenize", "inspect", "version"};

void require_readable(const std::string& help) {
    std::istringstream lines(help);
    for (std::string line; std::getline(lines, line);) {
        INFO(line);
        CHECK(columns_of(line) <= 110);
    }
}

}  // namespace

TEST_CASE("help names every command, the exit codes and examples") {
    const Ended help = cloze({"--help"});
    require_success(help);
    for (const std::string& command : kCommands) CHECK(help.out.find(command) != std::string::npos);
    CHECK(help.out.find("Exit codes") != std::string::npos);
    CHECK(help.out.find("75") != std::string::npos);
    CHECK(help.err.empty());
    require_readable(help.out);
}

TEST_CASE("every command explains itself with an example") {
    for (const std::string& command : kCommands) {
        const Ended help = cloze({command, "--help"});
        require_success(help);
        INFO(help.out);
        CHECK(help.out.find("Usage: cloze " + command) != std::string::npos);
        if (command != "version") CHECK(help.out.find("Example") != std::string::npos);
        require_readable(help.out);
        CHECK(cloze({command, "-h"}).out == help.out);
    }
}

TEST_CASE("help of pretrain shows defaults in groups") {
    const std::string help = cloze({"pretrain", "--help"}).out;
    for (const std::string part : {"Run:", "Batch:", "Samples:", "Optimizer:", "[128]", "adamw", "(required)"}) {
        INFO(part);
        CHECK(help.find(part) != std::string::npos);
    }
}

TEST_CASE("version says what the program can use") {
    CHECK(cloze({"--version"}).out.starts_with("cloze "));
    const Ended version = cloze({"version"});
    require_success(version);
    CHECK(version.out.starts_with("cloze "));
    CHECK(version.out.find("devices") != std::string::npos);
    CHECK(version.out.find("Unicode") != std::string::npos);
}

}  // namespace cloze::test
