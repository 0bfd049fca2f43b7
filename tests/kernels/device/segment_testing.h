// Tables of segments for the tests of ops over flat buffers: what a device must get right lies at their edges.
#pragma once

#include "kernels/norm.h"
#include "tests/kernels/device/device_testing.h"

namespace cloze::test {

struct SegmentLayout {
    const char* name;
    std::vector<Segment> segments;
    std::int64_t elements;  // of the flat buffers

    std::int64_t count() const { return static_cast<std::int64_t>(segments.size()); }
    bool covers(std::int64_t element) const {
        return std::any_of(segments.begin(), segments.end(), [&](const Segment& segment) {
            return segment.offset <= element && element < segment.offset + segment.count;
        });
    }
};

/// Segments of `counts` elements from `start` on, each at the next multiple of `alignment`; two of three decay.
inline SegmentLayout lay_out(const char* name, const std::vector<std::int64_t>& counts, std::int64_t alignment,
                             std::int64_t start = 0) {
    SegmentLayout layout{name, {}, 0};
    std::int64_t end = start;
    for (const std::int64_t count : counts) {
        const std::int64_t offset = round_up(end, alignment);
        layout.segments.push_back({.offset = offset, .count = count, .decay = layout.count() % 3 != 2 ? 1 : 0});
        end = offset + count;
    }
    layout.elements = round_up(end, 128);
    return layout;
}

/// Sizes around what a thread, a block and a chunk take, as parameters lie: aligned to 256 bytes.
inline SegmentLayout awkward_layout() {
    return lay_out("awkward sizes", {0, 1, 7, 64, 65, 16383, 16384, 16385, 40000, 0}, 64);
}

inline std::vector<SegmentLayout> segment_layouts() {
    std::vector<std::int64_t> tiny;
    for (std::int64_t i = 0; i < 150; ++i) tiny.push_back(i * i % 11);
    std::vector<SegmentLayout> layouts = {awkward_layout(),
                                          lay_out("one behind the other", {5, 1, 2, 1030, 7, 0, 16383, 9, 2048}, 1, 3),
                                          lay_out("many tiny ones", tiny, 1, 1),
                                          lay_out("whole chunks", {kSegmentChunk, 0, kSegmentChunk, 9}, 1),
                                          lay_out("one large one", {3 * kSegmentChunk + 24}, 1, 40),
                                          lay_out("nothing", {}, 1, 5)};
    // A gap of more than two chunks, and an end long before that of the buffers.
    layouts.push_back({"wide gaps", {{100, 20, 1}, {3 * kSegmentChunk - 1, 2, 1}}, 5 * kSegmentChunk});
    return layouts;
}

}  // namespace cloze::test
