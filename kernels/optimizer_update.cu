// AdamW and LAMB on a device. Bound by memory; bytes an element with a working copy in bf16:
//
//   AdamW   30   weight, both moments, gradient in; weight, both moments, copy out
//   LAMB    24   weight, both moments, gradient in; both moments out, and what the piece has of |w|^2 and |u|^2
//            0   a warp a segment: learning_rate * r
//           18   weight, both moments in; weight and copy out: u is formed again, since storing it would move 4 more
//
// At the 4.3 TB/s of an H200 an element of these passes may cost 200, 160 and 120 lane instructions. It costs 39, 39
// and 31 (counted in the code for sm_90a), correctly rounded square root and quotient included. LAMB's norms add exact
// squares in f64, as kernels/norm.cu does: two conversions an element, of which a multiprocessor makes at least 16 a
// clock, while memory brings one element.
//
// Blocks and the order of sums: kernels/segment_pieces.cuh. A thread has eight elements of each tensor in flight, 128
// bytes. Tested by tests/kernels/device/optimizer_update_test.cpp.
#include "kernels/core/contract.h"
#include "kernels/core/dtype.h"
#include "kernels/device/shared.h"
#include "kernels/optimizer_update.h"
#include "kernels/segment_pieces.cuh"

namespace cloze {

namespace {

constexpr int kSteps = 2;           // of a thread in flight
constexpr int kResidentBlocks = 4;  // of a multiprocessor: 128 KB in flight, four times what covers the way to memory
constexpr int kRateWarps = 8;

/// The recipe's constants, narrowed as the host narrows them.
struct Recipe {
    float beta1, one_minus_beta1, beta2, one_minus_beta2, epsilon, weight_decay;
};

template <typename Working>
struct Arguments {
    float* weight;
    Working* working;  // null: not wanted
    float* m;
    float* v;
    const float* gradient;
    const StepState* state;
    SegmentTable table;
    Recipe recipe;
};

/// Where LAMB's passes meet.
struct LambScratch {
    double* weight_square;     // [slots]
    double* direction_square;  // [slots]
    double* rate;              // [segments]
};

/// Recipe and step.
struct Coefficients {
    Recipe recipe;
    float gradient_scale, inverse_correction1, inverse_correction2;

