#include "engine/text/vocabulary.h"

#include <catch2/catch.hpp>
#include <fstream>

#include "kernels/core/error.h"
#include "tests/files/stranger.h"
#include "tests/support.h"
#include "tests/text/fixtures.h"

using namespace cloze;
using Catch::Matchers::Contains;
using test::make_vocabulary;
namespace fs = std::filesystem;
using test::vocabulary_text;

TEST_CASE("a vocabulary numbers its lines from zero and finds them by name") {
    const Vocabulary vocabulary = make_vocabulary({"the", "##s", "##", "."});
    CHECK(vocabulary.size() == 9);
    CHECK(vocabulary.find("the") == 5);
    CHECK_FALSE(vocabulary.find("The").has_value());
    CHECK(vocabulary.token(6) == "##s");
    CHECK(vocabulary.special().mask == 4);
    CHECK(vocabulary.is_special(4));
    CHECK_FALSE(vocabulary.is_special(5));
    CHECK(vocabulary.is_continuation(6));
    CHECK_FALSE(vocabulary.is_continuation(7));
    CHECK_THROWS_WITH(vocabulary.token(9), Contains("no token 9 among 9"));
    CHECK_THROWS_AS(vocabulary.token(-1), Error);
}

TEST_CASE("special tokens are found wherever they stand") {
    const Vocabulary vocabulary = Vocabulary::parse("a\n[MASK]\n[SEP]\n[CLS]\nb\n[UNK]\n[PAD]\n", "test");
    CHECK(vocabulary.special().mask == 1);
    CHECK(vocabulary.special().sep == 2);
    CHECK(vocabulary.special().cls == 3);
    CHECK(vocabulary.special().unknown == 5);
    CHECK(vocabulary.special().pad == 6);
}

TEST_CASE("lines end at LF alone, and a CR before it and a missing last LF change nothing") {
    const std::string plain = vocabulary_text({"a", "\u2028", "##\u2028", "b\u0085c"});
    const Vocabulary vocabulary = Vocabulary::parse(plain, "test");
    REQUIRE(vocabulary.size() == 9);
    CHECK(vocabulary.token(6) == "\u2028");
    CHECK(vocabulary.contents() == plain);
    std::string windows;
    for (const char c : plain) windows += c == '\n' ? std::string("\r\n") : std::string(1, c);
    CHECK(Vocabulary::parse(windows, "test").contents() == plain);
    CHECK(Vocabulary::parse(windows, "test").hash() == vocabulary.hash());
    CHECK(Vocabulary::parse(plain.substr(0, plain.size() - 1), "test").hash() == vocabulary.hash());
    CHECK(make_vocabulary({"a"}).hash() != vocabulary.hash());
}

TEST_CASE("a vocabulary that cannot be used is refused with its file, the line and the remedy") {
    const test::TemporaryFolder folder;
    const auto refused = [&](const std::string& contents, const std::string& reason) {
        const auto file = folder.path() / "vocab.txt";
        test::write_file(file, contents);
        CHECK_THROWS_WITH(Vocabulary::read(file), Contains(file.string()) && Contains(reason));
        try {
            Vocabulary::read(file);
        } catch (const Error& error) {
            CHECK(error.fault() == Fault::input);
        }
    };
    refused("", "is empty; make one with 'cloze vocab'");
    refused("[PAD]\n[UNK]\n[CLS]\n[SEP]\nthe\n", "has no [MASK]");
    refused(vocabulary_text({"a", "b", "a"}), "lines 6 and 8 are the same token 'a'");
    refused(vocabulary_text({"a", "", "b"}), "line 7 is empty");
    refused(vocabulary_text({"a"}) + "\n", "line 7 is empty");
    refused(vocabulary_text({"a", "\xff\xfe"}), "line 7 is not UTF-8");
    refused(vocabulary_text({"a", "\xed\xa0\x80"}), "line 7 is not UTF-8");
}

TEST_CASE("a vocabulary that is missing, no file or too long is bad input, an unreadable one the machine's failure") {
    const test::TemporaryFolder folder;
    const auto refused = [&](const fs::path& file, Fault fault, const std::string& reason) {
        INFO(file);
        try {
            Vocabulary::read(file);
            FAIL("was not refused");
        } catch (const Error& error) {
            CHECK(error.fault() == fault);
            CHECK_THAT(error.what(), Contains("vocabulary " + file.string()) && Contains(reason));
        }
    };
    refused(folder.path() / "missing.txt", Fault::input, "does not exist; check the path");
    refused(folder.path(), Fault::input, "is a folder");
    fs::create_symlink("circle", folder.path() / "circle");
    refused(folder.path() / "circle", Fault::io, "Too many levels of symbolic links");
    refused("/dev/zero", Fault::input, "is longer than 64 MiB, which no vocabulary is; were the text");
    std::ofstream(folder.path() / "text.txt") << std::string(100, 'x');
    fs::resize_file(folder.path() / "text.txt", (64 << 20) + 1);
    refused(folder.path() / "text.txt", Fault::input, "longer than 64 MiB");
    fs::permissions(folder.path() / "text.txt", fs::perms::none);
    const test::Stranger stranger;
    if (!stranger) return test::skip("root may not become another user here");
    refused(folder.path() / "text.txt", Fault::io, "cannot be opened: Permission denied; check its permissions");
}
