#include "tools/console.h"

#include <catch2/catch.hpp>
#include <cstdio>
#include <functional>

#include "tools/format.h"

namespace cloze {
namespace {

/// What `use` makes a console write.
std::string written(const Display& display, bool quiet, const std::function<void(Console&)>& use) {
    std::FILE* stream = std::tmpfile();
    REQUIRE(stream != nullptr);
    {
        Console console(stream, display, quiet);
        use(console);
    }
    std::string text(static_cast<std::size_t>(std::ftell(stream)), ' ');
    std::rewind(stream);
    REQUIRE(std::fread(text.data(), 1, text.size(), stream) == text.size());
    std::fclose(stream);
    return text;
}

}  // namespace

TEST_CASE("a bar fits the columns it is given") {
    for (int columns = 1; columns <= 200; ++columns) {
        const std::string line = bar_line(0.5, "step 500/1,000  some text", columns, true);
        CHECK(columns_of(line) <= std::max(0, columns - 1));
    }
    CHECK(bar_line(0.5, "x", 40, false) == " 50 % ############------------ x");
    CHECK(bar_line(2, "", 40, false) == "100 % ######################## ");
    CHECK(bar_line(-1, "", 40, false) == "  0 % ------------------------ ");
}

TEST_CASE("without a terminal there are plain lines and no bar") {
    const std::string text = written({}, false, [](Console& console) {
        console.stage("reading");
        console.bar(0.1, "only for terminals");
        console.progress(0.5, "half");
        console.heading("done");
        console.table({{"name", "value"}});
    });
    CHECK(text == "reading\nhalf\ndone\n  name           value\n");
}

TEST_CASE("on a terminal a bar is redrawn below the lines and taken away at the end") {
    const std::string erase = "\r\x1b[K";
    const std::string bar = bar_line(0.5, "half", 80, false);
    const std::string text = written({.redraws = true, .colours = true}, false, [](Console& console) {
        console.progress(0.5, "half");
        console.heading("line");
    });
    CHECK(text == erase + bar + erase + "\x1b[1mline\x1b[0m\n" + erase + bar + erase);
}

TEST_CASE("quiet prints nothing") {
    const std::string text = written({.redraws = true}, true, [](Console& console) {
        console.stage("reading");
        console.progress(0.5, "half");
        console.heading("done");
        console.table({{"name", "value"}});
    });
    CHECK(text.empty());
}

}  // namespace cloze
