// How the tests of device code run on a GPU. Under compute-sanitizer (tests/gpu.sh sets CLOZE_TEST_SANITIZER) each case
// runs once, and buffers have neither canaries nor NaN: the tool knows each buffer's bytes and which were written.
#include <cstdlib>
#include <string>

#include "tests/kernels/device/device_testing.h"
#include "tests/support.h"

namespace cloze::test {

namespace {

bool under_sanitizer() {
    return std::getenv("CLOZE_TEST_SANITIZER") != nullptr;
}

}  // namespace

void for_schedules(int count, const std::function<void()>& body) {
    for (int i = 0; i < count; ++i) body();
}

int schedules() {
    return under_sanitizer() ? 1 : 4;
}

bool device_or_skip() {
    if (device_count() > 0) return true;
    skip("no NVIDIA GPU on this machine");
    return false;
}

bool hopper_or_skip() {
    if (!device_or_skip()) return false;
    const int capability = use_device(0).compute_capability;
    if (capability == 90) return true;
    skip("compute capability 9.0 is needed, the GPU has " + std::to_string(capability / 10) + "." +
         std::to_string(capability % 10));
    return false;
}

DeviceBuffer guarded_buffer(std::int64_t bytes) {
    set_checked_memory(!under_sanitizer());
    DeviceBuffer buffer(bytes);
    set_checked_memory(false);
    return buffer;
}

}  // namespace cloze::test
