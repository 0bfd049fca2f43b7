// Contract, and the definition and host path in one: a template on the type of the master weights. Segments follow each
// other; the chunks of one are shared among the threads.
#include "kernels/optimizer_update.h"

#include <cmath>

#include "kernels/core/contract.h"
#include "kernels/core/device_body.h"
#include "kernels/core/lanes.h"

namespace cloze {
namespace {

/// What the formulas need of recipe and step, in the arithmetic type.
template <typename T>
struct Coefficients {
    T gradient_scale, beta1, one_minus_beta1, beta2, one_minus_beta2;
    T inverse_correction1, inverse_correction2, epsilon, learning_rate;
};

template <typename T>
Coefficients<T> coefficients(const OptimizerUpdate& a) {
    const StepState& state = *a.state;
    return {.gradient_scale = static_cast<T>(state.gradient_scale),
            .beta1 = static_cast<T>(a.beta1),
            .one_minus_beta1 = static_cast<T>(1 - a.beta1),
            .beta2 = static_cast<T>(a.beta2),
            .one_minus_beta2 = static_cast<T>(1 - a.beta2),
            .inverse_correction1 = static_cast<T>(1 / state.bias_correction1),
            .inverse_correction2 = static_cast<T>(1 / state.bias_correction2),
            .epsilon = static_cast<T>(a.epsilon),
            .learning_rate = static_cast<T>(state.learning_rate)};
}

/// Elements [0, count) of one chunk in each of the flat buffers.
template <typename T>
struct Chunk {
    T* __restrict weight;
    T* __restrict m;
    T* __restrict v;
    const T* __restrict gradient;
    std::int64_t count;
};

template <typename T>
Chunk<T> chunk_at(const OptimizerUpdate& a, std::int64_t first, std::int64_t last) {
    return {.weight = a.weight.data<T>() + first,
            .m = a.m.data<T>() + first,
            .v = a.v.data<T>() + first,
            .gradient = a.gradient.data<T>() + first,
            .count = last - first};
}

template <typename T>
void update_moments(const Chunk<T>& chunk, const Coefficients<T>& k) {
#pragma omp simd
    for (std::int64_t i = 0; i < chunk.count; ++i) {
        const T g = chunk.gradient[i] * k.gradient_scale;
        chunk.m[i] = k.beta1 * chunk.m[i] + k.one_minus_beta1 * g;
        chunk.v[i] = k.beta2 * chunk.v[i] + k.one_minus_beta2 * g * g;
    }
}

/// u of the header.
template <typename T>
T direction(const Chunk<T>& chunk, const Coefficients<T>& k, T decay, std::int64_t i) {
    const T m = chunk.m[i] * k.inverse_correction1, v = chunk.v[i] * k.inverse_correction2;
    return m / (std::sqrt(v) + k.epsilon) + decay * chunk.weight[i];
}

template <typename T>
void move_weights(const Chunk<T>& chunk, const Coefficients<T>& k, T decay, T rate) {
#pragma omp simd
    for (std::int64_t i = 0; i < chunk.count; ++i) chunk.weight[i] -= rate * direction(chunk, k, decay, i);
}

/// Rounds the new weights of [first, last) into the working copy.
template <typename T>
void copy_working(const OptimizerUpdate& a, std::int64_t first, std::int64_t last) {
    if (!a.working) return;
    visit_float(a.working.dtype, [&]<typename Working>() {
        const T* weight = a.weight.data<T>();
        Working* working = a.working.data<Working>();
#pragma omp simd
        for (std::int64_t i = first; i < last; ++i) working[i] = static_cast<Working>(weight[i]);
    });
}

/// Runs body(chunk, first, last, index) over the chunks of a segment.
template <typename T, typename Body>
void for_chunks(const OptimizerUpdate& a, const Segment& segment, const Body& body) {
    parallel_chunks(segment.count, kSegmentChunk, [&](std::int64_t first, std::int64_t last, std::int64_t index) {
        first += segment.offset;
        last += segment.offset;
        body(chunk_at<T>(a, first, last), first, last, index);
    });
}

/// AdamW, and LAMB where it has no trust ratio.
template <typename T>
void update_plain(const OptimizerUpdate& a, const Coefficients<T>& k, const Segment& segment) {
    const T decay = segment.decay != 0 ? static_cast<T>(a.weight_decay) : T(0);
    for_chunks<T>(a, segment, [&](const Chunk<T>& chunk, std::int64_t first, std::int64_t last, std::int64_t) {
        update_moments(chunk, k);
        move_weights(chunk, k, decay, k.learning_rate);
        copy_working<T>(a, first, last);
    });
}

/// LAMB with its trust ratio; u is formed twice instead of stored.
template <typename T>
void update_trusted(const OptimizerUpdate& a, const Coefficients<T>& k, const Segment& segment, double* partial) {
    const T decay = static_cast<T>(a.weight_decay);
    for_chunks<T>(a, segment, [&](const Chunk<T>& chunk, std::int64_t, std::int64_t, std::int64_t index) {
        update_moments(chunk, k);
        partial[2 * index] = lane_sum<double>(chunk.count, [&](std::int64_t i) {
            const double w = static_cast<double>(chunk.weight[i]);
            return w * w;
        });
        partial[2 * index + 1] = lane_sum<double>(chunk.count, [&](std::int64_t i) {
            const double u = static_cast<double>(direction(chunk, k, decay, i));
            return u * u;
        });
    });
    double weight_square = 0, direction_square = 0;
    for (std::int64_t index = 0; index < divide_up(segment.count, kSegmentChunk); ++index) {
        weight_square += partial[2 * index];
        direction_square += partial[2 * index + 1];
    }
    const bool trusted = weight_square > 0 && direction_square > 0;
    const double ratio = trusted ? std::sqrt(weight_square) / std::sqrt(direction_square) : 1;
    const T rate = static_cast<T>(a.state->learning_rate * ratio);
    for_chunks<T>(a, segment, [&](const Chunk<T>& chunk, std::int64_t first, std::int64_t last, std::int64_t) {
        move_weights(chunk, k, decay, rate);
        copy_working<T>(a, first, last);
    });
}

template <typename T>
void run(const OptimizerUpdate& a) {
    const Coefficients<T> k = coefficients<T>(a);
    double* partial = a.kind == OptimizerKind::lamb ? data_or_null<double>(a.scratch) : nullptr;
    for (std::int64_t i = 0; i < a.segment_count; ++i) {
        const Segment& segment = a.segments[i];
        if (a.kind == OptimizerKind::lamb && segment.decay != 0) {
            update_trusted<T>(a, k, segment, partial);
        } else {
            update_plain<T>(a, k, segment);
        }
    }
}

Place check(const OptimizerUpdate& a) {
    constexpr const char* op = "optimizer_update";
    const std::int64_t elements = a.weight.cols;
    const DType dtype = a.weight.dtype;
    require(dtype == DType::f64 || dtype == DType::f32, op, ": weight is ", name_of(dtype),
            ", but master weights are f64 or f32");
    require_tensor({op, "weight", a.weight, 1, elements, dtype});
    require_floating(op, {"working", a.working});
    require_tensor({op, "working", a.working, 1, elements, a.working.dtype, true});
    require_tensor({op, "m", a.m, 1, elements, dtype});
    require_tensor({op, "v", a.v, 1, elements, dtype});
    require_tensor({op, "gradient", a.gradient, 1, elements, dtype});
    require(a.state != nullptr, op, ": needs the address of a StepState");
    require(a.segment_count >= 0 && (a.segment_count == 0 || a.segments != nullptr), op, ": ", a.segment_count,
            " segments at no address");
    require(a.beta1 >= 0 && a.beta1 < 1 && a.beta2 >= 0 && a.beta2 < 1, op, ": beta1 ", a.beta1, " and beta2 ", a.beta2,
            " must lie in [0, 1)");
    require(a.epsilon >= 0 && a.weight_decay >= 0, op, ": epsilon ", a.epsilon, " and weight_decay ", a.weight_decay,
            " must not be negative");
    const std::int64_t scratch = optimizer_update_scratch(a.kind, elements, a.segment_count);
    if (scratch > 0) require_tensor({op, "scratch", a.scratch, 1, scratch, DType::f64});
    const Named weight{"weight", a.weight}, working{"working", a.working}, m{"m", a.m}, v{"v", a.v},
        gradient{"gradient", a.gradient}, partial{"scratch", a.scratch};
    require_apart(op, weight, {working, m, v, gradient, partial});
    require_apart(op, m, {working, v, gradient, partial});
    require_apart(op, v, {working, gradient, partial});
    require_apart(op, working, {gradient, partial});
    require_apart(op, partial, {gradient});
    const Place place = common_place(op, {weight, working, m, v, gradient, partial});
    if (place == Place::device) {
        require_vectors(op, {weight, working, m, v, gradient});
    } else {
        require_segments(op, a.segments, a.segment_count, elements);
    }
    return place;
}

}  // namespace

void optimizer_update(const OptimizerUpdate& a, [[maybe_unused]] Stream stream) {
    if (check(a) == Place::device) {
        if constexpr (kHasDevice) {
            return a.kind == OptimizerKind::lamb ? device_code::lamb_update(a, stream)
                                                 : device_code::adamw_update(a, stream);
        }
        fail_without_device("optimizer_update");
    }
    if (a.state->skip != 0) return;
    if (a.weight.dtype == DType::f64) {
        run<double>(a);
    } else {
        run<float>(a);
    }
}

std::int64_t optimizer_update_scratch(OptimizerKind kind, std::int64_t elements, std::int64_t segment_count) {
    if (kind == OptimizerKind::adamw) return 0;
    return 2 * segment_slots(elements, segment_count) + segment_count;  // squares of weight and direction, and rates
}

Cost optimizer_update_cost(std::int64_t elements, OptimizerKind kind, bool working_copy) {
    // f32 masters: reads and writes weight and both moments, reads the gradient; LAMB reads weight and moments again.
    const std::int64_t floats = 7 + (kind == OptimizerKind::lamb ? 3 : 0);
    return {.bytes = elements * (4 * floats + (working_copy ? 2 : 0)),
            .flops = elements * (kind == OptimizerKind::lamb ? 26 : 15)};
}

}  // namespace cloze
