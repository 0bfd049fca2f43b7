// bias + GELU on a device. Bound by memory: forward moves 4 bytes an element in bf16, backward 6, so on an H100 (3.35
// TB/s, 29 T lane instructions/s) an element may cost 34 and 51 instructions before arithmetic counts. It costs 24
// and 30 at most, because both forms are written on one exponential and one reciprocal, forward and slope sharing them.
//
// Forward goes through the matrix in the order of memory: a block takes 1,024 columns of four rows, a thread one vector
// of each, all four loaded before the first is used. Backward needs column sums, so it goes by the blocks of
// kernels/device/column_block.h: a lane keeps the bias of its 8 columns in registers, and sums dx of its rows there.
// The sums cost 1/64 of the traffic of dx in f32.
//
// Tested by tests/kernels/device/bias_gelu_test.cpp.
#include "kernels/bias_gelu.h"
#include "kernels/chunk_sums.h"
#include "kernels/core/dtype.h"
#include "kernels/core/launch.h"
#include "kernels/device/column_block.h"
#include "kernels/device/math.h"

namespace cloze {

namespace {

/// u Phi(u) and Phi(u) + u phi(u), with the tail Q(|u|) = 1 - Phi(|u|) = t e^(-u^2/2) P(t), t = 1 / (1 + 0.27 |u|): P
/// is of degree 8, fitted to a relative error of 3e-8 as far as the exponential is not zero. So y keeps its relative
/// accuracy where it is small, which u (1 + erf(u / sqrt 2)) / 2 loses; and the exponential is that of phi.
struct ErfForm {
    struct Parts {
        float cdf;    // Phi(u)
        float gauss;  // e^(-u^2/2)
    };
    __device__ static Parts parts(float u) {
        const float gauss = fast_exp2(u * u * -0.72134752f);
        const float t = fast_reciprocal(fmaf(fabsf(u), 0.27f, 1.0f));
        float p = 0.028836212f;
        p = fmaf(p, t, -0.125996417f);
        p = fmaf(p, t, 0.169017423f);
        p = fmaf(p, t, -0.0686041688f);
        p = fmaf(p, t, 0.107588249f);
        p = fmaf(p, t, 0.0720781193f);
        p = fmaf(p, t, 0.101820124f);
        p = fmaf(p, t, 0.107539508f);
        p = fmaf(p, t, 0.107720951f);
        const float tail = t * gauss * p;
        return {u < 0 ? tail : 1.0f - tail, gauss};
    }
    __device__ static float value(float u) { return u * parts(u).cdf; }
    __device__ static float slope(float u) {
        const Parts p = parts(u);
        return fmaf(u * 0.398942280f, p.gauss, p.cdf);
    }
};

/// u (1 + tanh v) / 2 = u s(2 v) with the logistic s: no difference of nearly equal numbers. 2 v is computed as a power
/// of two. high = s(|2 v|) and low = 1 - high are both right to their last places.
struct TanhForm {
    struct Parts {
        float high, low;
    };
    /// 2 v log2(e)
    __device__ static float exponent(float u) { return u * fmaf(0.10294324f, u * u, 2.30220819f); }
    __device__ static Parts parts(float u) {
        const float e = fast_exp2(-fabsf(exponent(u)));
        const float high = fast_reciprocal(1.0f + e);
        return {high, e * high};
    }
    __device__ static float value(float u) { return u * fast_reciprocal(1.0f + fast_exp2(-exponent(u))); }
    // s + u s (1 - s) times the slope of 2 v. Far out low is exactly 0 while that slope may overflow; bounding u keeps
    // their product 0.
    __device__ static float slope(float u) {
        const Parts p = parts(u);
        const float bounded = fminf(fmaxf(u, -30.0f), 30.0f);
        const float inner = 1.59576912f * fmaf(3 * 0.044715f * bounded, bounded, 1.0f);
        return fmaf(bounded * inner, p.high * p.low, u < 0 ? p.low : p.high);
    }
};

constexpr int kForwardThreads = 128;
constexpr int kForwardRows = 4;
constexpr int kForwardColumns = kForwardThreads * kLaneColumns;  // 1,024

/// Block b takes kForwardRows rows of piece b % pieces of kForwardColumns columns.
template <typename T, typename Form>
__global__ void __launch_bounds__(kForwardThreads)
    forward_kernel(T* __restrict__ y, const T* __restrict__ x, const T* __restrict__ bias, ColumnShape shape,
                   std::uint32_t pieces) {
    const std::uint32_t block = static_cast<std::uint32_t>(block_x()), rows_before = block / pieces;
    const std::int64_t column = (block - rows_before * pieces) * kForwardColumns + thread_index() * kLaneColumns;
    if (column >= shape.cols) return;
    const std::int64_t first_row = static_cast<std::int64_t>(rows_before) * kForwardRows;
    const Floats8 b = load8(bias + column);
    Floats8 u[kForwardRows];
#pragma unroll
    for (int k = 0; k < kForwardRows; ++k) {
        u[k] = load8_or_zero(first_row + k < shape.rows, x + (first_row + k) * shape.cols + column, Cache::stream);
    }
#pragma unroll
    for (int k = 0; k < kForwardRows; ++k) {
        if (first_row + k >= shape.rows) return;
#pragma unroll
        for (int i = 0; i < kLaneColumns; ++i) u[k][i] = Form::value(u[k][i] + b[i]);
        store8(y + (first_row + k) * shape.cols + column, u[k], Cache::stream);
    }
}

// dx may be dy: each thread reads an element before it writes it.
template <typename T, typename Form>
__global__ void __launch_bounds__(kColumnBlockThreads)
    backward_kernel(T* dx, float* __restrict__ partial, const T* dy, const T* __restrict__ x,
                    const T* __restrict__ bias, ColumnShape shape) {
    const ColumnShare share(shape);
    Floats8 sum = {};
    if (share.column < shape.cols) {
        const Floats8 b = load8(bias + share.column);
        RowsInFlight<T, 2> rows(share, shape.cols, {x, dy});
        T* to = dx + share.first_row * shape.cols + share.column;
        for (int k = 0; k < rows.count(); ++k, to += kColumnBlockWarps * shape.cols) {
            Floats8 taken[2];
            rows.take(k, taken);
            const Floats8 u = taken[0];
            Floats8 gradient = taken[1];
#pragma unroll
            for (int i = 0; i < kLaneColumns; ++i) {
                gradient[i] *= Form::slope(u[i] + b[i]);
                sum[i] += gradient[i];
            }
            store8(to, gradient, Cache::stream);
        }
    }
    write_column_partial(partial, sum, shape);
}

/// Calls body.operator()<T, Form>() for the storage type and the form.
template <typename Body>
void visit(DType dtype, Gelu form, const Body& body) {
    if (dtype == DType::bf16) {
        form == Gelu::erf ? body.template operator()<bf16, ErfForm>() : body.template operator()<bf16, TanhForm>();
    } else {
        form == Gelu::erf ? body.template operator()<float, ErfForm>() : body.template operator()<float, TanhForm>();
    }
}

}  // namespace

namespace device_code {

void bias_gelu_forward(const BiasGeluForward& a, Stream stream) {
    const ColumnShape shape{a.x.rows, a.x.cols};
    const std::int64_t pieces = divide_up(shape.cols, kForwardColumns);
    visit(a.x.dtype, a.form, [&]<typename T, typename Form>() {
        launch("bias_gelu_forward", forward_kernel<T, Form>,
               {.grid = {.x = divide_up(shape.rows, kForwardRows) * pieces}, .threads = kForwardThreads}, stream,
               a.y.data<T>(), a.x.data<T>(), a.bias.data<T>(), shape, static_cast<std::uint32_t>(pieces));
    });
}

void bias_gelu_backward(const BiasGeluBackward& a, Stream stream) {
    const ColumnShape shape{a.x.rows, a.x.cols};
    visit(a.x.dtype, a.form, [&]<typename T, typename Form>() {
        launch("bias_gelu_backward", backward_kernel<T, Form>, column_partial_launch<T>(shape, 2), stream,
               a.dx.data<T>(), a.scratch.data<float>(), a.dy.data<T>(), a.x.data<T>(), a.bias.data<T>(), shape);
    });
    sum_chunks({.op = "bias_gelu_backward",
                .sums = {a.dbias.data<float>()},
                .partial = a.scratch.data<float>(),
                .chunks = divide_up(shape.rows, kRowsPerChunk),
                .stride = shape.cols,
                .cols = shape.cols,
                .accumulate = a.accumulate},
               stream);
}

}  // namespace device_code

}  // namespace cloze
