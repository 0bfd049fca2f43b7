#include "kernels/bias_gelu.h"

#include "kernels/core/contract.h"
#include "kernels/core/device_body.h"
#include "kernels/core/host_math.h"
#include "kernels/core/lanes.h"

namespace cloze {

namespace {

Place check(const BiasGeluForward& a) {
    constexpr const char* op = "bias_gelu_forward";
    const std::int64_t rows = a.x.rows, cols = a.x.cols;
    const DType dtype = a.x.dtype;
    require_tensor({op, "x", a.x, rows, cols, dtype});
    require_tensor({op, "y", a.y, rows, cols, dtype});
    require_tensor({op, "bias", a.bias, 1, cols, dtype});
    require_apart(op, {"y", a.y}, {{"x", a.x}, {"bias", a.bias}});
    const Place place = common_place(op, {{"y", a.y}, {"x", a.x}, {"bias", a.bias}});
    if (place == Place::device) require_vectors(op, {{"y", a.y}, {"x", a.x}, {"bias", a.bias}});
    return place;
}

Place check(const BiasGeluBackward& a) {
    constexpr const char* op = "bias_gelu_backward";
    const std::int64_t rows = a.x.rows, cols = a.x.cols;
    const DType dtype = a.x.dtype, statistics = statistics_dtype(dtype);
    require_tensor({op, "x", a.x, rows, cols, dtype});
    require_tensor({op, "bias", a.bias, 1, cols, dtype});
    require_tensor({op, "dy", a.dy, rows, cols, dtype});
    require_tensor({op, "dx", a.dx, rows, cols, dtype});
    require_tensor({op, "dbias", a.dbias, 1, cols, statistics});
    require_tensor({op, "scratch", a.scratch, 1, bias_gelu_backward_scratch(rows, cols), statistics});
    const Named x{"x", a.x}, bias{"bias", a.bias}, dy{"dy", a.dy}, dx{"dx", a.dx}, dbias{"dbias", a.dbias},
        scratch{"scratch", a.scratch};
    require_same_or_apart(op, dx, dy);
    require_apart(op, dx, {x, bias});
    require_apart(op, dbias, {dx, dy, x, bias, scratch});
    require_apart(op, scratch, {dx, dy, x, bias});
    const Place place = common_place(op, {x, bias, dy, dx, dbias, scratch});
    if (place == Place::device) require_vectors(op, {x, bias, dy, dx, dbias, scratch});
    return place;
}

template <typename A>
constexpr A kInverseSqrt2 = static_cast<A>(0.70710678118654752440);
template <typename A>
constexpr A kInverseSqrt2Pi = static_cast<A>(0.39894228040143267794);
template <typename A>
constexpr A kSqrt2OverPi = static_cast<A>(0.79788456080286535588);
template <typename A>
constexpr A kCubic = static_cast<A>(0.044715);

struct ErfGelu {
    template <typename A>
    static A value(A u) {
        return u * (A(0.5) + A(0.5) * math::erf(u * kInverseSqrt2<A>));
    }
    // Phi(u) + u phi(u)
    template <typename A>
    static A slope(A u) {
        const A density = kInverseSqrt2Pi<A> * math::exp(A(-0.5) * u * u);
        return A(0.5) + A(0.5) * math::erf(u * kInverseSqrt2<A>) + u * density;
    }
};

struct TanhGelu {
    template <typename A>
    static A value(A u) {
        return A(0.5) * u * (1 + math::tanh(kSqrt2OverPi<A> * u * (1 + kCubic<A> * u * u)));
    }
    // (1 + t) / 2 + u / 2 (1 - t^2) times the slope of the argument. Far out 1 - t^2 is exactly 0 while the slope may
    // overflow; bounding u keeps their product 0.
    template <typename A>
    static A slope(A u) {
        const A bounded = u > A(30) ? A(30) : u < A(-30) ? A(-30) : u;
        const A square = bounded * bounded;
        const A t = math::tanh(kSqrt2OverPi<A> * bounded * (1 + kCubic<A> * square));
        const A inner = kSqrt2OverPi<A> * (1 + 3 * kCubic<A> * square);
        return A(0.5) * (1 + t) + A(0.5) * bounded * (1 - t * t) * inner;
    }
};

template <typename T, typename Form>
void forward(const BiasGeluForward& a) {
    using A = Arithmetic<T>;
    const std::int64_t cols = a.x.cols;
    const T* bias = a.bias.data<T>();
    parallel_chunks(a.x.rows, kRowsPerChunk, [&](std::int64_t first, std::int64_t last, std::int64_t) {
        for (std::int64_t row = first; row < last; ++row) {
            const T* x = a.x.data<T>() + row * cols;
            T* y = a.y.data<T>() + row * cols;
#pragma omp simd
            for (std::int64_t c = 0; c < cols; ++c) {
                store(y[c], Form::value(static_cast<A>(x[c]) + static_cast<A>(bias[c])));
            }
        }
    });
}

template <typename T, typename Form>
void backward(const BiasGeluBackward& a) {
    using A = Arithmetic<T>;
    const std::int64_t cols = a.x.cols;
    const T* x = data_or_null<T>(a.x);
    const T* bias = data_or_null<T>(a.bias);
    const T* dy = data_or_null<T>(a.dy);
    T* dx = data_or_null<T>(a.dx);
    column_sums(a.dbias.data<A>(), data_or_null<A>(a.scratch), a.x.rows, cols, a.accumulate,
                [=](std::int64_t row, std::int64_t c) {
                    const std::int64_t i = row * cols + c;
                    const A u = static_cast<A>(x[i]) + static_cast<A>(bias[c]);
                    const A gradient = static_cast<A>(dy[i]) * Form::slope(u);
                    store(dx[i], gradient);
                    return gradient;
                });
}

}  // namespace

void bias_gelu_forward(const BiasGeluForward& arguments, [[maybe_unused]] Stream stream) {
    if (check(arguments) == Place::device) {
        if constexpr (kHasDevice) return device_code::bias_gelu_forward(arguments, stream);
        fail_without_device("bias_gelu_forward");
    }
    visit_float(arguments.x.dtype, [&]<typename T>() {
        arguments.form == Gelu::erf ? forward<T, ErfGelu>(arguments) : forward<T, TanhGelu>(arguments);
    });
}

void bias_gelu_backward(const BiasGeluBackward& arguments, [[maybe_unused]] Stream stream) {
    if (check(arguments) == Place::device) {
        if constexpr (kHasDevice) return device_code::bias_gelu_backward(arguments, stream);
        fail_without_device("bias_gelu_backward");
    }
    visit_float(arguments.x.dtype, [&]<typename T>() {
        arguments.form == Gelu::erf ? backward<T, ErfGelu>(arguments) : backward<T, TanhGelu>(arguments);
    });
}

std::int64_t bias_gelu_backward_scratch(std::int64_t rows, std::int64_t cols) {
    return chunk_partials(rows, cols);
}

// erf, tanh and exp count as one operation each.
Cost bias_gelu_forward_cost(std::int64_t rows, std::int64_t cols, DType dtype) {
    return {(2 * rows * cols + cols) * size_of(dtype), 6 * rows * cols};
}

Cost bias_gelu_backward_cost(std::int64_t rows, std::int64_t cols, DType dtype) {
    return {(3 * rows * cols + cols) * size_of(dtype) + cols * size_of(statistics_dtype(dtype)), 14 * rows * cols};
}

}  // namespace cloze
