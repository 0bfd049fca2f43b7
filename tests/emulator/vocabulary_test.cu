// Every function of kernels/device against plain loops.
#include <numeric>

#include "kernels/core/launch.h"
#include "kernels/device/block.h"
#include "tests/emulator/device_testing.h"

using namespace cloze;
using namespace cloze::test;

namespace {

__global__ void write_numbers(float* out) {
    out[block_x() * threads_per_block() + thread_index()] = static_cast<float>(thread_index());
}

__global__ void sum_warps(float* sum, const float* x) {
    const std::int64_t i = block_x() * threads_per_block() + thread_index();
    sum[i] = warp_sum(x[i]);
}

}  // namespace

TEST_CASE("a kernel runs once on each thread of each block") {
    for_schedules(4, [] {
        DeviceVector<float> out(3 * 64);
        launch("write_numbers", write_numbers, {.grid = {.x = 3}, .threads = 64}, {}, out.data());
        const std::vector<float> values = out.values();
        for (std::size_t i = 0; i < values.size(); ++i) CHECK(values[i] == static_cast<float>(i % 64));
    });
}

TEST_CASE("warp_sum adds the lanes of each warp") {
    for_schedules(4, [] {
        std::vector<float> x(128);
        std::iota(x.begin(), x.end(), 1.0f);
        DeviceVector<float> in(x), out(128);
        launch("sum_warps", sum_warps, {.grid = {.x = 2}, .threads = 64}, {}, out.data(), in.data());
        const std::vector<float> values = out.values();
        for (std::size_t i = 0; i < values.size(); ++i) {
            const float first = static_cast<float>(i / 32 * 32 + 1);
            CHECK(values[i] == 32 * first + 31 * 16);
        }
    });
}
