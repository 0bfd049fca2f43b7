// Cross entropy on a device. Bound by memory: a row of logits is read once and its gradient written once, 4 bytes an
// element in bf16, for two exponentials, which take half of the time that memory takes on an H200.
//
// A block takes a row. Where the row fits into shared memory (96 KB, what every card from sm_80 on has) and its address
// allows, it is copied there asynchronously, all but the longest at once: 30,528 bf16 are 61 KB, three blocks a
// multiprocessor, one of which loads while another computes. Other rows are read twice. Maximum and sum are taken in
// one pass, the sum scaled again for every sixteen elements. A thread meets the same elements in both passes and waits
// for its own copies alone, so the row needs no barrier.
//
// Tested by tests/kernels/device/cross_entropy_test.cpp.
#include "kernels/core/dtype.h"
#include "kernels/core/launch.h"
#include "kernels/core/parallel.h"
#include "kernels/cross_entropy.h"
#include "kernels/device/block.h"
#include "kernels/device/copy_async.h"
#include "kernels/device/math.h"
#include "kernels/device/shared.h"
#include "kernels/device/vector.h"

namespace cloze {

namespace {

constexpr int kThreads = 480;  // 30,528 columns are 7.95 vectors a thread
constexpr int kBlocksPerMultiprocessor = 3;
constexpr int kVector = 8;  // elements
constexpr int kPairsInFlight = 4;
constexpr std::int64_t kLargestHeldRowBytes = 96 * 1024;
constexpr float kLowest = -3.4028234664e38f;

/// Where a row's whole vectors are read: from its copy in shared memory, or from global memory, by vectors or, where
/// they are not aligned, by elements.
enum class Access { held, vectors, elements };

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
};

/// One row as a thread sees it. Whole vectors of classes are shared out in turn, vector v to thread v % kThreads; the
/// classes behind the last of them, and the padding, an element a thread.
template <typename T, Access access>
struct Row {
    T* logits;
    T* held;  // [8 * vectors]  shared
    int vectors;
    int classes;
    int width;

