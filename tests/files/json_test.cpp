#include "engine/files/json.h"

#include "tests/files/expect_error.h"
#include "tests/support.h"

using namespace cloze;
using cloze::test::expect_error;

TEST_CASE("parse_json builds what the library builds", "[files]") {
    for (const char* text :
         {"null", "true", "-1", "18446744073709551615", "1.5e-3", "\"a\\u00e9\\n\"", "[]", "{}", "[1,[2,[3]],{}]",
          R"({"a":{"b":[1,{"c":null},"d"]},"e":false,"f":[[],[{}]]})", " \n\t[ 1 , 2 ]\r\n"}) {
        CHECK(parse_json(text, "text") == Json::parse(text));
    }
    CHECK(parse_json("[[[1]]]", "text", {.depth = 3}).dump() == "[[[1]]]");
}

TEST_CASE("a JSON error names file, line and column", "[files]") {
    expect_error(Fault::input, {"config.json line 3, column 14: ", "syntax error", "correct the file"},
                 [] { parse_json("{\n  \"hidden\": 1,\n  \"layers\" : x12\n}", "config.json"); });
    expect_error(Fault::input, {"config.json line 1, column 0: ", "unexpected end of input"},
                 [] { parse_json("", "config.json"); });
    expect_error(Fault::input, {"line 2, column 7: the key \"a\" stands here for the second time"},
                 [] { parse_json("{\"a\": 1,\n    \"a\": 2}", "config.json"); });
    expect_error(Fault::input, {"line 1, column 4: more than 3 objects and arrays inside each other"},
                 [] { parse_json("[[[[1]]]]", "config.json", {.depth = 3}); });
    expect_error(Fault::input, {"longer than the 4 bytes"}, [] { parse_json("[1,2]", "config.json", {.bytes = 4}); });
}

TEST_CASE("damaged JSON is refused", "[files]") {
    for (const std::string text :
         {"{",    "[1,",        "[1 2]", "{\"a\"}",       "{\"a\":}", "{a:1}",    "nul",          "NaN",
          "[1]]", "{} {}",      "1e999", "\"\\x\"",       "\"a",      "\"\xff\"", "\"\xc0\x80\"", "'a'",
          "[1,]", "{\"a\":1,}", "01",    "// comment\n1", "\"\x01\""}) {
        INFO(text);
        const std::string message =
            expect_error(Fault::input, {"file.json line 1, column "}, [&] { parse_json(text, "file.json"); });
        for (const char c : message) CHECK((c >= 0x20 && c < 0x7f));
    }
    for (const std::string& tail : {std::string(1, '\0'), std::string("\0 x", 3), std::string(" \0\0", 3)}) {
        expect_error(Fault::input, {"a zero byte after the value"}, [&] { parse_json("[1]" + tail, "file.json"); });
    }
    const std::string deep(1000000, '[');
    expect_error(Fault::input, {"more than 64"}, [&] { parse_json(deep, "file.json"); });
    const std::string mess = "{\"" + std::string(1000000, 'k') + "\": x}";
    CHECK(expect_error(Fault::input, {"file.json"}, [&] { parse_json(mess, "file.json"); }).size() < 400);
}

TEST_CASE("json text reads back as itself, and what is not UTF-8 is replaced", "[files]") {
    const Json value = {{"b", 0.1}, {"a", {1, 2, 3}}, {"c", "\u00e9"}};
    CHECK(parse_json(json_text(value), "text") == value);
    CHECK(json_text(value).ends_with("}\n"));
    CHECK(json_text({{"a", 1}}) == "{\n  \"a\": 1\n}\n");
    CHECK(json_line({{"a", 1}}) == "{\"a\":1}");
    CHECK(json_text("caf\xe9 \u00e9") == "\"caf\ufffd \u00e9\"\n");
    CHECK(json_line("caf\xe9 \u00e9") == "\"caf\ufffd \u00e9\"");
}

TEST_CASE("typed getters give the value, or name file and key", "[files]") {
    const Json json = parse_json(R"({"flag": true, "small": 7, "negative": -3, "big": 18446744073709551615, "real": 0.5,
        "name": "bert", "ids": [1, 2], "nothing": null, "inner": {"x": 1, "list": [{"y": 2}, {"y": "z"}]}})",
                                 "config.json");
    const JsonObject object(json, "config.json");
    CHECK(object.require<bool>("flag"));
    CHECK(object.require<std::int64_t>("small") == 7);
    CHECK(object.require<std::int32_t>("negative") == -3);
    CHECK(object.require<std::uint64_t>("big") == ~std::uint64_t{0});
    CHECK(object.require<double>("real") == 0.5);
    CHECK(object.require<double>("small") == 7.0);
    CHECK(object.require<std::string>("name") == "bert");
    CHECK(object.require<std::vector<std::int64_t>>("ids") == std::vector<std::int64_t>{1, 2});
    CHECK(object.get_or<std::int64_t>("absent", 5) == 5);
    CHECK(object.get_or<std::int64_t>("nothing", 5) == 5);
    CHECK(object.get_or<std::int64_t>("small", 5) == 7);
    CHECK(object.require_integer("small", 1, 7) == 7);
    CHECK(object.require_object("inner").require<std::int64_t>("x") == 1);
    CHECK(object.require_object("inner").require_objects("list")[0].require<int>("y") == 2);
    CHECK(object.keys().size() == 9);
    CHECK(object.has("flag"));

    const auto refused = [&](const std::vector<std::string>& words, const auto& body) {
        expect_error(Fault::input, words, body);
    };
    refused({"config.json: key \"absent\": missing"}, [&] { object.require<int>("absent"); });
    refused({"key \"name\": expected an integer, found \"bert\""}, [&] { object.require<int>("name"); });
    refused({"key \"real\": expected an integer, found 0.5"}, [&] { object.get_or<int>("real", 1); });
    refused({"key \"big\": the integer 18446744073709551615 is out of range"},
            [&] { object.require<std::int64_t>("big"); });
    refused({"key \"negative\": the integer -3 is out of range"}, [&] { object.require<std::uint64_t>("negative"); });
    refused({"key \"flag\": expected a number, found true"}, [&] { object.require<double>("flag"); });
    refused({"key \"small\": expected a text, found 7"}, [&] { object.require<std::string>("small"); });
    refused({"key \"ids\": expected true or false, found an array"}, [&] { object.require<bool>("ids"); });
    refused({"key \"name\": expected an array"}, [&] { object.require<std::vector<int>>("name"); });
    refused({"key \"small\": 7 is not between 8 and 9"}, [&] { object.require_integer("small", 8, 9); });
    refused({"config.json: \"name\" expected an object"}, [&] { object.require_object("name"); });
    refused({"key \"inner.absent\": missing"}, [&] { object.require_object("inner").require<int>("absent"); });
    refused({"key \"inner.list[1].y\": expected an integer"},
            [&] { object.require_object("inner").require_objects("list")[1].require<int>("y"); });
    refused({"config.json: expected an object { ... }, found an array"},
            [&] { JsonObject(Json::array(), "config.json"); });
}

TEST_CASE("read_json names the file it cannot read", "[files]") {
    const test::TemporaryFolder folder;
    const auto file = folder.path() / "config.json";
    expect_error(Fault::input, {file.string(), "No such file"}, [&] { read_json(file); });
    test::write_file(file, "{\"a\": [1, 2}");
    expect_error(Fault::input, {file.string() + " line 1, column 12"}, [&] { read_json(file); });
    test::write_file(file, std::string("\0\0\0\0", 4));
    expect_error(Fault::input, {file.string() + " line 1"}, [&] { read_json(file); });
}