    __device__ Coefficients(const Recipe& of_run, const StepState& state)
        : recipe(of_run),
          gradient_scale(static_cast<float>(state.gradient_scale)),
          inverse_correction1(static_cast<float>(1 / state.bias_correction1)),
          inverse_correction2(static_cast<float>(1 / state.bias_correction2)) {}
    __device__ float decay(const Piece& piece) const { return piece.decay ? recipe.weight_decay : 0.0f; }
};

/// What a thread holds of a step.
struct Quad {
    Floats4 weight, m, v, gradient;
};

__device__ void update_moments(Quad& quad, const Coefficients& k) {
    const Recipe& r = k.recipe;
#pragma unroll
    for (int i = 0; i < kQuad; ++i) {
        const float g = quad.gradient[i] * k.gradient_scale;
        quad.m[i] = r.beta1 * quad.m[i] + r.one_minus_beta1 * g;
        quad.v[i] = r.beta2 * quad.v[i] + r.one_minus_beta2 * g * g;
    }
}

/// u of kernels/optimizer_update.h.
__device__ Floats4 direction(const Quad& quad, const Coefficients& k, float decay) {
    Floats4 u;
#pragma unroll
    for (int i = 0; i < kQuad; ++i) {
        const float m = quad.m[i] * k.inverse_correction1, v = quad.v[i] * k.inverse_correction2;
        u[i] = m / (sqrtf(v) + k.recipe.epsilon) + decay * quad.weight[i];
    }
    return u;
}

/// Weight and moments, and the gradient where the moments move.
template <bool moments_move, typename Working, typename QuadAt>
__device__ void load(Quad (&quad)[kSteps], const Arguments<Working>& a, std::int64_t first, const QuadAt& quad_at) {
#pragma unroll
    for (int step = 0; step < kSteps; ++step) {
        const std::int64_t at = first + step * kSegmentStep;
        quad[step].weight = load_quad(a.weight + at, quad_at(at));
        quad[step].m = load_quad(a.m + at, quad_at(at));
        quad[step].v = load_quad(a.v + at, quad_at(at));
        if constexpr (moments_move) quad[step].gradient = load_quad(a.gradient + at, quad_at(at));
    }
}

template <typename Working, typename Part>
__device__ void store_moments(const Quad& quad, const Arguments<Working>& a, std::int64_t at, Part part) {
    store_quad(a.m + at, quad.m, part);
    store_quad(a.v + at, quad.v, part);
}

template <typename Working, typename Part>
__device__ void move_weights(Quad& quad, const Floats4& u, float rate, const Arguments<Working>& a, std::int64_t at,
                             Part part) {
#pragma unroll
    for (int i = 0; i < kQuad; ++i) quad.weight[i] -= rate * u[i];
    store_quad(a.weight + at, quad.weight, part);
    if (a.working != nullptr) store_quad(a.working + at, quad.weight, part);
}

template <typename Working>
__global__ void __launch_bounds__(kSegmentThreads, kResidentBlocks) adamw_kernel(Arguments<Working> a) {
    if (a.state->skip != 0) return;
    const Coefficients k(a.recipe, *a.state);
    const float rate = static_cast<float>(a.state->learning_rate);
    for_pieces(a.table, [&](const Piece& piece) {
        for_steps<kSteps>(piece, [&](std::int64_t first, const auto& quad_at) {
            Quad quad[kSteps];
            load<true>(quad, a, first, quad_at);
#pragma unroll
            for (int step = 0; step < kSteps; ++step) {
                const std::int64_t at = first + step * kSegmentStep;
                update_moments(quad[step], k);
                store_moments(quad[step], a, at, quad_at(at));
                move_weights(quad[step], direction(quad[step], k, k.decay(piece)), rate, a, at, quad_at(at));
            }
        });
    });
}

/// Squares of a quad's weights and directions, added.
struct LambSums {
    double weight = 0;
    double direction = 0;

