// Checks of what flags are given, in place of CLI11's own. Those read 010 as eight and what does not fit as the largest
// number that does, let NaN pass, and name their limits with three hundred digits. Tested by
// tests/tools/pretrain_flags_test.cpp.
#pragma once

#include <CLI/CLI.hpp>
#include <charconv>
#include <limits>
#include <string>

namespace cloze {

/// More threads than the machines have that this program meets, and fewer than their stacks can carry.
inline constexpr int kMostThreads = 1024;

/// To be given to CLI::Option::transform: a decimal whole number in [least, most].
template <typename T>
CLI::Validator whole_number(T least, T most = std::numeric_limits<T>::max()) {
    const auto normalize = [least, most](std::string& given) -> std::string {
        T value{};
        const char* const end = given.data() + given.size();
        const auto [stop, error] = std::from_chars(given.data(), end, value);
        if (error != std::errc{} || stop != end || value < least || value > most) {
            return "'" + given + "' is not a whole number from " + std::to_string(least) + " to " +
                   std::to_string(most);
        }
        given = std::to_string(value);
        return {};
    };
    return {normalize, ""};
}

/// To be given to CLI::Option::check: a finite number of at least `least`, or in [least, most], or above `bound`.
CLI::Validator number_from(double least);
CLI::Validator number_within(double least, double most);
CLI::Validator number_above(double bound);

/// To be given to CLI::Option::check: a name that is there. An empty one comes from a variable that is not set.
CLI::Validator some_name();

}  // namespace cloze
