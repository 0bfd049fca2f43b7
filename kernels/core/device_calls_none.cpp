// A build without device code: no devices, and asking for one says so.
#include "kernels/core/device_calls.h"
#include "kernels/core/error.h"

namespace cloze::device_calls {

namespace {

[[noreturn]] void no_device() {
    fail(Fault::device,
         "this build has no device code (it was made without nvcc); use --device cpu, or build with CUDA");
}

}  // namespace

void* allocate(std::int64_t) {
    no_device();
}
void release(void*) noexcept {}
void* allocate_pinned(std::int64_t) {
    no_device();
}
void release_pinned(void*) noexcept {}
void copy(void*, const void*, std::int64_t, Direction, Stream) {
    no_device();
}
void fill_bytes(void*, std::uint8_t, std::int64_t, Stream) {
    no_device();
}
void* create_stream() {
    no_device();
}
void destroy_stream(void*) noexcept {}
void wait(Stream) {
    no_device();
}
void* create_event() {
    no_device();
}
void destroy_event(void*) noexcept {}
void record(void*, Stream) {
    no_device();
}
void wait(void*) {
    no_device();
}
void make_wait(Stream, void*) {
    no_device();
}
double seconds_between(void*, void*) {
    no_device();
}
void* record_graph(Stream, const std::function<void()>&) {
    no_device();
}
void destroy_graph(void*) noexcept {}
void launch_graph(void*, Stream) {
    no_device();
}
void open_range(const char*) {}
void close_range() noexcept {}
const char* kind() {
    return "none";
}
void encode_tensor_map(unsigned char*, const BoxedMatrix&, Where) {
    no_device();
}
int count() {
    return 0;
}
std::int64_t free_bytes() {
    no_device();
}
DeviceInfo info(int) {
    no_device();
}
void use(int) {
    no_device();
}
int current() {
    no_device();
}

}  // namespace cloze::device_calls
