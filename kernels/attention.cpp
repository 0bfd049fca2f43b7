// Contract, and the definition and host path in one: a template on storage and arithmetic type. A work item is one head
// of one sequence. Its keys and values are copied into panels of the arithmetic type (transposed where products run
// along keys); then 16 queries at a time (the height of a dropout block) are scored, normalised and summed. About 35
// GFLOP/s a core in f32 with AVX2, forward and backward.
#include "kernels/attention.h"

#include <algorithm>
#include <limits>

#include "kernels/attention_host.h"
#include "kernels/core/contract.h"
#include "kernels/core/device_body.h"
#include "kernels/core/parallel.h"

namespace cloze {
namespace {

using namespace attention;

// Keeps products of rows and sequences with tile sizes within 32 bits in device code.
constexpr std::int64_t kMostDeviceRows = std::int64_t{1} << 24;

using host::Left;
using host::multiply;

/// Panels of one thread, kept between calls; about 5 * length * head_dim elements in backward.
template <typename T>
struct Workspace {
    host::Buffer<T> keys, keys_transposed, values, queries, scores, keep, out, dout, dprobabilities, dkeys, dvalues;
};

template <typename T>
Workspace<T>& thread_workspace() {
    thread_local Workspace<T> workspace;
    return workspace;
}

template <typename Storage>
void forward_item(const AttentionForward& a, const Item& item, const Dropping& drop) {
    using T = Arithmetic<Storage>;
    const std::int64_t hidden = a.y.cols, dim = item.head_dim;
    const Storage* query = a.qkv.data<Storage>() + item.row * 3 * hidden + item.head * dim;
    const Storage* key = query + hidden;
    const Storage* value = key + hidden;
    Storage* y = a.y.data<Storage>() + item.row * hidden + item.head * dim;
    T* log_sum_exp = a.log_sum_exp.data<T>() + item.head * a.log_sum_exp.cols + item.row;

    Workspace<T>& work = thread_workspace<T>();
    T* keys = work.keys_transposed.at_least(dim * item.key_stride);
    T* values = work.values.at_least(item.length * item.dim_stride);
    T* queries = work.queries.at_least(kQueries * item.dim_stride);
    T* scores = work.scores.at_least(kQueries * item.key_stride);
    T* keep = drop ? work.keep.at_least(kQueries * item.key_stride) : nullptr;
    T* out = work.out.at_least(kQueries * item.dim_stride);
    copy_transposed(keys, item.key_stride, key, 3 * hidden, item.length, dim);
    copy_rows(values, item.dim_stride, value, 3 * hidden, item.length, item.length, dim, T(1));

    for (std::int64_t first = 0; first < item.length; first += kQueries) {
        const std::int64_t count = item.queries_from(first);
        const Range range = block_keys<T>(item.visible, first, first + count, item.length);
        copy_rows(queries, item.dim_stride, query + first * 3 * hidden, 3 * hidden, count, kQueries, dim,
                  score_scale<T>(item));
        multiply(scores + range.first, item.key_stride, Left<T>{queries, item.dim_stride, 1}, keys + range.first,
                 item.key_stride, kQueries, range.count(), dim, false);
        for (std::int64_t i = 0; i < count; ++i) {
            log_sum_exp[first + i] =
                softmax_row(scores + i * item.key_stride, range, visible_keys(item.visible, first + i, item.length));
        }
        if (drop) {
            draw_keep(keep, item, drop, first, range);
            for (std::int64_t i = 0; i < count; ++i) {
                T* row = scores + i * item.key_stride;
                for (std::int64_t j = range.first; j < range.last; ++j) row[j] *= keep[i * item.key_stride + j];
            }
        }
        multiply(out, item.dim_stride, Left<T>{scores + range.first, item.key_stride, 1},
                 values + range.first * item.dim_stride, item.dim_stride, kQueries, item.dim_stride,
                 std::min(range.last, item.length) - range.first, false);
        for (std::int64_t i = 0; i < count; ++i) {
            for (std::int64_t d = 0; d < dim; ++d)
                y[(first + i) * hidden + d] = static_cast<Storage>(out[i * item.dim_stride + d]);
        }
    }
}

/// What a work item of backward reads and sums in.
template <typename T>
struct BackwardPanels {
    T *keys, *keys_transposed, *values_transposed;                  // of the whole sequence
    T *queries, *dout, *scores, *dprobabilities, *keep, *dqueries;  // of a block of queries
    T *dkeys, *dvalues;                                             // of the whole sequence
};

template <typename T>
BackwardPanels<T> backward_panels(const Item& item, bool drop) {
    Workspace<T>& work = thread_workspace<T>();
    const std::int64_t padded = round_up(item.length, host::kBlockCols<T>);
    const std::int64_t block_by_dims = kQueries * item.dim_stride, block_by_keys = kQueries * item.key_stride;
    return {.keys = work.keys.at_least(item.length * item.dim_stride),
            .keys_transposed = work.keys_transposed.at_least(item.head_dim * item.key_stride),
            .values_transposed = work.values.at_least(item.head_dim * item.key_stride),
            .queries = work.queries.at_least(block_by_dims),
            .dout = work.dout.at_least(block_by_dims),
            .scores = work.scores.at_least(block_by_keys),
            .dprobabilities = work.dprobabilities.at_least(block_by_keys),
            .keep = drop ? work.keep.at_least(block_by_keys) : nullptr,
            .dqueries = work.out.at_least(block_by_dims),
            .dkeys = work.dkeys.at_least(padded * item.dim_stride),
            .dvalues = work.dvalues.at_least(padded * item.dim_stride)};
}

/// Where an item's rows lie in the tensors.
template <typename Storage>
struct BackwardRows {
    const Storage *query, *y, *dy;
    Storage* dquery;
    const Arithmetic<Storage>* log_sum_exp;
    Arithmetic<Storage>* delta;
    std::int64_t hidden;
};

template <typename Storage>
BackwardRows<Storage> backward_rows(const AttentionBackward& a, const Item& item) {
    using T = Arithmetic<Storage>;
    const std::int64_t hidden = a.y.cols, tokens = a.y.rows, column = item.head * item.head_dim;
    return {.query = a.qkv.data<Storage>() + item.row * 3 * hidden + column,
            .y = a.y.data<Storage>() + item.row * hidden + column,
            .dy = a.dy.data<Storage>() + item.row * hidden + column,
            .dquery = a.dqkv.data<Storage>() + item.row * 3 * hidden + column,
            .log_sum_exp = a.log_sum_exp.data<T>() + item.head * tokens + item.row,
            .delta = a.scratch.data<T>() + item.head * tokens + item.row,
            .hidden = hidden};
}

/// Queries [first, first + kQueries): writes dq, adds to dkeys and dvalues.
template <typename Storage, typename T = Arithmetic<Storage>>
void backward_block(const BackwardRows<Storage>& rows, const BackwardPanels<T>& panels, const Item& item,
                    const Dropping& drop, std::int64_t first) {
    const std::int64_t hidden = rows.hidden, dim = item.head_dim, dims = item.dim_stride, stride = item.key_stride;
    const std::int64_t count = item.queries_from(first);
    const Range range = block_keys<T>(item.visible, first, first + count, item.length);
    const T scale = score_scale<T>(item);
    copy_rows(panels.queries, dims, rows.query + first * 3 * hidden, 3 * hidden, count, kQueries, dim, scale);
    copy_rows(panels.dout, dims, rows.dy + first * hidden, hidden, count, kQueries, dim, T(1));
    multiply(panels.scores + range.first, stride, Left<T>{panels.queries, dims, 1},
             panels.keys_transposed + range.first, stride, kQueries, range.count(), dim, false);
    multiply(panels.dprobabilities + range.first, stride, Left<T>{panels.dout, dims, 1},
             panels.values_transposed + range.first, stride, kQueries, range.count(), dim, false);
    if (drop) draw_keep(panels.keep, item, drop, first, range);
    for (std::int64_t i = 0; i < kQueries; ++i) {
        // Rows past the sequence's end see nothing, so that they add nothing below.
        const bool real = i < count;
        T delta = 0;
        if (real) {
            const Storage* y = rows.y + (first + i) * hidden;
            for (std::int64_t d = 0; d < dim; ++d) delta += panels.dout[i * dims + d] * static_cast<T>(y[d]);
            rows.delta[first + i] = delta;
        }
        backward_row(panels.scores + i * stride, panels.dprobabilities + i * stride,
                     drop ? panels.keep + i * stride : nullptr, real ? rows.log_sum_exp[first + i] : T(0), delta, range,
                     real ? visible_keys(item.visible, first + i, item.length) : Range{0, 0});
    }
    multiply(panels.dvalues + range.first * dims, dims, Left<T>{panels.scores + range.first, 1, stride}, panels.dout,
             dims, range.count(), dims, kQueries, true);
    multiply(panels.dkeys + range.first * dims, dims, Left<T>{panels.dprobabilities + range.first, 1, stride},
             panels.queries, dims, range.count(), dims, kQueries, true);
    multiply(panels.dqueries, dims, Left<T>{panels.dprobabilities + range.first, stride, 1},
             panels.keys + range.first * dims, dims, kQueries, dims, std::min(range.last, item.length) - range.first,
             false);
    for (std::int64_t i = 0; i < count; ++i) {
        Storage* dquery = rows.dquery + (first + i) * 3 * hidden;
        for (std::int64_t d = 0; d < dim; ++d) dquery[d] = static_cast<Storage>(panels.dqueries[i * dims + d] * scale);
    }
}

template <typename Storage>
void backward_item(const AttentionBackward& a, const Item& item, const Dropping& drop) {
    using T = Arithmetic<Storage>;
    const BackwardRows<Storage> rows = backward_rows<Storage>(a, item);
    const BackwardPanels<T> panels = backward_panels<T>(item, static_cast<bool>(drop));
    const std::int64_t hidden = rows.hidden, dim = item.head_dim, dims = item.dim_stride;
    const std::int64_t padded = round_up(item.length, host::kBlockCols<T>);
    const Storage* key = rows.query + hidden;
    copy_rows(panels.keys, dims, key, 3 * hidden, item.length, item.length, dim, T(1));
    copy_transposed(panels.keys_transposed, item.key_stride, key, 3 * hidden, item.length, dim);
    copy_transposed(panels.values_transposed, item.key_stride, key + hidden, 3 * hidden, item.length, dim);
    std::fill_n(panels.dkeys, padded * dims, T(0));
    std::fill_n(panels.dvalues, padded * dims, T(0));
    for (std::int64_t first = 0; first < item.length; first += kQueries) {
        backward_block<Storage>(rows, panels, item, drop, first);
    }
    for (std::int64_t i = 0; i < item.length; ++i) {
        Storage* dkey = rows.dquery + i * 3 * hidden + hidden;
        for (std::int64_t d = 0; d < dim; ++d) {
            dkey[d] = static_cast<Storage>(panels.dkeys[i * dims + d]);
            dkey[hidden + d] = static_cast<Storage>(panels.dvalues[i * dims + d]);
        }
    }
}

/// Rows of `x` outside [first, last) become zero.
template <typename Storage>
void zero_outside(const Tensor& x, std::int64_t first, std::int64_t last) {
    Storage* data = x.data<Storage>();
    std::fill(data, data + first * x.cols, Storage(0.0f));
    std::fill(data + last * x.cols, data + x.rows * x.cols, Storage(0.0f));
}

/// Sequences up to the last one that has tokens; the others of the capacity bring no work.
std::int64_t used_sequences(const Tensor& offset) {
    const auto* data = offset.data<std::int32_t>();
    std::int64_t used = offset.cols - 1;
    while (used > 0 && data[used] == data[used - 1]) --used;
    return used;
}

void require_common(const char* op, const Tensor& y, const Tensor& log_sum_exp, const Tensor& qkv, const Tensor& offset,
                    std::int64_t heads, const AttentionDropout& dropout) {
    const std::int64_t tokens = y.rows, hidden = y.cols;
    require(heads >= 1 && heads <= 1024, op, ": ", heads, " heads, but 1 to 1024 are possible");
    require(hidden % heads == 0, op, ": ", heads, " heads do not divide the ", hidden, " columns of y");
    require_floating(op, {"y", y});
    require_tensor({op, "y", y, tokens, hidden, y.dtype});
    require_tensor({op, "log_sum_exp", log_sum_exp, heads, tokens, statistics_dtype(y.dtype)});
    require_tensor({op, "qkv", qkv, tokens, 3 * hidden, y.dtype});
    require(offset && offset.cols >= 1, op, ": offset must be i32 [1, sequences + 1], but it is ", describe(offset));
    require_tensor({op, "offset", offset, 1, offset.cols, DType::i32});
    if (require_dropout_rate(op, dropout.probability, attention_dropout_rate).threshold == 0) return;
    require(dropout.state != nullptr, op, ": dropout needs the address of a StepState");
    require(dropout.layer >= 0 && dropout.layer < 4096, op, ": dropout layer ", dropout.layer, " is outside [0, 4096)");
    require_tensor({op, "dropout.sequence_sample", dropout.sequence_sample, 1, offset.cols - 1, DType::u64});
}

/// What the device code asks besides.
void require_device(const char* op, const Tensor& y, const Tensor& offset, std::int64_t heads,
                    std::initializer_list<Named> moved) {
    const std::int64_t head_dim = y.cols / heads, sequences = offset.cols - 1;
    require(y.dtype == DType::bf16, op, ": y is ", describe(y), "; devices compute attention in bf16");
    require(head_dim == 32 || head_dim == 64, op, ": ", heads, " heads of y, which is ", describe(y), ", have ",
            head_dim, " columns each; devices have heads of 32 and 64");
    require(y.rows <= kMostDeviceRows && sequences <= kMostDeviceRows, op, ": ", y.rows, " tokens in ", sequences,
            " sequences; devices take ", kMostDeviceRows, " of each");
    require_vectors(op, moved);
}

Place check(const AttentionForward& a) {
    constexpr const char* op = "attention_forward";
    require_common(op, a.y, a.log_sum_exp, a.qkv, a.offset, a.heads, a.dropout);
    const Named y{"y", a.y}, log_sum_exp{"log_sum_exp", a.log_sum_exp}, qkv{"qkv", a.qkv}, offset{"offset", a.offset},
        sample{"dropout.sequence_sample", a.dropout.sequence_sample};
    require_apart(op, y, {log_sum_exp, qkv, offset, sample});
    require_apart(op, log_sum_exp, {qkv, offset, sample});
    const Place place = common_place(op, {y, log_sum_exp, qkv, offset, sample});
    if (place == Place::device) require_device(op, a.y, a.offset, a.heads, {y, qkv});
    return place;
}

Place check(const AttentionBackward& a) {
    constexpr const char* op = "attention_backward";
    require_common(op, a.y, a.log_sum_exp, a.qkv, a.offset, a.heads, a.dropout);
    require_tensor({op, "dqkv", a.dqkv, a.qkv.rows, a.qkv.cols, a.y.dtype});
    require_tensor({op, "dy", a.dy, a.y.rows, a.y.cols, a.y.dtype});
    require_tensor({op, "scratch", a.scratch, 1, attention_backward_scratch(a.y.rows, a.heads, a.y.cols / a.heads),
                    statistics_dtype(a.y.dtype)});
    const Named dqkv{"dqkv", a.dqkv}, scratch{"scratch", a.scratch}, dy{"dy", a.dy}, y{"y", a.y},
        log_sum_exp{"log_sum_exp", a.log_sum_exp}, qkv{"qkv", a.qkv}, offset{"offset", a.offset},
        sample{"dropout.sequence_sample", a.dropout.sequence_sample};
    require_apart(op, dqkv, {scratch, dy, y, log_sum_exp, qkv, offset, sample});
    require_apart(op, scratch, {dy, y, log_sum_exp, qkv, offset, sample});
    const Place place = common_place(op, {dqkv, scratch, dy, y, log_sum_exp, qkv, offset, sample});
    if (place == Place::device) {
        require_device(op, a.y, a.offset, a.heads, {dqkv, dy, y, qkv});
        require(!a.scratch || reinterpret_cast<std::uintptr_t>(a.scratch.address) % 16 == 0, op,
                ": scratch starts at an address that is not a multiple of 16; devices need that");
    }
    return place;
}

}  // namespace

void attention_forward(const AttentionForward& a, [[maybe_unused]] Stream stream) {
    if (check(a) == Place::device) {
        if constexpr (kHasDevice) return device_code::attention_forward(a, stream);
        fail_without_device("attention_forward");
    }
    visit_float(a.y.dtype, [&]<typename Storage>() {
        using T = Arithmetic<Storage>;
        const auto* offset = a.offset.data<std::int32_t>();
        const std::int64_t sequences = used_sequences(a.offset);
        const Dropping drop = dropping(a.dropout);
        parallel_for(sequences * a.heads, [&](std::int64_t index) {
            forward_item<Storage>(a, make_item<T>(offset, index, a.heads, a.y.cols / a.heads, a.visible), drop);
        });
        zero_outside<Storage>(a.y, offset[0], offset[sequences]);
        for (std::int64_t head = 0; head < a.heads; ++head) {
            T* row = a.log_sum_exp.data<T>() + head * a.y.rows;
            std::fill(row, row + offset[0], -std::numeric_limits<T>::infinity());
            std::fill(row + offset[sequences], row + a.y.rows, -std::numeric_limits<T>::infinity());
        }
    });
}

void attention_backward(const AttentionBackward& a, [[maybe_unused]] Stream stream) {
    if (check(a) == Place::device) {
        if constexpr (kHasDevice) return device_code::attention_backward(a, stream);
        fail_without_device("attention_backward");
    }
    visit_float(a.y.dtype, [&]<typename Storage>() {
        using T = Arithmetic<Storage>;
        const auto* offset = a.offset.data<std::int32_t>();
        const std::int64_t sequences = used_sequences(a.offset);
        const Dropping drop = dropping(a.dropout);
        parallel_for(sequences * a.heads, [&](std::int64_t index) {
            backward_item<Storage>(a, make_item<T>(offset, index, a.heads, a.y.cols / a.heads, a.visible), drop);
        });
        zero_outside<Storage>(a.dqkv, offset[0], offset[sequences]);
    });
}

std::int64_t attention_backward_scratch(std::int64_t tokens, std::int64_t heads, std::int64_t head_dim) {
    return tokens * heads * (1 + head_dim);  // delta; on devices dq of the keys so far
}

Cost attention_forward_cost(std::int64_t tokens, std::int64_t pairs, std::int64_t heads, std::int64_t head_dim,
                            DType dtype) {
    return {.bytes = 4 * tokens * heads * head_dim * size_of(dtype) + tokens * heads * size_of(statistics_dtype(dtype)),
            .flops = 4 * pairs * heads * head_dim};
}

Cost attention_backward_cost(std::int64_t tokens, std::int64_t pairs, std::int64_t heads, std::int64_t head_dim,
                             DType dtype) {
    return {.bytes = 8 * tokens * heads * head_dim * size_of(dtype) + tokens * heads * size_of(statistics_dtype(dtype)),
            .flops = 10 * pairs * heads * head_dim};
}

}  // namespace cloze
