// How --help looks: the value's kind beside the flag; what is required and the default after the description. Tested by
// tests/tools/help_test.cpp.
#pragma once

#include <CLI/CLI.hpp>
#include <string>

namespace cloze {

class HelpFormatter : public CLI::Formatter {
public:
    HelpFormatter() { column_width(36); }
    std::string make_help(const CLI::App* app, std::string name, CLI::AppFormatMode mode) const override;
    std::string make_option_name(const CLI::Option* option, bool positional) const override;
    std::string make_option_opts(const CLI::Option* option) const override;
    std::string make_option_desc(const CLI::Option* option) const override;
};

}  // namespace cloze
