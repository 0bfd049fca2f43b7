// The order in which device work runs. Host ops run at once and ignore it. Tested by
// tests/kernels/device/memory_test.cpp.
#pragma once

namespace cloze {

/// An opaque cudaStream_t that somebody else owns; the default is the device's default stream.
struct Stream {
    void* handle = nullptr;
};

/// Returns when all work of the stream is done. Errors of earlier kernels surface here.
void wait(Stream stream);

/// A stream of its own, not ordered against the default stream.
class OwnedStream {
public:
    OwnedStream();
    ~OwnedStream();
    OwnedStream(const OwnedStream&) = delete;
    OwnedStream& operator=(const OwnedStream&) = delete;
    operator Stream() const { return {handle_}; }

private:
    void* handle_;
};

/// A point in a stream that other streams, or the host, can wait for.
class Event {
public:
    Event();
    ~Event();
    Event(const Event&) = delete;
    Event& operator=(const Event&) = delete;

    void record(Stream stream);
    /// Work given to `stream` from now on starts after the recorded point.
    void hold(Stream stream) const;
    /// The host waits for the recorded point.
    void wait() const;
    /// Seconds from `earlier` to this point; both recorded and reached.
    double seconds_since(const Event& earlier) const;

private:
    void* handle_;
};

}  // namespace cloze
