#include "engine/files/safetensors.h"

#include <cmath>
#include <limits>

#include "engine/files/json.h"
#include "tests/files/expect_error.h"
#include "tests/files/guarded_bytes.h"
#include "tests/support.h"

using namespace cloze;
using cloze::test::expect_error;
namespace fs = std::filesystem;

namespace {

/// A file of this header and so many bytes of data 0, 1, 2, ...
std::string file_of(const std::string& header, std::size_t data_bytes) {
    const std::uint64_t length = header.size();
    std::string file(reinterpret_cast<const char*>(&length), 8);
    file += header;
    for (std::size_t i = 0; i < data_bytes; ++i) file += static_cast<char>(i);
    return file;
}

SafetensorsReader reader_of(const std::string& file) {
    return SafetensorsReader(std::as_bytes(std::span(file.data(), file.size())), "model.safetensors");
}

void refuse(const std::string& header, std::size_t data_bytes, const std::vector<std::string>& words) {
    INFO(header);
    test::GuardedBytes guarded(1 << 16);
    const auto bytes = guarded.hold(file_of(header, data_bytes));
    expect_error(Fault::input, words, [&] { SafetensorsReader(bytes, "model.safetensors"); });
}

std::string entry(const std::string& name, const std::string& type, const std::string& shape, std::int64_t begin,
                  std::int64_t end) {
    return text('"', name, R"(":{"dtype":")", type, R"(","shape":)", shape, R"(,"data_offsets":[)", begin, ",", end,
                "]}");
}

/// A header of these entries.
std::string object(const std::vector<std::string>& entries) {
    std::string header;
    for (const std::string& entry : entries) header += (header.empty() ? '{' : ',') + entry;
    return header + '}';
}

}  // namespace

TEST_CASE("safetensors read back as written, whatever the types and shapes", "[files]") {
    const test::TemporaryFolder folder;
    const fs::path path = folder.path() / "model.safetensors";
    const std::vector<float> weights = {1.5f, -2, 0, std::numeric_limits<float>::infinity(), 5, 6};
    const std::vector<std::uint8_t> flags = {1, 2, 3};
    const std::vector<std::int64_t> ids = {-1, 1ll << 40};
    const std::vector<bf16> halves = {bf16(1.0f), bf16(-0.5f), bf16(3.0f)};
    const std::vector<double> scalar = {0.1};
    OutputFile file(path);
    write_safetensors(file,
                      {tensor_to_store<std::uint8_t>("flags", {3}, flags),
                       tensor_to_store<float>("weights", {2, 3}, weights),
                       tensor_to_store<bf16>("halves", {3, 1, 1}, halves),
                       tensor_to_store<std::int64_t>("ids", {2}, ids),
                       tensor_to_store<float>("empty", {0, 768}, {}),
                       tensor_to_store<double>("scalar", {}, scalar),
                       {.name = "names \"with\" \\ and \u00e9",
                        .type = StoredType::I32,
                        .shape = {300'000},
                        .data = {},
                        .produce =
                            [](const ByteSink& sink) {
                                for (std::int32_t i = 0; i < 300'000; ++i) sink(std::as_bytes(std::span(&i, 1)));
                            }}},
                      {{"format", "pt"}, {"note", "\u00fc\n"}});
    const FileChecksum checksum = file.finish();
    CHECK(checksum.xxh3 == checksum_of_file(path).xxh3);
    CHECK(checksum.bytes == static_cast<std::int64_t>(fs::file_size(path)));

    const SafetensorsReader reader(path);
    CHECK(reader.metadata() == std::map<std::string, std::string>{{"format", "pt"}, {"note", "\u00fc\n"}});
    REQUIRE(reader.tensors().size() == 7);
    for (const StoredTensor& tensor : reader.tensors()) {
        INFO(tensor.name);
        CHECK(reinterpret_cast<std::uintptr_t>(reader.bytes(tensor).data()) % size_of(tensor.type) == 0);
    }
    std::vector<float> found(6);
    reader.copy<float>(reader.require("weights"), found);
    CHECK(found == weights);
    reader.copy_as_f32(reader.require("weights"), std::span(found).first(2), 4);
    CHECK(found[0] == 5);
    CHECK(found[1] == 6);
    reader.copy_as_f32(reader.require("halves"), std::span(found).first(3));
    CHECK(found[1] == -0.5f);
    reader.copy_as_f32(reader.require("scalar"), std::span(found).first(1));
    CHECK(found[0] == 0.1f);
    CHECK(reader.require("scalar").shape.empty());
    CHECK(reader.require("scalar").count() == 1);
    CHECK(reader.require("empty").count() == 0);
    reader.copy<float>(reader.require("empty"), {});
    std::vector<std::int64_t> found_ids(2);
    reader.copy<std::int64_t>(reader.require("ids"), found_ids);
    CHECK(found_ids == ids);
    std::vector<std::int32_t> count(1);
    reader.copy<std::int32_t>(reader.require("names \"with\" \\ and \u00e9"), count, 299'999);
    CHECK(count[0] == 299'999);
    CHECK(reader.require("weights").describe() == "F32 [2,3]");
}

TEST_CASE("safetensors name a request that does not fit", "[files]") {
    const test::TemporaryFolder folder;
    const fs::path path = folder.path() / "model.safetensors";
    const std::vector<float> weights = {1, 2, 3, 4, 5, 6};
    const std::vector<std::int64_t> ids = {1, 2};
    OutputFile file(path);
    write_safetensors(
        file, {tensor_to_store<float>("weights", {2, 3}, weights), tensor_to_store<std::int64_t>("ids", {2}, ids)}, {});
    file.finish();
    const SafetensorsReader reader(path);
    std::vector<float> found(6);

    CHECK(reader.find("absent") == nullptr);
    const std::string name = path.string();
    expect_error(Fault::input, {name, "has no tensor 'absent'"}, [&] { reader.require("absent"); });
    expect_error(Fault::input, {name, "'ids' is I64 [2]", "F32 was expected"},
                 [&] { reader.copy<float>(reader.require("ids"), std::span(found).first(2)); });
    expect_error(Fault::input, {"'ids' is I64 [2]", "F32, F16, BF16 or F64"},
                 [&] { reader.copy_as_f32(reader.require("ids"), std::span(found).first(2)); });
    for (const std::int64_t first : {std::int64_t{-1}, std::int64_t{1}, std::numeric_limits<std::int64_t>::max()}) {
        expect_error(Fault::usage, {"has no elements"},
                     [&] { reader.copy_as_f32(reader.require("weights"), found, first); });
    }
}

TEST_CASE("safetensors data start at a multiple of 8, and the header is plain JSON", "[files]") {
    const test::TemporaryFolder folder;
    for (std::size_t length = 0; length < 20; ++length) {
        const fs::path path = folder.path() / std::to_string(length);
        OutputFile file(path);
        const float value = 1;
        write_safetensors(file, {tensor_to_store<float>(std::string(length, 'n'), {1}, std::span(&value, 1))}, {});
        file.finish();
        const std::string contents = test::read_file(path);
        std::uint64_t header = 0;
        std::memcpy(&header, contents.data(), 8);
        CHECK(header % 8 == 0);
        CHECK(contents.size() == 8 + header + 4);
        CHECK(parse_json(contents.substr(8, header), "header").size() == 1);
    }
    OutputFile file(folder.path() / "none");
    write_safetensors(file, {});
    file.finish();
    CHECK(SafetensorsReader(folder.path() / "none").tensors().empty());
}

TEST_CASE("write_safetensors refuses what would not read back", "[files]") {
    const test::TemporaryFolder folder;
    const std::vector<float> values(6);
    const auto attempt = [&](const std::vector<TensorToStore>& tensors, const std::vector<std::string>& words) {
        expect_error(Fault::usage, words, [&] {
            OutputFile file(folder.path() / "model.safetensors");
            write_safetensors(file, tensors);
        });
        CHECK(fs::is_empty(folder.path()));
    };
    attempt({tensor_to_store<float>("a", {5}, values)}, {"tensor 'a': F32 [5] has 20 bytes, 24 were given"});
    attempt({tensor_to_store<float>("a", {6}, values), tensor_to_store<float>("a", {6}, values)}, {"'a' is taken"});
    attempt({tensor_to_store<float>("__metadata__", {6}, values)}, {"is taken"});
    attempt({tensor_to_store<float>("a", {-6}, values)}, {"[-6] is not possible"});
    attempt({tensor_to_store<float>("a", {1ll << 62, 4}, values)}, {"is not possible"});
    attempt({tensor_to_store<float>("\xff", {6}, values)}, {"not UTF-8"});
    attempt({{.name = "a", .type = StoredType::F32, .shape = {2}, .data = {}, .produce = [](const ByteSink&) {}}},
            {"has 8 bytes, 0 were produced"});
}

TEST_CASE("a good header of another writer is accepted", "[files]") {
    const std::string header = object({entry("b", "U8", "[3]", 8, 11), entry("z", "F32", "[0]", 8, 8),
                                       entry("a", "F16", "[2,2]", 0, 8), R"("__metadata__":{"format":"pt","x":""})"});
    const std::string file = file_of(header + "    ", 11);
    const SafetensorsReader reader = reader_of(file);
    REQUIRE(reader.tensors().size() == 3);
    CHECK(reader.tensors()[0].name == "a");
    CHECK(reader.tensors()[1].name == "z");
    CHECK(reader.bytes(*reader.find("b"))[2] == std::byte{10});
    CHECK(reader.metadata().at("format") == "pt");
    std::vector<float> values(4);
    reader.copy_as_f32(*reader.find("a"), values);
    CHECK(values[0] == f16_to_f32(0x0100));
    CHECK(reader_of(file_of("{}", 0)).tensors().empty());
    const std::map<std::string, std::int64_t> sizes = {
        {"BOOL", 1}, {"U8", 1},   {"I8", 1},  {"F8_E5M2", 1}, {"F8_E4M3", 1}, {"F8_E8M0", 1}, {"I16", 2}, {"U16", 2},
        {"F16", 2},  {"BF16", 2}, {"I32", 4}, {"U32", 4},     {"F32", 4},     {"F64", 8},     {"I64", 8}, {"U64", 8}};
    for (const auto& [type, size] : sizes) {
        const std::string one = file_of(object({entry("a", type, "[1]", 0, size)}), static_cast<std::size_t>(size));
        CHECK(name_of(reader_of(one).require("a").type) == type);
        CHECK(reader_of(one).require("a").count() == 1);
    }
}

TEST_CASE("a safetensors file that breaks a rule is refused, naming file and tensor", "[files]") {
    const std::string file = "model.safetensors";
    // The frame.
    for (std::size_t size = 0; size < 8; ++size) {
        const std::string bytes(size, '\x01');
        expect_error(Fault::input, {file, "the length of the safetensors header", "truncated", "copy or export"},
                     [&] { reader_of(bytes); });
    }
    expect_error(Fault::input, {file, "header of 18446744073709551615 bytes is not possible"},
                 [&] { reader_of(std::string(16, '\xff')); });
    expect_error(Fault::input, {file, "the safetensors header ends beyond the file", "truncated"},
                 [&] { reader_of(file_of("{}", 0).substr(0, 9)); });
    refuse("", 0, {"does not start with '{'"});
    refuse(" {}", 0, {"does not start with '{'"});
    refuse("[]", 0, {"does not start with '{'"});
    refuse("{\"a\":", 0, {file + " header line 1, column 5"});
    refuse("{}", 1, {"1 bytes of data, but its tensors cover 0"});
    refuse(std::string("{}\0", 3), 0, {"header line 1, column 3: a zero byte after the value"});
    refuse("{} x", 0, {"header line 1"});
    // Keys.
    refuse(object({entry("a", "U8", "[1]", 0, 1), entry("a", "U8", "[1]", 1, 2)}), 2,
           {"\"a\" stands here for the second time"});
    refuse(R"({"a":{"dtype":"U8","dtype":"U8","shape":[1],"data_offsets":[0,1]}})", 1, {"\"dtype\" stands here"});
    refuse(R"({"a":{"shape":[1],"data_offsets":[0,1]}})", 1, {"key \"a.dtype\": missing"});
    refuse(R"({"a":{"dtype":"U8","data_offsets":[0,1]}})", 1, {"key \"a.shape\": missing"});
    refuse(R"({"a":{"dtype":"U8","shape":[1]}})", 1, {"key \"a.data_offsets\": missing"});
    refuse(R"({"a":1})", 0, {"\"a\" expected an object"});
    refuse(R"({"__metadata__":{"format":1}})", 0, {"key \"__metadata__.format\": expected a text"});
    refuse(R"({"__metadata__":[]})", 0, {"expected an object"});
    // Types and shapes.
    refuse(object({entry("a", "F4", "[2]", 0, 1)}), 1, {"\"a.dtype\": the element type F4 is not supported"});
    refuse(object({entry("a", "f32", "[1]", 0, 4)}), 4, {"f32 is not supported"});
    refuse(object({entry("a", "U8", "[-1]", 0, 1)}), 1, {"\"a.shape\"", "not possible"});
    refuse(object({entry("a", "U8", "[1.0]", 0, 1)}), 1, {"\"a.shape\": expected an integer"});
    refuse(object({entry("a", "U8", "[[1]]", 0, 1)}), 1, {"\"a.shape\": expected an integer"});
    refuse(object({entry("a", "F32", "[4611686018427387904,4]", 0, 0)}), 0, {"not possible"});
    refuse(object({entry("a", "U8", "[4294967296,4294967296,0]", 0, 0)}), 0, {"not possible"});
    refuse(object({entry("a", "U8", "[18446744073709551616]", 0, 0)}), 0, {"\"a.shape\""});
    // Offsets.
    refuse(object({entry("a", "F32", "[2]", 0, 4)}), 4, {"spans 4 bytes, but F32 [2] has 8"});
    refuse(object({entry("a", "F32", "[2]", 0, 8)}), 7, {"[0, 8] does not lie within the 7 bytes", "truncated"});
    refuse(object({entry("a", "U8", "[1]", 1, 0)}), 4, {"does not lie within"});
    refuse(object({entry("a", "U8", "[1]", -1, 0)}), 4, {"does not lie within"});
    refuse(object({entry("a", "U8", "[1]", 9223372036854775806, 9223372036854775807)}), 4, {"does not lie within"});
    refuse(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1,2]}})", 1, {"expected [begin, end]"});
    // Layout.
    refuse(object({entry("a", "U8", "[2]", 0, 2), entry("b", "U8", "[2]", 1, 3)}), 3,
           {"tensor 'b' starts at byte 1 of the data, but those before it end at 2"});
    refuse(object({entry("a", "U8", "[2]", 0, 2), entry("b", "U8", "[2]", 0, 2)}), 2, {"tensor 'b'"});
    refuse(object({entry("a", "U8", "[2]", 0, 2), entry("b", "U8", "[1]", 3, 4)}), 4, {"tensor 'b'"});
    refuse(object({entry("a", "U8", "[2]", 1, 3)}), 3, {"tensor 'a' starts at byte 1"});
    refuse(object({entry("a", "U8", "[2]", 0, 2)}), 3, {"has 3 bytes of data, but its tensors cover 2"});
    refuse(object({entry("a", "U8", "[1]", 0, 1), entry("z", "F32", "[0]", 3, 3)}), 4, {"tensor 'z'"});
}

TEST_CASE("half precision reads exactly, all 65,536 values", "[files]") {
    for (std::uint32_t bits = 0; bits < 65536; ++bits) {
        const float value = f16_to_f32(static_cast<std::uint16_t>(bits));
        const int exponent = static_cast<int>(bits >> 10) & 31;
        const int fraction = static_cast<int>(bits & 1023);
        const double sign = bits >> 15 ? -1 : 1;
        if (exponent == 31) {
            if ((fraction == 0 ? !(std::isinf(value)) : !std::isnan(value)) || std::signbit(value) != (sign < 0)) {
                FAIL("bits " << bits);
            }
        } else {
            const double expected =
                exponent == 0 ? sign * std::ldexp(fraction, -24) : sign * std::ldexp(1024 + fraction, exponent - 25);
            if (value != expected || std::signbit(value) != (sign < 0)) FAIL("bits " << bits << " gave " << value);
        }
    }
}
