#include "tools/help_formatter.h"

namespace cloze {

std::string HelpFormatter::make_help(const CLI::App* app, std::string name, CLI::AppFormatMode mode) const {
    std::string help = Formatter::make_help(app, std::move(name), mode);
    for (std::size_t at = help.find("\n\n\n"); at != std::string::npos; at = help.find("\n\n\n", at)) help.erase(at, 1);
    return help;
}

std::string HelpFormatter::make_option_name(const CLI::Option* option, bool positional) const {
    const std::string name = Formatter::make_option_name(option, positional);
    return name.substr(0, name.find('{'));  // "--no-x{false}": how CLI11 marks a flag that switches off
}

std::string HelpFormatter::make_option_opts(const CLI::Option* option) const {
    if (option->get_type_size() == 0) return "";
    const std::string kind = option->get_type_name();
    const bool many = option->get_expected_max() >= CLI::detail::expected_max_vector_size;
    // CLI11 appends the checks to the kind: "N:POSITIVE".
    return (option->get_positional() ? "" : " " + kind.substr(0, kind.find(':'))) + (many ? " ..." : "");
}

std::string HelpFormatter::make_option_desc(const CLI::Option* option) const {
    if (option->get_required()) return option->get_description() + " (required)";
    const std::string standard = option->get_default_str();
    const bool shown = option->get_type_size() > 0 && !standard.empty() && standard != "\"\"" && standard != "[]";
    return option->get_description() + (shown ? " [" + standard + "]" : "");
}

}  // namespace cloze
