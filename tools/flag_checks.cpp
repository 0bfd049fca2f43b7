#include "tools/flag_checks.h"

#include <cmath>
#include <functional>

#include "engine/files/system_calls.h"

namespace cloze {
namespace {

CLI::Validator number_that(const std::function<bool(double)>& suits, const std::string& wanted) {
    const auto check = [suits, wanted](const std::string& given) -> std::string {
        double value = 0;
        const bool is_number = CLI::detail::lexical_cast(given, value) && std::isfinite(value);
        return is_number && suits(value) ? "" : "'" + given + "' is not a number " + wanted;
    };
    return {check, ""};
}

}  // namespace

CLI::Validator number_from(double least) {
    return number_that([least](double value) { return value >= least; }, "of at least " + text(least));
}

CLI::Validator number_within(double least, double most) {
    return number_that([least, most](double value) { return value >= least && value <= most; },
                       "from " + text(least) + " to " + text(most));
}

CLI::Validator number_above(double bound) {
    return number_that([bound](double value) { return value > bound; }, "above " + text(bound));
}

CLI::Validator some_name() {
    const auto check = [](const std::string& given) -> std::string {
        return given.empty() ? "'' names nothing; is a variable not set?" : "";
    };
    return {check, ""};
}

}  // namespace cloze
