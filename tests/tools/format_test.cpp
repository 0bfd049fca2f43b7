#include "tools/format.h"

#include <catch2/catch.hpp>
#include <cmath>
#include <limits>

namespace cloze {

TEST_CASE("numbers are grouped in thousands") {
    CHECK(grouped(0) == "0");
    CHECK(grouped(999) == "999");
    CHECK(grouped(1000) == "1,000");
    CHECK(grouped(-1234567) == "-1,234,567");
    CHECK(grouped(-123) == "-123");
    CHECK(grouped(std::numeric_limits<std::int64_t>::min()) == "-9,223,372,036,854,775,808");
}

TEST_CASE("amounts have three digits and a unit") {
    CHECK(scaled(0) == "0");
    CHECK(scaled(7) == "7");
    CHECK(scaled(7.25) == "7.25");
    CHECK(scaled(999.4) == "999");
    CHECK(scaled(999.6) == "1.00 k");
    CHECK(scaled(25600) == "25.6 k");
    CHECK(scaled(4.4e6) == "4.40 M");
    CHECK(scaled(3e21) == "3000 E");
    CHECK(bytes_text(0) == "0 bytes");
    CHECK(bytes_text(1) == "1 byte");
    CHECK(bytes_text(1023) == "1,023 bytes");
    CHECK(bytes_text(1024) == "1.00 KiB");
    CHECK(bytes_text(87031808) == "83.0 MiB");
    CHECK(bytes_text(std::int64_t{5} << 50) == "5.00 PiB");
}

TEST_CASE("durations grow from seconds to days") {
    CHECK(duration_text(0.4) == "0:00");
    CHECK(duration_text(59.6) == "1:00");
    CHECK(duration_text(192) == "3:12");
    CHECK(duration_text(3661) == "1:01:01");
    CHECK(duration_text(270000) == "3 d 3:00:00");
    CHECK(duration_text(86400) == "1 d 0:00:00");
    CHECK(duration_text(std::nan("")) == "-");
    CHECK(duration_text(-1) == "-");
    CHECK(duration_text(HUGE_VAL) == "-");
}

TEST_CASE("a series becomes a line of blocks") {
    CHECK(sparkline({}, 10, true).empty());
    CHECK(sparkline({1}, 10, true) == "▁");
    CHECK(sparkline({8, 7, 6, 5, 4, 3, 2, 1}, 8, true) == "█▇▆▅▄▃▂▁");
    CHECK(sparkline({8, 7, 6, 5, 4, 3, 2, 1}, 8, false) == "#*+=~-._");
    CHECK(sparkline({4, 4, 2, 2, 0, 0}, 3, false) == "#=_");
    CHECK(sparkline({1, std::nan(""), 0}, 3, false) == "#!_");
    CHECK(columns_of(sparkline(std::vector<double>(1000, 1.0), 60, true)) == 60);
}

TEST_CASE("text is cut to columns between characters") {
    CHECK(fit("short", 5) == "short");
    CHECK(fit("longer", 5) == "long~");
    CHECK(fit("▁▂▃▄", 4) == "▁▂▃▄");
    CHECK(fit("▁▂▃▄", 3) == "▁▂~");
    CHECK(fit("abc", 1) == "~");
    CHECK(fit("abc", 0).empty());
}

}  // namespace cloze
