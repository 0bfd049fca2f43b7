#include "kernels/core/lanes.h"

#include "tests/kernels/op_testing.h"

using namespace cloze;
using namespace cloze::test;

TEST_CASE("a lane sum adds every element once at any length") {
    for (std::int64_t count = 0; count <= 3 * kSumLanes + 1; ++count) {
        CHECK(lane_sum<double>(count, [](std::int64_t i) { return static_cast<double>(i + 1); }) ==
              0.5 * static_cast<double>(count * (count + 1)));
    }
}

TEST_CASE("a lane sum of floats loses less than a running sum") {
    const std::int64_t count = 100000;
    const auto term = [](std::int64_t i) { return 1.0f + static_cast<float>(i % 7) * 0.1f; };
    double exact = 0;
    for (std::int64_t i = 0; i < count; ++i) exact += static_cast<double>(term(i));
    CHECK(std::abs(static_cast<double>(lane_sum<float>(count, term)) - exact) < 1e-5 * exact);
}

TEST_CASE("column sums call each element once and overwrite or add") {
    for (const std::int64_t rows : {0, 1, 63, 64, 65, 200}) {
        for (const std::int64_t cols : {1, 255, 256, 257}) {
            std::vector<double> sum(static_cast<std::size_t>(cols), 5.0);
            std::vector<double> scratch(static_cast<std::size_t>(chunk_partials(rows, cols)));
            const auto term = [](std::int64_t row, std::int64_t c) { return static_cast<double>(row * 1000 + c); };
            const double triangle = 1000.0 * 0.5 * static_cast<double>(rows * (rows - 1));
            column_sums(sum.data(), scratch.data(), rows, cols, false, term);
            const std::size_t last = static_cast<std::size_t>(cols - 1);
            CHECK(sum[last] == triangle + static_cast<double>(rows * (cols - 1)));
            column_sums(sum.data(), scratch.data(), rows, cols, true, term);
            CHECK(sum[0] == 2 * triangle);
        }
    }
}
