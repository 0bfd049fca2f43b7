// Cross entropy on a device. Bound by memory: a row of logits is read once and its gradient written once, 4 bytes an
// element in bf16, for two exponentials. A block holds a row, in shared memory where it fits (96 KB, what every card
// from sm_80 on has; 30,528 bf16 are 61 KB, three blocks a multiprocessor), else it reads the row twice. Maximum and
// sum are taken in one pass, the sum scaled again whenever the maximum of a thread grows. A thread meets the same 8
// elements in both passes, so the row needs no barrier.
//
// Tested by tests/kernels/device/cross_entropy_test.cpp.
#include "kernels/core/dtype.h"
#include "kernels/core/launch.h"
#include "kernels/core/parallel.h"
#include "kernels/cross_entropy.h"
#include "kernels/device/block.h"
#include "kernels/device/math.h"
#include "kernels/device/shared.h"
#include "kernels/device/vector.h"

namespace cloze {

namespace {

constexpr int kThreads = 512;
constexpr int kThreadColumns = 8;
constexpr std::int64_t kLargestHeldRowBytes = 96 * 1024;
constexpr float kLowest = -3.4028234664e38f;
constexpr float kMinusInfinity = -__builtin_inff();

template <typename T>
struct Arguments {
    float* loss;
    std::int32_t* correct;
    T* logits;
    const std::int32_t* label;
    const std::int32_t* used;
    const double* scale;
    std::int64_t classes;
    std::int64_t width;
    bool gradient;
    bool aligned;  // rows start at multiples of 16 bytes, and end there
    bool held;     // in shared memory, between the passes
};

/// Elements [c, c + 8) of a row; those that are no class are -infinity.
template <typename T>
__device__ Floats8 load_classes(const Arguments<T>& a, const T* row, std::int64_t c) {
    Floats8 x;
    if (a.aligned) x = load8(row + c, Cache::stream);
#pragma unroll
    for (int i = 0; i < kThreadColumns; ++i) {
        if (c + i >= a.classes) {
            x[i] = kMinusInfinity;
        } else if (!a.aligned) {
            x[i] = static_cast<float>(row[c + i]);
        }
    }
    return x;
}

template <typename T>
__device__ void store_gradient(const Arguments<T>& a, T* row, std::int64_t c, const Floats8& gradient) {
    if (a.aligned) {
        store8(row + c, gradient, Cache::stream);
        return;
    }
#pragma unroll
    for (int i = 0; i < kThreadColumns; ++i) {
        if (c + i < a.width) row[c + i] = static_cast<T>(gradient[i]);
    }
}

template <typename T>
__device__ void clear_row(const Arguments<T>& a, std::int64_t r) {
    if (thread_index() == 0) {
        a.loss[r] = 0;
        a.correct[r] = 0;
    }
    if (!a.gradient) return;
    for (std::int64_t c = thread_index() * kThreadColumns; c < a.width; c += kThreads * kThreadColumns) {
        store_gradient(a, a.logits + r * a.width, c, Floats8{});
    }
}

/// What a thread knows of its share of a row.
struct Summary {
    float maximum = kLowest;
    float sum = 0;        // of e^(x - maximum)
    bool beaten = false;  // a logit above the label's, or an equal one before it
    __device__ void add(const Floats8& x, std::int64_t c, std::int64_t label, float label_logit) {
        float largest = x[0];
#pragma unroll
        for (int i = 1; i < kThreadColumns; ++i) largest = fmaxf(largest, x[i]);
        beaten = beaten || largest > label_logit;
        if (largest == label_logit) {
#pragma unroll
            for (int i = 0; i < kThreadColumns; ++i) beaten = beaten || (x[i] == label_logit && c + i < label);
        }
        if (largest > maximum) {
            sum *= fast_exp(maximum - largest);
            maximum = largest;
        }
#pragma unroll
        for (int i = 0; i < kThreadColumns; ++i) sum += fast_exp(x[i] - maximum);
    }
};

template <typename T>
__global__ void __launch_bounds__(kThreads) cross_entropy_kernel(Arguments<T> a) {
    const std::int64_t r = block_x();
    if (r >= *a.used) return clear_row(a, r);
    SharedArena arena;
    float* maxima = arena.take<float>(kBlockReductionFloats);
    float* sums = arena.take<float>(kBlockReductionFloats);
    float* votes = arena.take<float>(kBlockReductionFloats);
    T* held = arena.take<T>(0);  // [width rounded up to 8], if it fits
    T* row = a.logits + r * a.width;
    const std::int64_t label = a.label[r];
    const float label_logit = static_cast<float>(row[label]);

    Summary own;
    for (std::int64_t c = thread_index() * kThreadColumns; c < a.width; c += kThreads * kThreadColumns) {
        const Floats8 x = load_classes(a, row, c);
        if (a.held && a.gradient) store8(held + c, x);
        own.add(x, c, label, label_logit);
    }
    const float maximum = block_max(own.maximum, maxima);
    const float sum = block_sum(own.sum * fast_exp(own.maximum - maximum), sums);
    const bool beaten = block_max(own.beaten ? 1.0f : 0.0f, votes) > 0;
    if (thread_index() == 0) {
        a.loss[r] = (maximum - label_logit) + logf(sum);
        a.correct[r] = label_logit == label_logit && !beaten ? 1 : 0;
    }
    if (!a.gradient) return;

    const float scale = static_cast<float>(*a.scale), factor = scale / sum;
    for (std::int64_t c = thread_index() * kThreadColumns; c < a.width; c += kThreads * kThreadColumns) {
        const Floats8 x = a.held ? load8(held + c) : load_classes(a, row, c);
        Floats8 gradient;
#pragma unroll
        for (int i = 0; i < kThreadColumns; ++i) {
            const float exponential = fast_exp(x[i] - maximum);
            gradient[i] = c + i == label ? (exponential / sum - 1.0f) * scale : exponential * factor;
            if (c + i >= a.classes) gradient[i] = 0;  // also where the factor is NaN
        }
        store_gradient(a, row, c, gradient);
    }
}

template <typename T>
void run(const CrossEntropy& a, Stream stream) {
    const std::int64_t width = a.logits.cols, vectors = divide_up(width, kThreadColumns);
    const std::int64_t row_bytes = vectors * kThreadColumns * size_of(a.logits.dtype);
    const bool held = a.gradient && row_bytes <= kLargestHeldRowBytes;
    const int shared_bytes = SharedSize()
                                 .take<float>(kBlockReductionFloats)
                                 .take<float>(kBlockReductionFloats)
                                 .take<float>(kBlockReductionFloats)
                                 .take<T>(held ? static_cast<int>(vectors * kThreadColumns) : 0)
                                 .bytes();
    const bool aligned = width % kThreadColumns == 0 && reinterpret_cast<std::uintptr_t>(a.logits.address) % 16 == 0;
    launch("cross_entropy", cross_entropy_kernel<T>,
           {.grid = {.x = a.logits.rows}, .threads = kThreads, .shared_bytes = shared_bytes}, stream,
           Arguments<T>{.loss = a.loss.data<float>(),
                        .correct = a.correct.data<std::int32_t>(),
                        .logits = a.logits.data<T>(),
                        .label = a.label.data<std::int32_t>(),
                        .used = a.used,
                        .scale = a.scale,
                        .classes = a.classes,
                        .width = width,
                        .gradient = a.gradient,
                        .aligned = aligned,
                        .held = held});
}

}  // namespace

namespace device_code {

void cross_entropy(const CrossEntropy& arguments, Stream stream) {
    arguments.logits.dtype == DType::bf16 ? run<bf16>(arguments, stream) : run<float>(arguments, stream);
}

}  // namespace device_code

}  // namespace cloze