    __device__ Floats8 load(int v) const {
        if constexpr (access == Access::held) {
            return load8(held + v * kVector);
        } else if constexpr (access == Access::vectors) {
            return load8(logits + v * kVector, Cache::stream);
        } else {
            Floats8 x;
#pragma unroll
            for (int i = 0; i < kVector; ++i) x[i] = static_cast<float>(logits[v * kVector + i]);
            return x;
        }
    }
    __device__ void store(int v, const Floats8& x) const {
        if constexpr (access != Access::elements) {
            store8(logits + v * kVector, x, Cache::stream);
        } else {
#pragma unroll
            for (int i = 0; i < kVector; ++i) logits[v * kVector + i] = static_cast<T>(x[i]);
        }
    }
    /// Columns that are in no whole vector and belong to this thread: the first, a class if it is less than `classes`.
    __device__ int rest() const {
        return vectors * kVector + thread_index();
    }
    __device__ bool owns(int column) const {
        return column < vectors * kVector ? column / kVector % kThreads == thread_index() : column == rest();
    }
    /// Starts the copies of vectors v and v + kThreads.
    __device__ void start_copies(int v) const {
        if constexpr (access == Access::held) {
#pragma unroll
            for (int of_pair = 0; of_pair < 2; ++of_pair, v += kThreads) {
                if (v >= vectors) continue;
#pragma unroll
                for (int i = 0; i < kVector; i += 16 / static_cast<int>(sizeof(T))) {
                    copy_async_16(shared_address(held + v * kVector + i), logits + v * kVector + i);
                }
            }
            commit_copies();
        }
    }
    /// Waits for this thread's oldest copies of those in flight.
    __device__ void wait_for_pair() const {
        if constexpr (access == Access::held) wait_for_copies<kPairsInFlight - 1>();
    }
};

/// What a thread knows of its share of a row.
struct Summary {
    float maximum = kLowest;
    float sum = 0;  // of e^(x - maximum)
    __device__ void grow(float largest) {
        sum *= fast_exp(maximum - largest);
        maximum = largest;
    }
    __device__ void add(const Floats8& x, const Floats8& y) {
        float largest = maximum;
#pragma unroll
        for (int i = 0; i < kVector; ++i) largest = fmaxf(largest, fmaxf(x[i], y[i]));
        grow(largest);
        float of_y = 0;
#pragma unroll
        for (int i = 0; i < kVector; ++i) {
            sum += fast_exp(x[i] - maximum);
            of_y += fast_exp(y[i] - maximum);
        }
        sum += of_y;
    }
    __device__ void add(const Floats8& x) {
        float largest = maximum;
#pragma unroll
        for (int i = 0; i < kVector; ++i) largest = fmaxf(largest, x[i]);
        grow(largest);
#pragma unroll
        for (int i = 0; i < kVector; ++i) sum += fast_exp(x[i] - maximum);
    }
    __device__ void add(float x) {
        grow(fmaxf(maximum, x));
        sum += fast_exp(x - maximum);
    }
};

/// Maximum and sum of a thread's elements; `rest` is that of row.rest().
template <typename T, Access access>
__device__ Summary summary_of(const Row<T, access>& row, float rest) {
    constexpr int kPair = 2 * kThreads;
#pragma unroll
    for (int pair = 0; pair < kPairsInFlight; ++pair) row.start_copies(thread_index() + pair * kPair);
    Summary own;
    int v = thread_index();
    for (; v + kThreads < row.vectors; v += kPair) {
        row.wait_for_pair();
        own.add(row.load(v), row.load(v + kThreads));
        row.start_copies(v + kPairsInFlight * kPair);
    }
    if (v < row.vectors) {
        row.wait_for_pair();
        own.add(row.load(v));
    }
    if (row.rest() < row.classes) own.add(rest);
    return own;
}

/// Whether one of the thread's elements before the label's equals the label's logit.
template <typename T, Access access>
__device__ bool equal_before(const Row<T, access>& row, float rest, int label, float label_logit) {
    bool found = row.rest() < label && rest == label_logit;
    for (int v = thread_index(); v < row.vectors && v * kVector < label; v += kThreads) {
        const Floats8 x = row.load(v);
#pragma unroll
        for (int i = 0; i < kVector; ++i) found = found || (x[i] == label_logit && v * kVector + i < label);
    }
    return found;
}

/// Zeros into the columns of this thread from `column` on.
template <typename T>
__device__ void clear(T* row, int column, int width) {
    for (; column < width; column += kThreads) row[column] = static_cast<T>(0.0f);
}

template <typename T, Access access>
__device__ void clear_row(const Arguments<T>& a, Row<T, access> row, std::int64_t r) {
    if (thread_index() == 0) {
        a.loss[r] = 0;
        a.correct[r] = 0;
    }
    if (!a.gradient) return;
    for (int v = thread_index(); v < row.vectors; v += kThreads) row.store(v, Floats8{});
    clear(row.logits, row.rest(), row.width);
}

template <typename T, Access access>
__global__ void __launch_bounds__(kThreads, kBlocksPerMultiprocessor) cross_entropy_kernel(Arguments<T> a) {
    SharedArena arena;
    float* maxima = arena.take<float>(kBlockReductionFloats);
    float* sums = arena.take<float>(kBlockReductionFloats);
    float* votes = arena.take<float>(kBlockReductionFloats);
    const std::int64_t r = block_x();
    const Row<T, access> row{.logits = a.logits + r * a.width,
                             .held = arena.take<T>(0),
                             .vectors = static_cast<int>(a.classes / kVector),
                             .classes = static_cast<int>(a.classes),
                             .width = static_cast<int>(a.width)};
    if (r >= *a.used) return clear_row(a, row, r);
    const int label = a.label[r];
    const float label_logit = static_cast<float>(row.logits[label]);
    const float rest = row.rest() < row.classes ? static_cast<float>(row.logits[row.rest()]) : kLowest;

    const Summary own = summary_of(row, rest);
    const float maximum = block_max(own.maximum, maxima);
    const float sum = block_sum(own.sum * fast_exp(own.maximum - maximum), sums);
    bool correct = label_logit == maximum;
    if (correct) {  // in the whole block; only a thread with the maximum among its own can have an equal
        const bool beaten = own.maximum == maximum && equal_before(row, rest, label, label_logit);
        correct = block_max(beaten ? 1.0f : 0.0f, votes) == 0;
    }
    if (thread_index() == 0) {
        a.loss[r] = (maximum - label_logit) + logf(sum);
        a.correct[r] = correct ? 1 : 0;
    }
    if (!a.gradient) return;

    const float scale = static_cast<float>(*a.scale), factor = scale / sum;
    for (int v = thread_index(); v < row.vectors; v += kThreads) {
        Floats8 x = row.load(v);
#pragma unroll
        for (int i = 0; i < kVector; ++i) x[i] = fast_exp(x[i] - maximum) * factor;
        row.store(v, x);
    }
    if (row.rest() < row.classes) row.logits[row.rest()] = static_cast<T>(fast_exp(rest - maximum) * factor);
    clear(row.logits, row.rest() < row.classes ? row.rest() + kThreads : row.rest(), row.width);
    if (row.owns(label)) {
        row.logits[label] = static_cast<T>((fast_exp(label_logit - maximum) / sum - 1.0f) * scale);
    }
}

template <typename T, Access access>
void run(const CrossEntropy& a, Stream stream) {
    const std::int64_t held = access == Access::held ? a.classes / kVector * kVector : 0;
    const int shared_bytes = SharedSize()
                                 .take<float>(kBlockReductionFloats)
                                 .take<float>(kBlockReductionFloats)
                                 .take<float>(kBlockReductionFloats)
                                 .take<T>(static_cast<int>(held))
                                 .bytes();
    launch("cross_entropy", cross_entropy_kernel<T, access>,
           {.grid = {.x = a.logits.rows}, .threads = kThreads, .shared_bytes = shared_bytes}, stream,
           Arguments<T>{.loss = a.loss.data<float>(),
                        .correct = a.correct.data<std::int32_t>(),
                        .logits = a.logits.data<T>(),
                        .label = a.label.data<std::int32_t>(),
                        .used = a.used,
                        .scale = a.scale,
                        .classes = a.classes,
                        .width = a.logits.cols,
                        .gradient = a.gradient});
}

template <typename T>
void run(const CrossEntropy& a, Stream stream) {
    const bool aligned = a.logits.cols % kVector == 0 && reinterpret_cast<std::uintptr_t>(a.logits.address) % 16 == 0;
    if (!aligned) return run<T, Access::elements>(a, stream);
    if (a.classes * size_of(a.logits.dtype) > kLargestHeldRowBytes) return run<T, Access::vectors>(a, stream);
    run<T, Access::held>(a, stream);
}

}  // namespace

namespace device_code {

void cross_entropy(const CrossEntropy& arguments, Stream stream) {
    arguments.logits.dtype == DType::bf16 ? run<bf16>(arguments, stream) : run<float>(arguments, stream);
}

}  // namespace device_code

}  // namespace cloze
