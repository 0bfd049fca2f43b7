#include <catch2/catch.hpp>

#include "tests/tools/workshop.h"

namespace cloze::test {
namespace {

constexpr const char* kBold = "\x1b[1m";
constexpr const char* kErase = "\x1b[K";

std::string shown(const Workshop& shop, const std::string& output, const Surroundings& surroundings) {
    const Ended ended = cloze(shop.pretrain(output, 6, {"--log-every", "1"}), surroundings);
    require_success(ended);
    return ended.out;
}

bool has(const std::string& text, const std::string& part) {
    return text.find(part) != std::string::npos;
}

}  // namespace

TEST_CASE("a terminal shows a bar, and colours unless NO_COLOR is set") {
    Workshop shop;
    shop.with_dataset();
    const std::string plain_terminal = shown(shop, "one", {.terminal_columns = 100});
    CHECK(has(plain_terminal, kErase));
    CHECK(has(plain_terminal, kBold));
    CHECK(has(plain_terminal, "━"));
    CHECK(!has(plain_terminal, "step 1/6"));

    const std::string colourless = shown(shop, "two", {.environment = {{"NO_COLOR", "1"}}, .terminal_columns = 100});
    CHECK(has(colourless, kErase));
    CHECK(!has(colourless, kBold));
}

TEST_CASE("dumb terminals and CI get plain lines") {
    Workshop shop;
    shop.with_dataset();
    for (const auto& [name, value] : {std::pair{"TERM", "dumb"}, std::pair{"CI", "true"}}) {
        const std::string text =
            shown(shop, std::string("run-") + name, {.environment = {{name, value}}, .terminal_columns = 100});
        CHECK(!has(text, "\x1b"));
        CHECK(has(text, "step 6/6"));
    }
}

TEST_CASE("a file gets plain lines, and ASCII where the locale is not UTF-8") {
    Workshop shop;
    shop.with_dataset();
    const std::string text = shown(shop, "run", {.environment = {{"LC_ALL", "C"}}});
    CHECK(!has(text, "\x1b"));
    CHECK(has(text, "step 6/6"));
    for (const char byte : text) CHECK(static_cast<unsigned char>(byte) < 0x80);
}

}  // namespace cloze::test
