// bias + dropout + residual + LayerNorm on a device. Bound by memory: in bf16 both directions move 8 bytes an element,
// so on an H200 (4.2 TB/s, 33 T lane instructions/s) an element may cost 65 instructions. It costs 38 and 34, of which
// the mask is 8. The kernels are those of kernels/normalized_rows.cuh; here stands what layer_norm does before the norm
// and after it.
//
// Tested by tests/kernels/device/layer_norm_test.cpp.
#include "kernels/chunk_sums.h"
#include "kernels/core/dtype.h"
#include "kernels/layer_norm.h"
#include "kernels/normalized_rows.cuh"

namespace cloze {

namespace {

template <typename T>
struct ForwardOp {
    using Element = T;
    static constexpr int kInputs = 2;  // x, residual
    static constexpr bool kMasksInput = true;

    struct RowIds {};

    normalized_rows::Forward<T> norm;  // sum may be x: each thread reads an element before it writes it
    const T* x;
    const T* bias;
    const T* residual;

    /// False where x lies in its place and nothing changes it.
    __device__ bool keeps_sum() const {
        return norm.sum != x || bias != nullptr || residual != nullptr || norm.mask.threshold != 0;
    }
    __device__ RowIds ids_of(std::int64_t) const { return {}; }
    __device__ bool has(int input) const { return input == 0 || residual != nullptr; }
    __device__ const T* row_of(int input, std::int64_t row, RowIds) const {
        return (input == 0 ? x : residual) + row * norm.hidden;
    }
    __device__ Floats8 combine(const Floats8 (&in)[kInputs], const HiddenMaskDraw& mask, const PhiloxBits& bits,
                               int column, bool active) const {
        const Floats8 added = load8_or_zero(active && bias != nullptr, bias + column);
        Floats8 sum;
#pragma unroll
        for (int i = 0; i < 8; ++i) sum[i] = mask.apply_and_add(bits, i, in[0][i] + added[i], in[1][i]);
        return sum;
    }
    __device__ void leave(Floats8&, const HiddenMaskDraw&, const PhiloxBits&) const {}
};

template <typename T>
struct BackwardOp {
    using Element = T;
    static constexpr int kSums = 3;  // dgamma, dbeta, dbias
    static constexpr bool kMasksInput = false;

    normalized_rows::Backward<T> norm;
    T* dx;  // it or dresidual may be dy: each thread reads an element before it writes it
    T* dresidual;

    __device__ std::int64_t used_rows() const { return norm.rows; }
    __device__ void enter(Floats8&, const HiddenMaskDraw&, const PhiloxBits&) const {}
    __device__ void leave(Floats8 gradient, Floats8 (&sums)[kSums], const HiddenMaskDraw& mask, const PhiloxBits& bits,
                          bool wanted, std::int64_t row, int column) const {
        if (wanted && dresidual != nullptr) store8(dresidual + row * norm.hidden + column, gradient);
#pragma unroll
        for (int i = 0; i < 8; ++i) gradient[i] = mask.apply(bits, i, gradient[i]);
        normalized_rows::add(sums[2], gradient);
        if (wanted) store8(dx + row * norm.hidden + column, gradient);
    }
};

}  // namespace

namespace device_code {

void layer_norm_forward(const LayerNormForward& a, Stream stream) {
    const auto start = [&]<typename T>() {
        normalized_rows::launch_forward("layer_norm_forward",
                                        ForwardOp<T>{.norm = {.y = a.y.data<T>(),
                                                              .sum = a.sum.data<T>(),
                                                              .mean = a.mean.data<float>(),
                                                              .rstd = a.rstd.data<float>(),
                                                              .gamma = a.gamma.data<T>(),
                                                              .beta = a.beta.data<T>(),
                                                              .rows = a.x.rows,
                                                              .hidden = a.x.cols,
                                                              .inverse_hidden = 1.0f / static_cast<float>(a.x.cols),
                                                              .epsilon = static_cast<float>(a.epsilon),
                                                              .mask = hidden_mask_arguments(a.dropout)},
                                                     .x = a.x.data<T>(),
                                                     .bias = a.bias ? a.bias.data<T>() : nullptr,
                                                     .residual = a.residual ? a.residual.data<T>() : nullptr},
                                        stream);
    };
    a.x.dtype == DType::bf16 ? start.template operator()<bf16>() : start.template operator()<float>();
}

void layer_norm_backward(const LayerNormBackward& a, Stream stream) {
    const int rows_of_block = normalized_rows::backward_rows(a.dy.rows);
    const auto start = [&]<typename T>() {
        normalized_rows::launch_backward("layer_norm_backward",
                                         BackwardOp<T>{.norm = {.partial = a.scratch.data<float>(),
                                                                .dy = a.dy.data<T>(),
                                                                .sum = a.sum.data<T>(),
                                                                .mean = a.mean.data<float>(),
                                                                .rstd = a.rstd.data<float>(),
                                                                .gamma = a.gamma.data<T>(),
                                                                .rows = a.dy.rows,
                                                                .hidden = a.dy.cols,
                                                                .inverse_hidden = 1.0f / static_cast<float>(a.dy.cols),
                                                                .rows_of_block = rows_of_block,
                                                                .mask = hidden_mask_arguments(a.dropout)},
                                                       .dx = a.dx.data<T>(),
                                                       .dresidual = a.dresidual ? a.dresidual.data<T>() : nullptr},
                                         stream);
    };
    a.dy.dtype == DType::bf16 ? start.template operator()<bf16>() : start.template operator()<float>();
    sum_chunks({.op = "layer_norm_backward",
                .sums = {a.dgamma.data<float>(), a.dbeta.data<float>(), a.dbias ? a.dbias.data<float>() : nullptr},
                .partial = a.scratch.data<float>(),
                .chunks = divide_up(a.dy.rows, rows_of_block),
                .stride = BackwardOp<float>::kSums * a.dy.cols,
                .cols = a.dy.cols,
                .accumulate = a.accumulate},
               stream);
}

}  // namespace device_code

}  // namespace cloze
