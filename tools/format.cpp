#include "tools/format.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>

namespace cloze {
namespace {

template <typename... Values>
std::string printed(const char* format, Values... values) {
    std::array<char, 64> buffer;
    const int length = std::snprintf(buffer.data(), buffer.size(), format, values...);
    return std::string(buffer.data(), std::min<std::size_t>(static_cast<std::size_t>(length), buffer.size() - 1));
}

/// Three significant digits: 4.40, 44.0, 440.
std::string three_digits(double value) {
    const double size = std::abs(value);
    return fixed(value, size < 9.995 ? 2 : size < 99.95 ? 1 : 0);
}

bool continues_character(char byte) {
    return (static_cast<unsigned char>(byte) & 0xC0U) == 0x80U;
}

}  // namespace

std::string grouped(std::int64_t value) {
    std::string digits = std::to_string(value);
    const std::int64_t first = value < 0 ? 1 : 0;
    for (std::int64_t at = static_cast<std::int64_t>(digits.size()) - 3; at > first; at -= 3) {
        digits.insert(static_cast<std::size_t>(at), 1, ',');
    }
    return digits;
}

std::string scaled(double value) {
    static constexpr std::array units = {" k", " M", " G", " T", " P", " E"};
    if (!(std::abs(value) >= 999.5)) return value == std::floor(value) ? fixed(value, 0) : three_digits(value);
    std::size_t unit = 0;
    value /= 1000;
    while (std::abs(value) >= 999.5 && unit + 1 < units.size()) {
        value /= 1000;
        ++unit;
    }
    return three_digits(value) + units[unit];
}

std::string bytes_text(std::int64_t bytes) {
    static constexpr std::array units = {"KiB", "MiB", "GiB", "TiB", "PiB"};
    if (bytes < 1024) return counted(bytes, "byte");
    double value = static_cast<double>(bytes) / 1024;
    std::size_t unit = 0;
    while (value >= 1023.5 && unit + 1 < units.size()) {
        value /= 1024;
        ++unit;
    }
    return three_digits(value) + " " + units[unit];
}

std::string duration_text(double seconds) {
    if (!std::isfinite(seconds) || seconds < 0 || seconds > 1e11) return "-";
    const auto total = static_cast<long long>(std::llround(seconds));
    const long long days = total / 86400;
    const long long hours = total / 3600 % 24;
    const long long minutes = total / 60 % 60;
    std::string result = days > 0 ? printed("%lld d ", days) : "";
    result += total >= 3600 ? printed("%lld:%02lld", hours, minutes) : printed("%lld", minutes);
    return result + printed(":%02lld", total % 60);
}

std::string percent(double share) {
    return fixed(100 * share, 1) + " %";
}

std::string fixed(double value, int digits) {
    return printed("%.*f", digits, value);
}

std::string scientific(double value, int digits) {
    return printed("%.*e", digits, value);
}

std::string counted(std::int64_t count, std::string_view noun) {
    return grouped(count) + " " + std::string(noun) + (count == 1 ? "" : noun.ends_with("ch") ? "es" : "s");
}

std::string sparkline(const std::vector<double>& values, int width, bool unicode) {
    static constexpr std::array blocks = {"▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
    static constexpr std::array letters = {"_", ".", "-", "~", "=", "+", "*", "#"};
    const auto count = static_cast<std::int64_t>(values.size());
    const std::int64_t points = std::min<std::int64_t>(count, width);
    std::vector<double> means;
    for (std::int64_t point = 0; point < points; ++point) {
        const std::int64_t first = point * count / points;
        const std::int64_t last = (point + 1) * count / points;
        double sum = 0;
        for (std::int64_t i = first; i < last; ++i) sum += values[static_cast<std::size_t>(i)];
        means.push_back(sum / static_cast<double>(last - first));
    }
    double low = HUGE_VAL;
    double high = -HUGE_VAL;
    for (const double mean : means) {
        if (!std::isfinite(mean)) continue;
        low = std::min(low, mean);
        high = std::max(high, mean);
    }
    std::string line;
    for (const double mean : means) {
        if (!std::isfinite(mean)) {
            line += "!";
            continue;
        }
        const double height = high > low ? (mean - low) / (high - low) : 0;
        const auto level = std::min<std::size_t>(static_cast<std::size_t>(height * blocks.size()), blocks.size() - 1);
        line += unicode ? blocks[level] : letters[level];
    }
    return line;
}

std::string meter(double share, int width, bool unicode) {
    static constexpr std::array eighths = {"", "▏", "▎", "▍", "▌", "▋", "▊", "▉"};
    share = share > 0 ? std::min(share, 1.0) : 0;
    const int units = static_cast<int>(std::lround(share * width * 8));
    std::string bar;
    for (int i = 0; i < units / 8; ++i) bar += unicode ? "█" : "#";
    if (unicode) return bar + eighths[static_cast<std::size_t>(units % 8)];
    return units % 8 >= 4 ? bar + "#" : bar;
}

std::string right(const std::string& text, int columns) {
    return std::string(static_cast<std::size_t>(std::max(0, columns - columns_of(text))), ' ') + text;
}
std::string left(const std::string& text, int columns) {
    return text + std::string(static_cast<std::size_t>(std::max(0, columns - columns_of(text))), ' ');
}

int columns_of(std::string_view text) {
    return static_cast<int>(std::count_if(text.begin(), text.end(), [](char c) { return !continues_character(c); }));
}

std::string fit(std::string_view text, int columns) {
    if (columns_of(text) <= columns) return std::string(text);
    if (columns <= 0) return "";
    std::size_t end = 0;
    for (int column = 0; column < columns - 1; ++column) {
        ++end;
        while (end < text.size() && continues_character(text[end])) ++end;
    }
    return std::string(text.substr(0, end)) + "~";
}

}  // namespace cloze
