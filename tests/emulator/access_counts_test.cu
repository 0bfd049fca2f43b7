// Bank conflicts and uncoalesced accesses are counted by place.
#include "kernels/core/launch.h"
#include "kernels/device/shared.h"
#include "kernels/device/thread.h"
#include "kernels/device/vector.h"
#include "tests/emulator/access_counts.h"
#include "tests/emulator/emulator.h"
#include "tests/kernels/device/device_testing.h"

using namespace cloze;
using namespace cloze::test;

namespace {

// What lane l of a warp touches: floats `global` apart in global memory, `shared` apart in shared memory.
__global__ void strided(float* out, const float* in, int global, int shared) {
    float* tile = SharedArena().take<float>(1024);
    tile[lane_index() * shared] = in[lane_index() * global];
    out[lane_index()] = tile[lane_index() * shared];
}

__global__ void vectors(float* out, const float* in) {
    float* tile = SharedArena().take<float>(512);
    store8(tile + 8 * lane_index(), load8(in + 8 * lane_index()));
    out[lane_index()] = tile[8 * lane_index()];
}

struct Totals {
    std::int64_t accesses = 0, moved = 0, needed = 0;
};

Totals totals(bool shared, const std::function<void(float*, const float*)>& run) {
    const DeviceVector<float> out(1024), in(std::vector<float>(1024, 1.0f));
    emulated::clear_access_counts();
    emulated::settings().count_accesses = true;
    run(out.data(), in.data());
    emulated::settings().count_accesses = false;
    Totals sum;
    for (const emulated::AccessCount& count : emulated::access_counts()) {
        CHECK(count.place.find("tests/emulator/access_counts_test.cu:") == 0);
        if (count.shared != shared) continue;
        sum.accesses += count.accesses;
        sum.moved += count.moved;
        sum.needed += count.needed;
    }
    return sum;
}

Totals of_stride(bool shared, int global_stride, int shared_stride) {
    return totals(shared, [&](float* out, const float* in) {
        launch("test", strided, {.grid = {}, .threads = 32, .shared_bytes = 4096}, {}, out, in, global_stride,
               shared_stride);
    });
}

}  // namespace

TEST_CASE("a warp that reads neighbours moves what it needs, one with a stride moves a sector a lane") {
    for_schedules(schedules(), [] {
        CHECK(of_stride(false, 1, 1).moved == 4 + 4);
        CHECK(of_stride(false, 1, 1).needed == 4 + 4);
        CHECK(of_stride(false, 8, 1).moved == 32 + 4);
        CHECK(of_stride(false, 8, 1).needed == 4 + 4);
    });
}

TEST_CASE("a stride of 32 words makes a bank conflict of 32, one of 33 words none") {
    for_schedules(schedules(), [] {
        CHECK(of_stride(true, 1, 1).moved == 2);
        CHECK(of_stride(true, 1, 2).moved == 2 * 2);
        CHECK(of_stride(true, 1, 32).moved == 2 * 32);
        CHECK(of_stride(true, 1, 32).needed == 2);
        CHECK(of_stride(true, 1, 33).moved == 2);
        CHECK(of_stride(true, 1, 33).accesses == 2);
    });
}

TEST_CASE("vectors are counted a quarter warp at a time") {
    const Totals shared = totals(true, [](float* out, const float* in) {
        launch("test", vectors, {.grid = {}, .threads = 32, .shared_bytes = 2048}, {}, out, in);
    });
    // Two stores of 16 bytes a lane, 32 bytes apart: each quarter meets two lanes a bank. Then floats 8 words apart.
    CHECK(shared.moved == 2 * 4 * 2 + 8);
    CHECK(shared.needed == 2 * 4 + 1);
}
