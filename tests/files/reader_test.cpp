#include "engine/files/reader.h"

#include <limits>

#include "tests/files/expect_error.h"

using namespace cloze;
using cloze::test::expect_error;

namespace {

constexpr std::int64_t kHuge = std::numeric_limits<std::int64_t>::max();

struct Fixture {
    alignas(16) std::byte bytes[32] = {};
    BoundedReader reader{"corpus.shard", "run cloze prepare again", bytes};

    Fixture() {
        for (int i = 0; i < 32; ++i) bytes[i] = static_cast<std::byte>(i);
    }
};

}  // namespace

TEST_CASE_METHOD(Fixture, "bounded reader reads little-endian values at any alignment", "[files]") {
    CHECK(reader.value<std::uint8_t>("first") == 0);
    CHECK(reader.value<std::uint32_t>("second") == 0x04030201u);
    CHECK(reader.value<std::uint64_t>("third") == 0x0c0b0a0908070605ull);
    CHECK(reader.position() == 13);
    CHECK(reader.text(2, "name") == "\x0d\x0e");
    reader.seek(32, "end");
    CHECK(reader.remaining() == 0);
    CHECK(reader.bytes(0, "nothing").empty());
    reader.seek(0, "start");
    CHECK(reader.array<std::uint16_t>(4, 3, "ids")[2] == 0x0908);
    CHECK(reader.array<std::uint16_t>(32, 0, "no ids").empty());
}

TEST_CASE_METHOD(Fixture, "bounded reader names file, part and remedy of what lies beyond the end", "[files]") {
    reader.seek(30, "tail");
    expect_error(Fault::input,
                 {"corpus.shard: section table ends beyond the file (4 bytes at 30, the file has 32); the file is "
                  "truncated: run cloze prepare again"},
                 [&] { reader.value<std::uint32_t>("section table"); });
    CHECK(reader.position() == 30);
    for (const auto& [offset, count] : std::vector<std::pair<std::int64_t, std::int64_t>>{
             {33, 0}, {0, 33}, {kHuge, 1}, {1, kHuge}, {kHuge, kHuge}, {-1, 1}, {0, -1}, {-kHuge - 1, kHuge}}) {
        expect_error(Fault::input, {"corpus.shard: ids"},
                     [&, offset = offset, count = count] { reader.section(offset, count, "ids"); });
    }
    expect_error(Fault::input, {"seek"}, [&] { reader.seek(33, "seek"); });
}

TEST_CASE_METHOD(Fixture, "bounded reader refuses impossible counts and misplaced arrays", "[files]") {
    expect_error(Fault::input, {"impossible count"}, [&] { reader.array<std::uint64_t>(0, kHuge / 4, "ids"); });
    expect_error(Fault::input, {"impossible count (-1)"}, [&] { reader.array<std::uint32_t>(0, -1, "ids"); });
    expect_error(Fault::input, {"no multiple of 4"}, [&] { reader.array<std::uint32_t>(2, 1, "ids"); });
    expect_error(Fault::input, {"ends beyond the file"}, [&] { reader.array<std::uint32_t>(4, 8, "ids"); });
    reader.check(true, "fine");
    expect_error(Fault::input, {"corpus.shard: version 9 is unknown: run cloze prepare again"},
                 [&] { reader.check(false, "version ", 9, " is unknown"); });
}
