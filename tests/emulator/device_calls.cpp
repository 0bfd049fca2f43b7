// The emulated body of the host's calls. Work runs when it is given, so streams and events have nothing to wait for.
#include "kernels/core/device_calls.h"

#include <chrono>
#include <cstdlib>
#include <cstring>
#include <memory>

#include "kernels/core/error.h"
#include "tests/emulator/memory.h"

namespace cloze::device_calls {

namespace {

using Clock = std::chrono::steady_clock;

struct EmulatedEvent {
    Clock::time_point at;
};

}  // namespace

void* allocate(std::int64_t bytes) {
    return emulated::allocate_device(bytes);
}
void release(void* address) noexcept {
    emulated::release_device(address);
}
void* allocate_pinned(std::int64_t bytes) {
    return ::operator new(static_cast<std::size_t>(bytes));
}
void release_pinned(void* address) noexcept {
    ::operator delete(address);
}

void copy(void* to, const void* from, std::int64_t bytes, Direction direction, Stream) {
    if (direction != Direction::host_to_device) emulated::require_device_range(from, bytes);
    if (direction != Direction::device_to_host) emulated::require_device_range(to, bytes);
    std::memcpy(to, from, static_cast<std::size_t>(bytes));
}
void fill_bytes(void* to, std::uint8_t value, std::int64_t bytes, Stream) {
    emulated::require_device_range(to, bytes);
    std::memset(to, value, static_cast<std::size_t>(bytes));
}

void* create_stream() {
    return new char;
}
void destroy_stream(void* stream) noexcept {
    delete static_cast<char*>(stream);
}
void wait(Stream) {}

void* create_event() {
    return new EmulatedEvent;
}
void destroy_event(void* event) noexcept {
    delete static_cast<EmulatedEvent*>(event);
}
void record(void* event, Stream) {
    static_cast<EmulatedEvent*>(event)->at = Clock::now();
}
void wait(void*) {}
void make_wait(Stream, void*) {}
double seconds_between(void* first, void* second) {
    const auto elapsed = static_cast<EmulatedEvent*>(second)->at - static_cast<EmulatedEvent*>(first)->at;
    return std::chrono::duration<double>(elapsed).count();
}

// Work cannot be held back here, so a graph is the work itself. Its first call is a launch.
void* record_graph(Stream, const std::function<void()>& work) {
    return new std::function<void()>(work);
}
void destroy_graph(void* graph) noexcept {
    delete static_cast<std::function<void()>*>(graph);
}
void launch_graph(void* graph, Stream) {
    (*static_cast<std::function<void()>*>(graph))();
}

void open_range(const char*) {}
void close_range() noexcept {}

const char* kind() {
    return "emulated";
}
int count() {
    return 1;
}
std::int64_t free_bytes() {
    return emulated::free_device_bytes();
}
DeviceInfo info(int) {
    return {.name = "emulated device",
            .compute_capability = 90,
            .multiprocessors = 4,
            .shared_bytes_per_block = emulated::kMostSharedBytes,
            .memory_bytes = emulated::kDeviceBytes};
}
void use(int device) {
    if (device != 0) fail(Fault::device, "device ", device, " does not exist; the emulator has device 0 alone");
}
int current() {
    return 0;
}

}  // namespace cloze::device_calls
