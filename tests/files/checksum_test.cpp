#include "engine/files/checksum.h"

#include "tests/files/expect_error.h"
#include "tests/support.h"

using namespace cloze;
using cloze::test::expect_error;

TEST_CASE("xxh3 equals the published values of the empty input", "[files]") {
    CHECK(checksum_text(xxh3(std::string_view())) == "2d06800538d394c2");
    CHECK(checksum_text(Xxh3().digest()) == "2d06800538d394c2");
}

TEST_CASE("streaming checksum equals the one-shot checksum however the pieces are cut", "[files]") {
    std::string contents;
    for (int i = 0; i < 5000; ++i) contents += static_cast<char>(i * 7 + i / 256);
    for (const std::size_t size : {0u, 1u, 3u, 16u, 17u, 128u, 240u, 241u, 1023u, 4999u, 5000u}) {
        const std::string_view whole = std::string_view(contents).substr(0, size);
        for (const std::size_t piece : {1u, 7u, 64u, 1000u}) {
            Xxh3 checksum;
            for (std::size_t at = 0; at < size; at += piece) {
                const std::string_view part = whole.substr(at, piece);
                checksum.update(std::as_bytes(std::span(part.data(), part.size())));
            }
            CHECK(checksum.digest() == xxh3(whole));
        }
    }
}

TEST_CASE("checksum text and number are the same, and nothing else parses", "[files]") {
    for (const std::uint64_t value : {std::uint64_t{0}, std::uint64_t{0x0123456789abcdef}, ~std::uint64_t{0}}) {
        CHECK(parse_checksum(checksum_text(value)) == value);
    }
    for (const char* text : {"", "0", "0123456789abcde", "0123456789abcdef0", "0123456789ABCDEF", "0123456789abcdeg",
                             " 123456789abcdef", "0x23456789abcdef"}) {
        CHECK_FALSE(parse_checksum(text));
    }
}

TEST_CASE("checksum of a file equals the checksum of its bytes", "[files]") {
    const test::TemporaryFolder folder;
    const auto file = folder.path() / "file";
    for (const std::size_t size : {std::size_t{0}, std::size_t{1}, std::size_t{(4 << 20) + 3}}) {
        const std::string contents(size, 'x');
        test::write_file(file, contents);
        const FileChecksum found = checksum_of_file(file);
        CHECK(found.bytes == static_cast<std::int64_t>(size));
        CHECK(found.xxh3 == xxh3(contents));
    }
    expect_error(Fault::input, {"missing", "No such file", "check the path"},
                 [&] { checksum_of_file(folder.path() / "missing"); });
    expect_error(Fault::input, {"Is a directory"}, [&] { checksum_of_file(folder.path()); });
}
