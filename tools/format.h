// Numbers as people read them: thousands separated, units, durations, and a series as a line of blocks. Pure functions.
// Tested by tests/tools/format_test.cpp.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace cloze {

/// 1234567 -> "1,234,567".
std::string grouped(std::int64_t value);
/// Three digits and a unit of a thousand: 25600 -> "25.6 k", 4.4e6 -> "4.40 M".
std::string scaled(double value);
/// Powers of 1024: 87031808 -> "83.0 MiB".
std::string bytes_text(std::int64_t bytes);
/// 192 -> "3:12", 3661 -> "1:01:01", 270000 -> "3 d 3:00:00". "-" for what is not a time.
std::string duration_text(double seconds);
/// 0.1234 -> "12.3 %".
std::string percent(double share);
std::string fixed(double value, int digits);
/// Learning rates: "1.00e-04".
std::string scientific(double value, int digits);
/// 1 -> "1 document", 2 -> "2 documents".
std::string counted(std::int64_t count, std::string_view noun);

/// The series as at most `width` characters, each the mean of its stretch, from the lowest block to the highest; in
/// ASCII where blocks cannot be shown. Values that are not finite are shown as "!".
std::string sparkline(const std::vector<double>& values, int width, bool unicode);

/// A share of one as a bar of at most `width` characters; in ASCII where blocks cannot be shown. Empty for next to
/// nothing.
std::string meter(double share, int width, bool unicode);

/// `text` with spaces before or behind it up to `columns`.
std::string right(const std::string& text, int columns);
std::string left(const std::string& text, int columns);

/// Cut to `columns`, counting code points; the cut end becomes "~".
std::string fit(std::string_view text, int columns);
/// Code points of UTF-8 text: what a terminal shows of our own reports.
int columns_of(std::string_view text);

}  // namespace cloze
