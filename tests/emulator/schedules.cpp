// How the tests of device code reach the emulator's schedules.
#include <algorithm>
#include <cstdlib>

#include "tests/emulator/emulator.h"
#include "tests/kernels/device/device_testing.h"

namespace cloze::test {

void for_schedules(int count, const std::function<void()>& body) {
    struct Restore {
        ~Restore() { emulated::settings().seed = 0; }
    } restore;
    for (int seed = 0; seed < count; ++seed) {
        emulated::settings().seed = static_cast<std::uint64_t>(seed);
        INFO("emulator seed " << seed);
        body();
    }
}

int schedules() {
    if (const char* count = std::getenv("CLOZE_TEST_SCHEDULES")) return std::max(1, std::atoi(count));
    return std::getenv("CLOZE_TEST_LONG") != nullptr ? 20 : 4;
}

bool device_or_skip() {
    return true;
}

bool hopper_or_skip() {
    return true;
}

// The emulator knows each buffer's first and last byte and fills it with NaN: canaries would only widen it.
DeviceBuffer guarded_buffer(std::int64_t bytes) {
    return DeviceBuffer(bytes);
}

}  // namespace cloze::test
