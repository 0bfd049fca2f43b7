#include "kernels/norm.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "kernels/core/contract.h"
#include "kernels/core/lanes.h"

namespace cloze {
namespace {

// Chunks of at least this many elements; longer where a segment would have more than kMostChunks of them, so that
// their sums fit on the stack.
constexpr std::int64_t kLeastChunk = 16384;
constexpr std::int64_t kMostChunks = 1024;

template <typename T>
double sum_of_squares(const T* x, std::int64_t count) {
    const std::int64_t per_chunk = std::max(kLeastChunk, divide_up(count, kMostChunks));
    std::array<double, kMostChunks> partial;
    parallel_chunks(count, per_chunk, [&](std::int64_t first, std::int64_t last, std::int64_t chunk) {
        partial[static_cast<std::size_t>(chunk)] = lane_sum<double>(last - first, [&](std::int64_t i) {
            const double value = static_cast<double>(static_cast<Arithmetic<T>>(x[first + i]));
            return value * value;
        });
    });
    double sum = 0;
    for (std::int64_t chunk = 0; chunk < divide_up(count, per_chunk); ++chunk) {
        sum += partial[static_cast<std::size_t>(chunk)];
    }
    return sum;
}

void check(const GradientNorm& a) {
    constexpr const char* op = "gradient_norm";
    require(a.state != nullptr, op, ": needs the address of a StepState");
    require(a.segment_count >= 0 && (a.segment_count == 0 || a.segments != nullptr), op, ": ", a.segment_count,
            " segments at no address");
    require(a.max_norm >= 0, op, ": max_norm is ", a.max_norm, "; use 0 for no clipping");
    require_floating(op, {"gradient", a.gradient});
    require_tensor({op, "gradient", a.gradient, 1, a.gradient.cols, a.gradient.dtype});
    require_tensor({op, "segment_square", a.segment_square, 1, a.segment_count, DType::f64});
    for (std::int64_t i = 0; i < a.segment_count; ++i) {
        const Segment& segment = a.segments[i];
        require(segment.offset >= 0 && segment.count >= 0 && segment.offset + segment.count <= a.gradient.cols, op,
                ": segment ", i, " covers [", segment.offset, ", ", segment.offset + segment.count, ") of ",
                a.gradient.cols, " elements");
    }
    if (common_place(op, {{"gradient", a.gradient}, {"segment_square", a.segment_square}}) == Place::device) {
        fail_without_device(op);
    }
}

}  // namespace

void gradient_norm(const GradientNorm& a, Stream) {
    check(a);
    double sum = 0;
    visit_float(a.gradient.dtype, [&]<typename T>() {
        const T* gradient = data_or_null<T>(a.gradient);
        for (std::int64_t i = 0; i < a.segment_count; ++i) {
            const double square = sum_of_squares(gradient + a.segments[i].offset, a.segments[i].count);
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

Cost gradient_norm_cost(std::int64_t elements, DType dtype) {
    return {.bytes = elements * size_of(dtype), .flops = 2 * elements};
}

}  // namespace cloze
