#include "kernels/layer_norm.h"

#include "kernels/core/contract.h"
#include "kernels/core/device_body.h"
#include "kernels/normalized_rows.h"

namespace cloze {

namespace {

Place check(const LayerNormForward& a) {
    constexpr const char* op = "layer_norm_forward";
    const std::int64_t rows = a.x.rows, hidden = a.x.cols;
    const DType dtype = a.x.dtype, statistics = statistics_dtype(dtype);
    require_floating(op, {"x", a.x});
    require_tensor({op, "x", a.x, rows, hidden, dtype});
    require_tensor({op, "y", a.y, rows, hidden, dtype});
    require_tensor({op, "sum", a.sum, rows, hidden, dtype});
    require_tensor({op, "mean", a.mean, 1, rows, statistics});
    require_tensor({op, "rstd", a.rstd, 1, rows, statistics});
    require_tensor({op, "bias", a.bias, 1, hidden, dtype, true});
    require_tensor({op, "residual", a.residual, rows, hidden, dtype, true});
    require_tensor({op, "gamma", a.gamma, 1, hidden, dtype});
    require_tensor({op, "beta", a.beta, 1, hidden, dtype});
    require(a.epsilon >= 0, op, ": epsilon is ", a.epsilon, "; it is added to a variance and must not be negative");
    require_hidden_dropout(a.dropout, rows, hidden, op);

    const Named y{"y", a.y}, sum{"sum", a.sum}, mean{"mean", a.mean}, rstd{"rstd", a.rstd}, x{"x", a.x},
        bias{"bias", a.bias}, residual{"residual", a.residual}, gamma{"gamma", a.gamma}, beta{"beta", a.beta};
    require_same_or_apart(op, sum, x);
    require_apart(op, y, {sum, mean, rstd, x, bias, residual, gamma, beta});
    require_apart(op, sum, {mean, rstd, bias, residual, gamma, beta});
    require_apart(op, mean, {rstd, x, bias, residual, gamma, beta});
    require_apart(op, rstd, {x, bias, residual, gamma, beta});
    require_hidden_dropout_place(a.dropout, x, op);
    const Place place = common_place(op, {x, y, sum, mean, rstd, bias, residual, gamma, beta});
    if (place == Place::device) require_vectors(op, {x, y, sum, bias, residual, gamma, beta});
    return place;
}

Place check(const LayerNormBackward& a) {
    constexpr const char* op = "layer_norm_backward";
    const std::int64_t rows = a.dy.rows, hidden = a.dy.cols;
    const DType dtype = a.dy.dtype, statistics = statistics_dtype(dtype);
    require_floating(op, {"dy", a.dy});
    require_tensor({op, "dy", a.dy, rows, hidden, dtype});
    require_tensor({op, "sum", a.sum, rows, hidden, dtype});
    require_tensor({op, "mean", a.mean, 1, rows, statistics});
    require_tensor({op, "rstd", a.rstd, 1, rows, statistics});
    require_tensor({op, "gamma", a.gamma, 1, hidden, dtype});
    require_tensor({op, "dx", a.dx, rows, hidden, dtype});
    require_tensor({op, "dresidual", a.dresidual, rows, hidden, dtype, true});
    require_tensor({op, "dgamma", a.dgamma, 1, hidden, statistics});
    require_tensor({op, "dbeta", a.dbeta, 1, hidden, statistics});
    require_tensor({op, "dbias", a.dbias, 1, hidden, statistics, true});
    require_tensor({op, "scratch", a.scratch, 1, layer_norm_backward_scratch(rows, hidden), statistics});
    require_hidden_dropout(a.dropout, rows, hidden, op);

    const Named dx{"dx", a.dx}, dresidual{"dresidual", a.dresidual}, dgamma{"dgamma", a.dgamma},
        dbeta{"dbeta", a.dbeta}, dbias{"dbias", a.dbias}, scratch{"scratch", a.scratch}, dy{"dy", a.dy},
        sum{"sum", a.sum}, mean{"mean", a.mean}, rstd{"rstd", a.rstd}, gamma{"gamma", a.gamma};
    require_same_or_apart(op, dx, dy);
    require_same_or_apart(op, dresidual, dy);
    require_apart(op, dx, {dresidual, sum, mean, rstd, gamma});
    require_apart(op, dresidual, {sum, mean, rstd, gamma});
    require_apart(op, dgamma, {dx, dresidual, dbeta, dbias, scratch, dy, sum, mean, rstd, gamma});
    require_apart(op, dbeta, {dx, dresidual, dbias, scratch, dy, sum, mean, rstd, gamma});
    require_apart(op, dbias, {dx, dresidual, scratch, dy, sum, mean, rstd, gamma});
    require_apart(op, scratch, {dx, dresidual, dy, sum, mean, rstd, gamma});
    require_hidden_dropout_place(a.dropout, dy, op);
    const Place place = common_place(op, {dy, sum, mean, rstd, gamma, dx, dresidual, dgamma, dbeta, dbias, scratch});
    if (place == Place::device) require_vectors(op, {dy, sum, gamma, dx, dresidual});
    return place;
}

template <typename T>
void forward(const LayerNormForward& a) {
    using A = Arithmetic<T>;
    const std::int64_t hidden = a.x.cols;
    const T* bias = data_or_null<T>(a.bias);
    const T* gamma = data_or_null<T>(a.gamma);
    const T* beta = data_or_null<T>(a.beta);
    const HiddenMask<A> mask(a.dropout);
    parallel_chunks(a.x.rows, kRowsPerChunk, [&](std::int64_t first_row, std::int64_t last_row, std::int64_t) {
        A block[kColumnsPerBlock];
        for (std::int64_t row = first_row; row < last_row; ++row) {
            const T* x = data_or_null<T>(a.x) + row * hidden;
            const T* residual = a.residual ? a.residual.data<T>() + row * hidden : nullptr;
            T* sum = data_or_null<T>(a.sum) + row * hidden;
            T* y = data_or_null<T>(a.y) + row * hidden;
            for_blocks(hidden, [&](std::int64_t first, std::int64_t width) {
                load_block(block, x + first, width);
                if (bias != nullptr) add_block(block, bias + first, width);
                mask.apply(block, row, first, width);
                if (residual != nullptr) add_block(block, residual + first, width);
                store_block(sum + first, block, width);
            });
            const RowMoments<A> moments = row_moments(sum, hidden, static_cast<A>(a.epsilon));
            a.mean.data<A>()[row] = moments.mean;
            a.rstd.data<A>()[row] = moments.rstd;
            for_blocks(hidden, [&](std::int64_t first, std::int64_t width) {
                normalize_block(block, sum + first, moments, gamma + first, beta + first, width);
                store_block(y + first, block, width);
            });
        }
    });
}

// Scratch holds for each chunk of rows the sums of dgamma, dbeta and dbias, side by side.
template <typename T>
void backward(const LayerNormBackward& a) {
    using A = Arithmetic<T>;
    const std::int64_t hidden = a.dy.cols;
    const T* gamma = data_or_null<T>(a.gamma);
    A* scratch = data_or_null<A>(a.scratch);
    const HiddenMask<A> mask(a.dropout);
    parallel_chunks(a.dy.rows, kRowsPerChunk, [&](std::int64_t first_row, std::int64_t last_row, std::int64_t chunk) {
        A* dgamma = scratch + chunk * 3 * hidden;
        A* dbeta = dgamma + hidden;
        A* dbias = dbeta + hidden;
        std::fill_n(dgamma, 3 * hidden, A(0));
        A block[kColumnsPerBlock];
        for (std::int64_t row = first_row; row < last_row; ++row) {
            const T* dy = data_or_null<T>(a.dy) + row * hidden;
            const T* sum = data_or_null<T>(a.sum) + row * hidden;
            T* dx = data_or_null<T>(a.dx) + row * hidden;
            T* dresidual = a.dresidual ? a.dresidual.data<T>() + row * hidden : nullptr;
            const RowMoments<A> moments{a.mean.data<A>()[row], a.rstd.data<A>()[row]};
            const auto load_dy = [&](A* to, std::int64_t first, std::int64_t width) {
                load_block(to, dy + first, width);
            };
            const RowAverages<A> averages = row_averages(load_dy, sum, moments, gamma, hidden);
            for_blocks(hidden, [&](std::int64_t first, std::int64_t width) {
                load_dy(block, first, width);
                normalize_backward_block(block, dgamma + first, dbeta + first, sum + first, moments, averages,
                                         gamma + first, width);
                if (dresidual != nullptr) store_block(dresidual + first, block, width);
                mask.apply(block, row, first, width);
                add_block(dbias + first, block, width);
                store_block(dx + first, block, width);
            });
        }
    });
    const std::int64_t chunks = divide_up(a.dy.rows, kRowsPerChunk);
    sum_of_chunks(data_or_null<A>(a.dgamma), scratch, chunks, 3 * hidden, hidden, a.accumulate);
    sum_of_chunks(data_or_null<A>(a.dbeta), scratch + hidden, chunks, 3 * hidden, hidden, a.accumulate);
    if (a.dbias) sum_of_chunks(a.dbias.data<A>(), scratch + 2 * hidden, chunks, 3 * hidden, hidden, a.accumulate);
}

}  // namespace

void layer_norm_forward(const LayerNormForward& arguments, [[maybe_unused]] Stream stream) {
    if (check(arguments) == Place::device) {
        if constexpr (kHasDevice) return device_code::layer_norm_forward(arguments, stream);
        fail_without_device("layer_norm_forward");
    }
    visit_float(arguments.x.dtype, [&]<typename T>() { forward<T>(arguments); });
}

void layer_norm_backward(const LayerNormBackward& arguments, [[maybe_unused]] Stream stream) {
    if (check(arguments) == Place::device) {
        if constexpr (kHasDevice) return device_code::layer_norm_backward(arguments, stream);
        fail_without_device("layer_norm_backward");
    }
    visit_float(arguments.dy.dtype, [&]<typename T>() { backward<T>(arguments); });
}

std::int64_t layer_norm_backward_scratch(std::int64_t rows, std::int64_t hidden) {
    return short_chunk_partials(rows, 3 * hidden);
}

// With bias, residual and dropout.
Cost layer_norm_forward_cost(std::int64_t rows, std::int64_t hidden, DType dtype) {
    const std::int64_t statistics = size_of(statistics_dtype(dtype));
    return {(4 * rows * hidden + 3 * hidden) * size_of(dtype) + 2 * rows * statistics, 11 * rows * hidden};
}

Cost layer_norm_backward_cost(std::int64_t rows, std::int64_t hidden, DType dtype) {
    const std::int64_t statistics = size_of(statistics_dtype(dtype));
    return {(4 * rows * hidden + hidden) * size_of(dtype) + (2 * rows + 3 * hidden) * statistics, 17 * rows * hidden};
}

}  // namespace cloze
