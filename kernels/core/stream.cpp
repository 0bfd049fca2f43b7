#include "kernels/core/stream.h"

#include "kernels/core/device_calls.h"

namespace cloze {

void wait(Stream stream) {
    device_calls::wait(stream);
}

OwnedStream::OwnedStream() : handle_(device_calls::create_stream()) {}
OwnedStream::~OwnedStream() {
    device_calls::destroy_stream(handle_);
}

Event::Event() : handle_(device_calls::create_event()) {}
Event::~Event() {
    device_calls::destroy_event(handle_);
}
void Event::record(Stream stream) {
    device_calls::record(handle_, stream);
}
void Event::hold(Stream stream) const {
    device_calls::make_wait(stream, handle_);
}
void Event::wait() const {
    device_calls::wait(handle_);
}
double Event::seconds_since(const Event& earlier) const {
    return device_calls::seconds_between(earlier.handle_, handle_);
}

}  // namespace cloze
