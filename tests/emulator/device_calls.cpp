// The emulated body of the host's calls. Work runs when it is given, so streams and events have nothing to wait for;
// who does not wait for them all the same is remembered (streams.h).
#include "kernels/core/device_calls.h"

#include <chrono>
#include <cstdlib>
#include <cstring>
#include <memory>

#include "kernels/core/error.h"
#include "tests/emulator/memory.h"
#include "tests/emulator/streams.h"

namespace cloze::device_calls {

namespace {

using Clock = std::chrono::steady_clock;

struct EmulatedEvent {
    Clock::time_point at;
    emulated::StreamPoint point;
};

EmulatedEvent& emulated_event(void* event) {
    return *static_cast<EmulatedEvent*>(event);
}

}  // namespace

void* allocate(std::int64_t bytes) {
    return emulated::allocate_device(bytes);
}
void release(void* address) noexcept {
    emulated::note_release();
    emulated::release_device(address);
}
void* allocate_pinned(std::int64_t bytes) {
    return ::operator new(static_cast<std::size_t>(bytes));
}
void release_pinned(void* address) noexcept {
    emulated::note_release();
    ::operator delete(address);
}

void copy(void* to, const void* from, std::int64_t bytes, Direction direction, Stream stream) {
    emulated::give_work(stream);
    if (direction != Direction::host_to_device) emulated::require_device_range(from, bytes);
    if (direction != Direction::device_to_host) emulated::require_device_range(to, bytes);
    std::memcpy(to, from, static_cast<std::size_t>(bytes));
}
void fill_bytes(void* to, std::uint8_t value, std::int64_t bytes, Stream stream) {
    emulated::give_work(stream);
    emulated::require_device_range(to, bytes);
    std::memset(to, value, static_cast<std::size_t>(bytes));
}

void* create_stream() {
    return emulated::open_stream();
}
void destroy_stream(void* stream) noexcept {
    emulated::close_stream(stream);
}
void wait(Stream stream) {
    emulated::wait_for(emulated::point_of(stream));
}

void* create_event() {
    return new EmulatedEvent;
}
void destroy_event(void* event) noexcept {
    delete static_cast<EmulatedEvent*>(event);
}
void record(void* event, Stream stream) {
    emulated_event(event) = {.at = Clock::now(), .point = emulated::point_of(stream)};
}
void wait(void* event) {
    emulated::wait_for(emulated_event(event).point);
}
void make_wait(Stream stream, void* event) {
    emulated::hold_back(stream, emulated_event(event).point);
}
double seconds_between(void* first, void* second) {
    const auto elapsed = emulated_event(second).at - emulated_event(first).at;
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
