#include "tools/console.h"

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <string_view>
#include <sys/ioctl.h>
#include <unistd.h>

#include "tools/format.h"

namespace cloze {
namespace {

constexpr int kNameColumns = 15;
constexpr const char* kEraseLine = "\r\x1b[K";

std::string environment(const char* name) {
    const char* value = std::getenv(name);
    return value == nullptr ? "" : value;
}

/// Whether the locale's characters are UTF-8, by the variables in their order of precedence.
bool locale_is_utf8() {
    for (const char* name : {"LC_ALL", "LC_CTYPE", "LANG"}) {
        std::string value = environment(name);
        if (value.empty()) continue;
        std::transform(value.begin(), value.end(), value.begin(), [](unsigned char c) { return std::tolower(c); });
        return value.find("utf-8") != std::string::npos || value.find("utf8") != std::string::npos;
    }
    return false;
}

}  // namespace

Display display_of(std::FILE* stream) {
    const bool terminal = isatty(fileno(stream)) == 1 && environment("TERM") != "dumb" && environment("CI").empty();
    return {.redraws = terminal, .colours = terminal && environment("NO_COLOR").empty(), .unicode = locale_is_utf8()};
}

int terminal_columns(std::FILE* stream) {
    winsize size{};
    if (ioctl(fileno(stream), TIOCGWINSZ, &size) == 0 && size.ws_col > 0) return size.ws_col;
    return 80;
}

std::string bar_line(double share, const std::string& text, int columns, bool unicode) {
    constexpr int kLeast = 10;
    constexpr int kMost = 24;
    share = share > 0 ? std::min(share, 1.0) : 0;
    std::string percentage = fixed(100 * share, 0) + " %";
    percentage.insert(0, static_cast<std::size_t>(std::max<int>(0, 5 - static_cast<int>(percentage.size()))), ' ');
    const int room = columns - 1 - static_cast<int>(percentage.size()) - 2 - columns_of(text);
    const int width = std::clamp(room, kLeast, kMost);
    if (columns < 2 * kLeast + 8) return fit(percentage + "  " + text, columns - 1);
    const int done = static_cast<int>(share * width);
    std::string bar;
    for (int i = 0; i < width; ++i) {
        bar += i < done ? (unicode ? "━" : "#") : (unicode ? "─" : "-");
    }
    return fit(percentage + " " + bar + " " + text, columns - 1);
}

Console::Console(bool quiet, std::FILE* stream) : Console(stream, display_of(stream), quiet) {}

Console::Console(std::FILE* stream, const Display& display, bool quiet)
    : stream_(stream), display_(display), quiet_(quiet) {}

Console::~Console() {
    clear_bar();
}

void Console::write(const std::string& text) {
    std::fwrite(text.data(), 1, text.size(), stream_);
    std::fflush(stream_);
}

std::string Console::emphasised(const std::string& text) const {
    return display_.colours ? "\x1b[1m" + text + "\x1b[0m" : text;
}

void Console::line(const std::string& text) {
    if (quiet_) return;
    const std::string bar = bar_;
    clear_bar();
    write(text + "\n");
    if (!bar.empty()) draw(bar);
}

void Console::heading(const std::string& text) {
    line(emphasised(text));
}

void Console::table(const std::vector<std::pair<std::string, std::string>>& rows) {
    for (const auto& [name, value] : rows) {
        std::string padded = name;
        padded.resize(std::max<std::size_t>(padded.size() + 1, kNameColumns), ' ');
        line("  " + padded + value);
    }
}

void Console::stage(const std::string& text) {
    if (quiet_) return;
    if (display_.redraws) {
        draw(fit(text + " ...", terminal_columns(stream_) - 1));
    } else {
        line(text);
    }
}

void Console::progress(double share, const std::string& text) {
    if (display_.redraws) {
        bar(share, text);
    } else {
        line(text);
    }
}

void Console::bar(double share, const std::string& text) {
    if (quiet_ || !display_.redraws) return;
    draw(bar_line(share, text, terminal_columns(stream_), display_.unicode));
}

void Console::draw(const std::string& line) {
    bar_ = line;
    write(kEraseLine + line);
}

void Console::clear_bar() {
    if (bar_.empty()) return;
    bar_.clear();
    write(kEraseLine);
}

}  // namespace cloze
