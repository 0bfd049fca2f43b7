#include "tests/emulator/streams.h"

#include <algorithm>

#include "kernels/core/error.h"

namespace cloze::emulated {
namespace {

struct Streams {
    std::uintptr_t opened = 0;                               // handles are numbers, of which none comes again
    std::map<const void*, StreamPoint> open{{nullptr, {}}};  // by handle; the default stream is always there
    StreamPoint waited;                                      // by the host
    StreamCounts counts;
};

Streams& streams() {
    static Streams all;
    return all;
}

StreamPoint& open_point(Stream stream) {
    const auto found = streams().open.find(stream.handle);
    require(found != streams().open.end(), "emulator: a stream is used that was destroyed, or never made");
    return found->second;
}

void join(StreamPoint& point, const StreamPoint& other) {
    for (const auto& [handle, count] : other) point[handle] = std::max(point[handle], count);
}

std::int64_t at(const StreamPoint& point, const void* handle) {
    const auto found = point.find(handle);
    return found == point.end() ? 0 : found->second;
}

}  // namespace

void* open_stream() {
    void* handle = reinterpret_cast<void*>(++streams().opened);
    streams().open.emplace(handle, StreamPoint{});
    return handle;
}

void close_stream(void* handle) noexcept {
    streams().open.erase(handle);
}

void give_work(Stream stream) {
    ++open_point(stream)[stream.handle];
    ++streams().counts.given;
}

StreamPoint point_of(Stream stream) {
    return open_point(stream);
}

void hold_back(Stream stream, const StreamPoint& point) {
    join(open_point(stream), point);
}

void wait_for(const StreamPoint& point) {
    join(streams().waited, point);
}

bool all_waited_for() {
    return std::all_of(streams().open.begin(), streams().open.end(), [](const auto& stream) {
        return at(stream.second, stream.first) <= at(streams().waited, stream.first);
    });
}

void note_release() noexcept {
    if (!all_waited_for()) ++streams().counts.early_releases;
}

StreamCounts stream_counts() {
    return streams().counts;
}

std::int64_t given_to(Stream stream) {
    return at(open_point(stream), stream.handle);
}

}  // namespace cloze::emulated