    template <typename Part>
    __device__ void add(const Quad& quad, const Floats4& u, Part part) {
#pragma unroll
        for (int i = 0; i < kQuad; ++i) {
            const double w = static_cast<double>(quad.weight[i]);
            weight += w * w;
            // Outside of the piece all is zero, and u is 0/0 where epsilon is 0.
            const double length = part.has(i) ? static_cast<double>(u[i]) : 0.0;
            direction += length * length;
        }
    }
};

__global__ void __launch_bounds__(kSegmentThreads, kResidentBlocks)
    lamb_moments_kernel(Arguments<float> a, LambScratch to) {
    if (a.state->skip != 0) return;
    SharedArena arena;
    double* weight_scratch = arena.take<double>(kBlockSumDoubles);
    double* direction_scratch = arena.take<double>(kBlockSumDoubles);
    const Coefficients k(a.recipe, *a.state);
    for_pieces(a.table, [&](const Piece& piece) {
        LambSums sums;
        for_steps<kSteps>(piece, [&](std::int64_t first, const auto& quad_at) {
            Quad quad[kSteps];
            load<true>(quad, a, first, quad_at);
#pragma unroll
            for (int step = 0; step < kSteps; ++step) {
                const std::int64_t at = first + step * kSegmentStep;
                update_moments(quad[step], k);
                store_moments(quad[step], a, at, quad_at(at));
                sums.add(quad[step], direction(quad[step], k, k.decay(piece)), quad_at(at));
            }
        });
        // Each scratch is used again only after the barrier of the other, when it has been read.
        const double weight_square = block_sum(sums.weight, weight_scratch);
        const double direction_square = block_sum(sums.direction, direction_scratch);
        if (thread_index() == 0) {
            to.weight_square[piece.slot] = weight_square;
            to.direction_square[piece.slot] = direction_square;
        }
    });
}

/// learning_rate * r of each segment, narrowed to f32. A warp a segment.
__global__ void __launch_bounds__(kRateWarps* kWarpThreads)
    lamb_rate_kernel(LambScratch scratch, SegmentTable table, const StepState* state) {
    const std::int64_t i = block_x() * kRateWarps + warp_index();
    if (i >= table.count || state->skip != 0) return;
    const double weight_square = segment_sum(scratch.weight_square, table, i);
    const double direction_square = segment_sum(scratch.direction_square, table, i);
    if (lane_index() != 0) return;
    const bool trusted = table.segment[i].decay != 0 && weight_square > 0 && direction_square > 0;
    const double ratio = trusted ? sqrt(weight_square) / sqrt(direction_square) : 1.0;
    scratch.rate[i] = static_cast<double>(static_cast<float>(state->learning_rate * ratio));
}

template <typename Working>
__global__ void __launch_bounds__(kSegmentThreads, kResidentBlocks)
    lamb_weights_kernel(Arguments<Working> a, LambScratch from) {
    if (a.state->skip != 0) return;
    const Coefficients k(a.recipe, *a.state);
    for_pieces(a.table, [&](const Piece& piece) {
        const float rate = static_cast<float>(from.rate[piece.segment]);
        for_steps<kSteps>(piece, [&](std::int64_t first, const auto& quad_at) {
            Quad quad[kSteps];
            load<false>(quad, a, first, quad_at);
#pragma unroll
            for (int step = 0; step < kSteps; ++step) {
                const std::int64_t at = first + step * kSegmentStep;
                move_weights(quad[step], direction(quad[step], k, k.decay(piece)), rate, a, at, quad_at(at));
            }
        });
    });
}

template <typename Working>
Arguments<Working> arguments_of(const OptimizerUpdate& a, Working* working) {
    return {.weight = a.weight.data<float>(),
            .working = working,
            .m = a.m.data<float>(),
            .v = a.v.data<float>(),
            .gradient = a.gradient.data<float>(),
            .state = a.state,
            .table = {a.segments, a.segment_count},
            .recipe = {.beta1 = static_cast<float>(a.beta1),
                       .one_minus_beta1 = static_cast<float>(1 - a.beta1),
                       .beta2 = static_cast<float>(a.beta2),
                       .one_minus_beta2 = static_cast<float>(1 - a.beta2),
                       .epsilon = static_cast<float>(a.epsilon),
                       .weight_decay = static_cast<float>(a.weight_decay)}};
}

/// Calls body(working) with the working copy's elements, floats at no address where there is none.
template <typename Body>
void visit_working(const Tensor& working, const Body& body) {
    if (!working) return body(static_cast<float*>(nullptr));
    working.dtype == DType::bf16 ? body(working.data<bf16>()) : body(working.data<float>());
}

}  // namespace

namespace device_code {

void adamw_update(const OptimizerUpdate& a, Stream stream) {
    visit_working(a.working, [&]<typename Working>(Working* working) {
        launch("optimizer_update", adamw_kernel<Working>, segment_launch(a.weight.cols), stream,
               arguments_of(a, working));
    });
}

void lamb_update(const OptimizerUpdate& a, Stream stream) {
    const std::int64_t slots = segment_slots(a.weight.cols, a.segment_count);
    double* sums = data_or_null<double>(a.scratch);
    const LambScratch scratch{sums, sums + slots, sums + 2 * slots};
    const int shared_bytes = SharedSize().take<double>(kBlockSumDoubles).take<double>(kBlockSumDoubles).bytes();
    launch("optimizer_update", lamb_moments_kernel, segment_launch(a.weight.cols, shared_bytes), stream,
           arguments_of<float>(a, nullptr), scratch);
    launch("optimizer_update", lamb_rate_kernel,
           {.grid = {.x = divide_up(a.segment_count, kRateWarps)}, .threads = kRateWarps * kWarpThreads}, stream,
           scratch, SegmentTable{a.segments, a.segment_count}, a.state);
    visit_working(a.working, [&]<typename Working>(Working* working) {
        launch("optimizer_update", lamb_weights_kernel<Working>, segment_launch(a.weight.cols), stream,
               arguments_of(a, working), scratch);
    });
}

}  // namespace device_code

}  // namespace cloze
