#include "kernels/bias_tanh.h"

#include "kernels/core/contract.h"
#include "kernels/core/device_body.h"
#include "kernels/core/host_math.h"
#include "kernels/core/lanes.h"

namespace cloze {

namespace {

Place check(const BiasTanhForward& a) {
    constexpr const char* op = "bias_tanh_forward";
    const std::int64_t rows = a.x.rows, cols = a.x.cols;
    const DType dtype = a.x.dtype;
    require_floating(op, {"x", a.x});
    require_tensor({op, "x", a.x, rows, cols, dtype});
    require_tensor({op, "y", a.y, rows, cols, dtype});
    require_tensor({op, "bias", a.bias, 1, cols, dtype});
    require_same_or_apart(op, {"y", a.y}, {"x", a.x});
    require_apart(op, {"y", a.y}, {{"bias", a.bias}});
    const Place place = common_place(op, {{"y", a.y}, {"x", a.x}, {"bias", a.bias}});
    if (place == Place::device) require_vectors(op, {{"y", a.y}, {"x", a.x}, {"bias", a.bias}});
    return place;
}

Place check(const BiasTanhBackward& a) {
    constexpr const char* op = "bias_tanh_backward";
    const std::int64_t rows = a.y.rows, cols = a.y.cols;
    const DType dtype = a.y.dtype, statistics = statistics_dtype(dtype);
    require_floating(op, {"y", a.y});
    require_tensor({op, "y", a.y, rows, cols, dtype});
    require_tensor({op, "dy", a.dy, rows, cols, dtype});
    require_tensor({op, "dx", a.dx, rows, cols, dtype});
    require_tensor({op, "dbias", a.dbias, 1, cols, statistics});
    require_tensor({op, "scratch", a.scratch, 1, bias_tanh_backward_scratch(rows, cols), statistics});
    require_same_or_apart(op, {"dx", a.dx}, {"dy", a.dy});
    require_apart(op, {"dx", a.dx}, {{"y", a.y}});
    require_apart(op, {"dbias", a.dbias}, {{"dx", a.dx}, {"dy", a.dy}, {"y", a.y}, {"scratch", a.scratch}});
    require_apart(op, {"scratch", a.scratch}, {{"dx", a.dx}, {"dy", a.dy}, {"y", a.y}});
    const Place place =
        common_place(op, {{"y", a.y}, {"dy", a.dy}, {"dx", a.dx}, {"dbias", a.dbias}, {"scratch", a.scratch}});
    if (place == Place::device) require_vectors(op, {{"y", a.y}, {"dy", a.dy}, {"dx", a.dx}});
    return place;
}

template <typename T>
void forward(const BiasTanhForward& a) {
    using A = Arithmetic<T>;
    const std::int64_t cols = a.x.cols;
    const T* bias = a.bias.data<T>();
    parallel_chunks(a.x.rows, kRowsPerChunk, [&](std::int64_t first, std::int64_t last, std::int64_t) {
        for (std::int64_t row = first; row < last; ++row) {
            const T* x = a.x.data<T>() + row * cols;
            T* y = a.y.data<T>() + row * cols;
#pragma omp simd
            for (std::int64_t c = 0; c < cols; ++c) {
                store(y[c], math::tanh(static_cast<A>(x[c]) + static_cast<A>(bias[c])));
            }
        }
    });
}

template <typename T>
void backward(const BiasTanhBackward& a) {
    using A = Arithmetic<T>;
    const std::int64_t cols = a.y.cols;
    const T* y = data_or_null<T>(a.y);
    const T* dy = data_or_null<T>(a.dy);
    T* dx = data_or_null<T>(a.dx);
    column_sums(a.dbias.data<A>(), data_or_null<A>(a.scratch), a.y.rows, cols, a.accumulate,
                [=](std::int64_t row, std::int64_t c) {
                    const std::int64_t i = row * cols + c;
                    const A value = static_cast<A>(y[i]);
                    const A gradient = static_cast<A>(dy[i]) * (1 - value * value);
                    store(dx[i], gradient);
                    return gradient;
                });
}

}  // namespace

void bias_tanh_forward(const BiasTanhForward& arguments, [[maybe_unused]] Stream stream) {
    if (check(arguments) == Place::device) {
        if constexpr (kHasDevice) return device_code::bias_tanh_forward(arguments, stream);
        fail_without_device("bias_tanh_forward");
    }
    visit_float(arguments.x.dtype, [&]<typename T>() { forward<T>(arguments); });
}

void bias_tanh_backward(const BiasTanhBackward& arguments, [[maybe_unused]] Stream stream) {
    if (check(arguments) == Place::device) {
        if constexpr (kHasDevice) return device_code::bias_tanh_backward(arguments, stream);
        fail_without_device("bias_tanh_backward");
    }
    visit_float(arguments.y.dtype, [&]<typename T>() { backward<T>(arguments); });
}

std::int64_t bias_tanh_backward_scratch(std::int64_t rows, std::int64_t cols) {
    return chunk_partials(rows, cols);
}

Cost bias_tanh_forward_cost(std::int64_t rows, std::int64_t cols, DType dtype) {
    return {(2 * rows * cols + cols) * size_of(dtype), 2 * rows * cols};
}

Cost bias_tanh_backward_cost(std::int64_t rows, std::int64_t cols, DType dtype) {
    return {3 * rows * cols * size_of(dtype) + cols * size_of(statistics_dtype(dtype)), 4 * rows * cols};
}

}  // namespace cloze
