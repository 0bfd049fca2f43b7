#include "engine/data/shard.h"

#include <catch2/catch.hpp>
#include <optional>

#include "kernels/core/error.h"
#include "tests/data/corpus.h"
#include "tests/data/shard_bytes.h"
#include "tests/support.h"

using namespace cloze;
using namespace cloze::test;

namespace {

/// What opening and verifying say; nothing when all is well.
std::optional<std::string> complaint(AlignedBytes& file) {
    try {
        Shard::from_bytes(file.bytes(), "x.shard")->verify();
        return std::nullopt;
    } catch (const Error& error) {
        CHECK(error.fault() == Fault::input);
        return error.what();
    }
}

std::string shard_contents(const TokenArrays& arrays, std::int64_t vocabulary_size) {
    const TemporaryFolder folder;
    const auto file = folder.path() / "made.shard";
    ShardWriter writer(OutputFile(file), vocabulary_size, 0x1234);
    const TokenPart part = arrays.view();
    for (std::int64_t d = 0; d < part.documents(); ++d) {
        const DocumentView document(part, d);
        for (std::int64_t s = 0; s < document.sentences(); ++s) {
            std::vector<std::int32_t> ids(static_cast<std::size_t>(document.tokens(s, 1)));
            document.copy(s, 0, document.tokens(s, 1), ids.data());
            writer.add_sentence(ids);
        }
        writer.end_document();
    }
    writer.finish().finish();
    return read_file(file);
}

TokenArrays small_corpus() {
    return numbered_corpus({.documents = 3, .most_sentences = 3, .most_tokens = 5});
}

}  // namespace

TEST_CASE("a shard gives back what was written, with 2-byte and 4-byte ids") {
    const std::int64_t vocabulary_size = GENERATE(100000, 65536);
    TokenArrays arrays = numbered_corpus({.documents = 50});
    if (vocabulary_size == 100000) arrays.ids[17] = 99999;
    AlignedBytes file(shard_contents(arrays, vocabulary_size));
    const auto shard = Shard::from_bytes(file.bytes(), "x.shard");
    shard->verify();
    CHECK(shard->part().wide.empty() == (vocabulary_size == 65536));
    CHECK(shard->table().documents == 50);
    CHECK(shard->table().vocabulary_hash == 0x1234);
    const TokenStore written({{arrays.view(), nullptr}}, "memory");
    const TokenStore read({{shard->part(), shard}}, "file");
    REQUIRE(read.tokens() == written.tokens());
    REQUIRE(read.sentences() == written.sentences());
    for (std::int64_t d = 0; d < 50; ++d) {
        REQUIRE(read.document(d).sentences() == written.document(d).sentences());
        const std::int64_t tokens = written.document(d).tokens();
        std::vector<std::int32_t> a(static_cast<std::size_t>(tokens)), b(a.size());
        written.document(d).copy(0, 0, tokens, a.data());
        read.document(d).copy(0, 0, tokens, b.data());
        REQUIRE(a == b);
        REQUIRE(read.document(d).tokens(0, 1) == written.document(d).tokens(0, 1));
    }
}

TEST_CASE("a store numbers documents through its shards") {
    const TokenArrays first = numbered_corpus({.documents = 7, .seed = 1});
    const TokenArrays second = numbered_corpus({.documents = 1, .seed = 2});
    const TokenArrays third = numbered_corpus({.documents = 12, .seed = 3});
    const TokenStore store({{first.view(), nullptr}, {second.view(), nullptr}, {third.view(), nullptr}}, "three");
    CHECK(store.documents() == 20);
    CHECK(store.document(6).tokens() == DocumentView(first.view(), 6).tokens());
    CHECK(store.document(7).tokens() == DocumentView(second.view(), 0).tokens());
    CHECK(store.document(8).tokens() == DocumentView(third.view(), 0).tokens());
    CHECK(store.document(19).tokens() == DocumentView(third.view(), 11).tokens());
    CHECK_THROWS_AS(store.document(20), Error);
    CHECK_THROWS_AS(store.document(-1), Error);
}

TEST_CASE("sentences without tokens and documents without sentences are not written") {
    const TemporaryFolder folder;
    ShardWriter writer(OutputFile(folder.path() / "a.shard"), 10, 0);
    writer.end_document();
    writer.add_sentence({});
    writer.end_document();
    writer.add_sentence(std::vector<std::int32_t>{1, 2});
    writer.add_sentence({});
    CHECK(writer.documents() == 0);
    writer.finish().finish();
    const auto shard = Shard::open(folder.path() / "a.shard");
    shard->verify();
    CHECK(shard->table().documents == 1);
    CHECK(shard->table().sentences == 1);
    CHECK(shard->table().tokens == 2);
}

