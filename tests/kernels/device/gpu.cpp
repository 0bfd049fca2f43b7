// How the tests of device code run on a GPU.
#include "tests/kernels/device/device_testing.h"
#include "tests/support.h"

namespace cloze::test {

void for_schedules(int count, const std::function<void()>& body) {
    for (int i = 0; i < count; ++i) body();
}

int schedules() {
    return 4;
}

bool device_or_skip() {
    if (device_count() > 0) return true;
    skip("no NVIDIA GPU on this machine");
    return false;
}

DeviceBuffer guarded_buffer(std::int64_t bytes) {
    set_checked_memory(true);
    DeviceBuffer buffer(bytes);
    set_checked_memory(false);
    return buffer;
}

}  // namespace cloze::test
