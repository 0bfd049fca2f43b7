// bias + dropout + residual + LayerNorm on a device. Bound by memory: in bf16 both directions move 8 bytes an element,
// so on an H100 (3.35 TB/s, 29 T lane instructions/s) an element may cost 69 instructions. By estimate it costs 20 to
// 30, of which the mask is 5 to 10. The kernels are those of kernels/normalized_rows.cuh; here stands what layer_norm
// does before the norm and after it.
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
    using Addend = Floats8;  // of the residual

    normalized_rows::Forward<T> norm;  // sum may be x: each thread reads an element before it writes it
    const T* x;
    const T* bias;
    const T* residual;

    __device__ void load(Floats8& to, Addend& addend, std::int64_t row, std::int64_t column, bool wanted) const {
        to = load8_or_zero(wanted, x + row * norm.hidden + column, Cache::stream);
        addend = load8_or_zero(wanted && residual != nullptr, residual + row * norm.hidden + column, Cache::stream);
    }
    __device__ void add(Floats8& to, const Addend& addend, std::int64_t row, std::int64_t column) const {
        if (bias != nullptr) normalized_rows::add(to, load8(bias + column));
        apply_hidden_mask(to, norm.mask, row, column);
        normalized_rows::add(to, addend);
    }
    __device__ void leave(Floats8&, std::int64_t, std::int64_t) const {}
};

template <typename T>
struct BackwardOp {
    using Element = T;
    static constexpr int kSums = 3;  // dgamma, dbeta, dbias

    normalized_rows::Backward<T> norm;
    T* dx;  // it or dresidual may be dy: each thread reads an element before it writes it
    T* dresidual;

    __device__ std::int64_t used_rows() const { return norm.rows; }
    __device__ void enter(Floats8&, std::int64_t, std::int64_t) const {}
    __device__ void leave(Floats8 gradient, Floats8 (&sums)[kSums], std::int64_t row, std::int64_t column) const {
        if (dresidual != nullptr) store8(dresidual + row * norm.hidden + column, gradient);
        apply_hidden_mask(gradient, norm.mask, row, column);
        normalized_rows::add(sums[2], gradient);
        store8(dx + row * norm.hidden + column, gradient);
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
                                                                .mask = hidden_mask_arguments(a.dropout)},
                                                       .dx = a.dx.data<T>(),
                                                       .dresidual = a.dresidual ? a.dresidual.data<T>() : nullptr},
                                         stream);
    };
    a.dy.dtype == DType::bf16 ? start.template operator()<bf16>() : start.template operator()<float>();
    sum_chunks({.op = "layer_norm_backward",
                .sums = {a.dgamma.data<float>(), a.dbeta.data<float>(), a.dbias ? a.dbias.data<float>() : nullptr},
                .partial = a.scratch.data<float>(),
                .chunks = divide_up(a.dy.rows, kRowsPerChunk),
                .stride = BackwardOp<float>::kSums * a.dy.cols,
                .cols = a.dy.cols,
                .accumulate = a.accumulate},
               stream);
}

}  // namespace device_code

}  // namespace cloze