TEST_CASE("any single changed byte of a shard is found") {
    const std::string good = shard_contents(small_corpus(), 100);
    for (std::size_t i = 0; i < good.size(); ++i) {
        for (const int flip : {1, 0x80, 0xff}) {
            std::string bad = good;
            bad[i] = static_cast<char>(bad[i] ^ flip);
            AlignedBytes file(bad);
            const auto message = complaint(file);
            CAPTURE(i, flip);
            REQUIRE(message.has_value());
            REQUIRE(message->find("x.shard: ") == 0);
            REQUIRE(message->find("run cloze prepare again") != std::string::npos);
            REQUIRE(message->find('\n') == std::string::npos);
        }
    }
}

TEST_CASE("a shard cut or grown at any place is found when it is opened") {
    const std::string good = shard_contents(small_corpus(), 100);
    for (std::size_t size = 0; size < good.size(); ++size) {
        AlignedBytes file(good.substr(0, size));
        CHECK_THROWS_AS(Shard::from_bytes(file.bytes(), "x.shard"), Error);
    }
    AlignedBytes longer(good + std::string(64, '\0'));
    CHECK_THROWS_AS(Shard::from_bytes(longer.bytes(), "x.shard"), Error);
    AlignedBytes twice(good + good);
    CHECK_THROWS_WITH(Shard::from_bytes(twice.bytes(), "x.shard"), Catch::Contains("were written"));
}

TEST_CASE("what cannot be, though signed, is refused by name") {
    const std::string good = shard_contents(small_corpus(), 100);
    const auto complaint_after = [&](auto change) {
        AlignedBytes file(good);
        change(file);
        file.sign();
        return complaint(file).value_or("");
    };
    using Catch::Contains;
    CHECK(complaint_after([](AlignedBytes&) {}).empty());
    CHECK_THAT(complaint_after([](AlignedBytes& f) { f.at<char>(0) = 'X'; }), Contains("not a token shard"));
    CHECK_THAT(complaint_after([](AlignedBytes& f) { f.at<std::uint32_t>(8) = 2; }),
               Contains("shard version 2, this program reads version 1"));
    CHECK_THAT(complaint_after([](AlignedBytes& f) { f.at<std::uint32_t>(12) = 3; }), Contains("3 bytes"));
    CHECK_THAT(complaint_after([](AlignedBytes& f) { f.at<std::uint32_t>(12) = 4; }), Contains("section table"));
    CHECK_THAT(complaint_after([](AlignedBytes& f) { f.table().vocabulary_size = ~std::uint64_t{0}; }),
               Contains("is not possible"));
    CHECK_THAT(complaint_after([](AlignedBytes& f) { f.at<std::uint16_t>(64) = 100; }),
               Contains("id 100 is outside the vocabulary of 100"));
    CHECK_THAT(complaint_after([](AlignedBytes& f) { f.at<std::uint32_t>(f.table().sections[1].offset + 4) = 0; }),
               Contains("sentence offset 1 is 0, not above"));
    CHECK_THAT(complaint_after([](AlignedBytes& f) { f.at<std::uint32_t>(f.table().sections[1].offset) = 1; }),
               Contains("sentence offsets do not start at 0"));
    CHECK_THAT(complaint_after([](AlignedBytes& f) {
                   f.at<std::uint32_t>(f.table().sections[2].offset + 4 * f.table().documents) += 1;
               }),
               Contains("document offsets end at"));
    CHECK_THAT(complaint_after([](AlignedBytes& f) {
                   f.at<std::uint32_t>(f.table().sections[1].offset + 4 * f.table().sentences) += 1;
               }),
               Contains("sentence offsets end at"));
    CHECK_THAT(complaint_after([](AlignedBytes& f) { f.table().tokens += 1; }), Contains("does not fit the counts"));
    CHECK_THAT(complaint_after([](AlignedBytes& f) { f.table().sentences = ~std::uint64_t{0}; }), Contains("32-bit"));
    for (const std::uint64_t offset :
         {~std::uint64_t{0}, ~std::uint64_t{63}, std::uint64_t{1} << 40, std::uint64_t{65}}) {
        for (std::size_t section = 0; section < 3; ++section) {
            CHECK_FALSE(complaint_after([&](AlignedBytes& f) { f.table().sections[section].offset = offset; }).empty());
        }
    }
    CHECK_THAT(complaint_after([](AlignedBytes& f) { f.table().sections[2].offset = f.table().sections[1].offset; }),
               Contains("x.shard"));
}

TEST_CASE("a missing shard and a folder are refused with the system's reason") {
    const TemporaryFolder folder;
    CHECK_THROWS_WITH(Shard::open(folder.path() / "none.shard"), Catch::Contains("none.shard"));
    CHECK_THROWS_AS(Shard::open(folder.path()), Error);
    write_file(folder.path() / "empty.shard", "");
    CHECK_THROWS_WITH(Shard::open(folder.path() / "empty.shard"), Catch::Contains("truncated"));
}
