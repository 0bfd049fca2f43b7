// Bad input is tested by message: kind of fault, and the words the user needs.
#pragma once

#include <catch2/catch.hpp>
#include <string>
#include <vector>

#include "kernels/core/error.h"

namespace cloze::test {

/// Calls `body`, which must throw an Error of `fault` whose message holds all of `words`. Returns the message.
template <typename Body>
std::string expect_error(Fault fault, const std::vector<std::string>& words, const Body& body) {
    try {
        body();
    } catch (const Error& error) {
        INFO(error.what());
        CHECK(error.fault() == fault);
        for (const std::string& word : words) CHECK_THAT(error.what(), Catch::Matchers::Contains(word));
        CHECK(std::string(error.what()).find('\n') == std::string::npos);
        return error.what();
    }
    FAIL("no error was thrown");
    return "";
}

}  // namespace cloze::test
