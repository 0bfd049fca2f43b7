// Contract, and the definition and host path in one. A row is walked three times, but leaves the cache once: a row of
// 30,522 floats is 122 KB.
#include "kernels/cross_entropy.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <type_traits>

#include "kernels/core/contract.h"
#include "kernels/core/device_body.h"
#include "kernels/core/host_math.h"
#include "kernels/core/host_matrix.h"
#include "kernels/core/lanes.h"

namespace cloze {
namespace {

/// Largest of `count` values; NaN is passed over. -infinity where there are none.
template <typename T, typename Storage>
T maximum_of(const Storage* x, std::int64_t count) {
    T lanes[kSumLanes];
    std::fill(std::begin(lanes), std::end(lanes), -std::numeric_limits<T>::infinity());
    const std::int64_t whole = count - count % kSumLanes;
    for (std::int64_t i = 0; i < whole; i += kSumLanes) {
#pragma omp simd
        for (int lane = 0; lane < kSumLanes; ++lane) {
            const T value = static_cast<T>(x[i + lane]);
            lanes[lane] = value > lanes[lane] ? value : lanes[lane];
        }
    }
    for (std::int64_t i = whole; i < count; ++i) lanes[i - whole] = std::max(lanes[i - whole], static_cast<T>(x[i]));
    return *std::max_element(std::begin(lanes), std::end(lanes));
}

/// One row. `exponentials`: where exp(logit - maximum) is kept for the gradient; may be the row itself.
template <typename Storage, typename T>
void run_row(const CrossEntropy& a, std::int64_t row, T* exponentials) {
    Storage* x = a.logits.data<Storage>() + row * a.logits.cols;
    const std::int64_t label = a.label.data<std::int32_t>()[row];
    const T maximum = maximum_of<T>(x, a.classes);
    const T label_logit = static_cast<T>(x[label]);
    bool correct = label_logit == maximum;
    for (std::int64_t c = 0; correct && c < label; ++c) correct = static_cast<T>(x[c]) != maximum;
    a.correct.data<std::int32_t>()[row] = correct ? 1 : 0;

    T sum;
    if (!a.gradient) {
        sum = lane_sum<T>(a.classes, [&](std::int64_t c) { return math::exp(static_cast<T>(x[c]) - maximum); });
    } else {
        sum = lane_sum<T>(a.classes, [&](std::int64_t c) {
            const T value = math::exp(static_cast<T>(x[c]) - maximum);
            exponentials[c] = value;
            return value;
        });
    }
    a.loss.data<T>()[row] = (maximum - label_logit) + std::log(sum);
    if (!a.gradient) return;

    const T scale = static_cast<T>(*a.scale), factor = scale / sum;
    const T label_gradient = (exponentials[label] / sum - T(1)) * scale;
#pragma omp simd
    for (std::int64_t c = 0; c < a.classes; ++c) x[c] = static_cast<Storage>(exponentials[c] * factor);
    x[label] = static_cast<Storage>(label_gradient);
    std::fill(x + a.classes, x + a.logits.cols, Storage(0.0f));
}

template <typename Storage>
void run(const CrossEntropy& a) {
    using T = Arithmetic<Storage>;
    const std::int64_t capacity = a.logits.rows, used = *a.used;
    parallel_for(used, [&](std::int64_t row) {
        T* exponentials = nullptr;
        if constexpr (std::is_same_v<T, Storage>) {
            exponentials = a.logits.data<T>() + row * a.logits.cols;
        } else if (a.gradient) {
            thread_local host::Buffer<T> buffer;  // a narrower type would round them
            exponentials = buffer.at_least(a.classes);
        }
        run_row<Storage, T>(a, row, exponentials);
    });
    std::fill_n(a.loss.data<T>() + used, capacity - used, T(0));
    std::fill_n(a.correct.data<std::int32_t>() + used, capacity - used, 0);
    if (!a.gradient) return;
    parallel_for(capacity - used, [&](std::int64_t row) {
        std::fill_n(a.logits.data<Storage>() + (used + row) * a.logits.cols, a.logits.cols, Storage(0.0f));
    });
}

Place check(const CrossEntropy& a) {
    constexpr const char* op = "cross_entropy";
    const std::int64_t rows = a.logits.rows;
    require_floating(op, {"logits", a.logits});
    require_tensor({op, "logits", a.logits, rows, a.logits.cols, a.logits.dtype});
    require_tensor({op, "loss", a.loss, 1, rows, statistics_dtype(a.logits.dtype)});
    require_tensor({op, "correct", a.correct, 1, rows, DType::i32});
    require_tensor({op, "label", a.label, 1, rows, DType::i32});
    require(a.classes >= 1 && a.classes <= a.logits.cols, op, ": ", a.classes, " classes in logits of ", a.logits.cols,
            " columns");
    require(a.used != nullptr, op, ": needs the address of the number of rows that count");
    require(!a.gradient || a.scale != nullptr, op, ": the gradient needs the address of its scale");
    const Named logits{"logits", a.logits}, loss{"loss", a.loss}, correct{"correct", a.correct},
        label{"label", a.label};
    require_apart(op, logits, {loss, correct, label});
    require_apart(op, loss, {correct, label});
    require_apart(op, correct, {label});
    if (common_place(op, {logits, loss, correct, label}) == Place::device) {
        require(a.logits.dtype != DType::f64, op, ": logits is ", describe(a.logits),
                "; devices compute in f32 and bf16");
        return Place::device;
    }
    require(*a.used >= 0 && *a.used <= rows, op, ": ", *a.used, " rows count, but there are ", rows);
    return Place::host;
}

}  // namespace

void cross_entropy(const CrossEntropy& arguments, [[maybe_unused]] Stream stream) {
    if (check(arguments) == Place::device) {
        if constexpr (kHasDevice) return device_code::cross_entropy(arguments, stream);
        fail_without_device("cross_entropy");
    }
    visit_float(arguments.logits.dtype, [&]<typename Storage>() { run<Storage>(arguments); });
}

Cost cross_entropy_cost(std::int64_t rows, std::int64_t classes, DType dtype, bool gradient) {
    // Per logit: comparison, difference, exponential as one, sum; the gradient's product and conversion.
    return {
        .bytes = rows * classes * size_of(dtype) * (gradient ? 2 : 1) + rows * (size_of(statistics_dtype(dtype)) + 8),
        .flops = rows * classes * (gradient ? 5 : 4)};
}

}  // namespace cloze
