#include "kernels/norm.h"

#include <algorithm>
#include <cmath>

#include "kernels/core/contract.h"
#include "kernels/core/device_body.h"
#include "kernels/core/lanes.h"

namespace cloze {
namespace {

// Longer chunks where a segment would have more of them.
constexpr std::int64_t kMostChunks = 1024;

template <typename T>
double sum_of_squares(const T* x, std::int64_t count, double* partial) {
    const std::int64_t per_chunk = std::max(kSegmentChunk, divide_up(count, kMostChunks));
    parallel_chunks(count, per_chunk, [&](std::int64_t first, std::int64_t last, std::int64_t chunk) {
        partial[chunk] = lane_sum<double>(last - first, [&](std::int64_t i) {
            const double value = static_cast<double>(static_cast<Arithmetic<T>>(x[first + i]));
            return value * value;
        });
    });
    double sum = 0;
    for (std::int64_t chunk = 0; chunk < divide_up(count, per_chunk); ++chunk) sum += partial[chunk];
    return sum;
}

Place check(const GradientNorm& a) {
    constexpr const char* op = "gradient_norm";
    require(a.state != nullptr, op, ": needs the address of a StepState");
    require(a.segment_count >= 0 && (a.segment_count == 0 || a.segments != nullptr), op, ": ", a.segment_count,
            " segments at no address");
    require(a.max_norm >= 0, op, ": max_norm is ", a.max_norm, "; use 0 for no clipping");
    require_floating(op, {"gradient", a.gradient});
    require_tensor({op, "gradient", a.gradient, 1, a.gradient.cols, a.gradient.dtype});
    require_tensor({op, "segment_square", a.segment_square, 1, a.segment_count, DType::f64});
    const std::int64_t partials = gradient_norm_scratch(a.gradient.cols, a.segment_count);
    require_tensor({op, "scratch", a.scratch, 1, partials, DType::f64, partials == 0});
    const Named gradient{"gradient", a.gradient}, square{"segment_square", a.segment_square},
        scratch{"scratch", a.scratch};
    require_apart(op, square, {gradient, scratch});
    require_apart(op, scratch, {gradient});
    const Place place = common_place(op, {gradient, square, scratch});
    if (place == Place::device) {
        require_vectors(op, {gradient});
    } else {
        require_segments(op, a.segments, a.segment_count, a.gradient.cols);
    }
    return place;
}

}  // namespace

void require_segments(const char* op, const Segment* segments, std::int64_t segment_count, std::int64_t elements) {
    std::int64_t end = 0;
    for (std::int64_t i = 0; i < segment_count; ++i) {
        const Segment& segment = segments[i];
        require(lies_within(segment.offset, segment.count, elements), op, ": segment ", i, " is ", segment.count,
                " elements from ", segment.offset, " on, of ", elements);
        require(segment.offset >= end, op, ": segment ", i, " starts at ", segment.offset, ", before the end ", end,
                " of the one before; segments ascend and lie apart");
        end = segment.offset + segment.count;
    }
}

void gradient_norm(const GradientNorm& a, [[maybe_unused]] Stream stream) {
    if (check(a) == Place::device) {
        if constexpr (kHasDevice) return device_code::gradient_norm(a, stream);
        fail_without_device("gradient_norm");
    }
    double sum = 0;
    double* partial = data_or_null<double>(a.scratch);
    visit_float(a.gradient.dtype, [&]<typename T>() {
        const T* gradient = data_or_null<T>(a.gradient);
        for (std::int64_t i = 0; i < a.segment_count; ++i) {
            const double square = sum_of_squares(gradient + a.segments[i].offset, a.segments[i].count, partial);
            a.segment_square.data<double>()[i] = square;
            sum += square;
        }
    });
    StepState& state = *a.state;
    state.gradient_norm = std::sqrt(sum);
    state.skip = std::isfinite(state.gradient_norm) ? 0 : 1;
    const bool clip = state.skip == 0 && a.max_norm > 0 && state.gradient_norm > a.max_norm;
    state.gradient_scale = clip ? a.max_norm / state.gradient_norm : 1;
}

std::int64_t gradient_norm_scratch(std::int64_t elements, std::int64_t segment_count) {
    return segment_slots(elements, segment_count) + divide_up(elements, kSegmentChunk);
}

Cost gradient_norm_cost(std::int64_t elements, DType dtype) {
    return {.bytes = elements * size_of(dtype), .flops = 2 * elements};
}

}  // namespace cloze
