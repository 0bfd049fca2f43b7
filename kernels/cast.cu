// Cast, fill and add on a device. Bound by memory: an element is read and written once, a thread 8 of them, so that a
// warp moves 512 bytes of bf16 at a time and the device holds enough loads in flight without a loop. Tensors without
// gaps are one long row; with gaps, a division finds the row, about a quarter of the instructions that memory leaves
// time for.
//
// Tested by tests/kernels/device/cast_test.cpp.
#include "kernels/cast.h"
#include "kernels/core/launch.h"
#include "kernels/core/parallel.h"
#include "kernels/device/thread.h"
#include "kernels/device/vector.h"

namespace cloze {

namespace {

constexpr int kThreads = 256;
constexpr int kThreadColumns = 8;

struct Extent {
    std::int64_t vectors;  // of kThreadColumns elements, in all rows
    std::int64_t vectors_per_row;
};

template <typename T>
struct Matrix {
    T* data;
    std::int64_t stride;
};

/// The elements of this thread; none past the last.
template <typename T>
__device__ T* elements_of_thread(Matrix<T> matrix, Extent extent) {
    const std::int64_t vector = block_x() * kThreads + thread_index();
    if (vector >= extent.vectors) return nullptr;
    if (extent.vectors == extent.vectors_per_row) return matrix.data + vector * kThreadColumns;
    const std::int64_t row = vector / extent.vectors_per_row;
    return matrix.data + row * matrix.stride + (vector - row * extent.vectors_per_row) * kThreadColumns;
}

template <typename To, typename From>
__global__ void __launch_bounds__(kThreads) cast_kernel(Matrix<To> y, Matrix<From> x, Extent extent) {
    if (To* to = elements_of_thread(y, extent)) store8(to, load8(elements_of_thread(x, extent), Cache::stream));
}

template <typename T>
__global__ void __launch_bounds__(kThreads) fill_kernel(Matrix<T> y, float value, Extent extent) {
    Floats8 values;
#pragma unroll
    for (int i = 0; i < kThreadColumns; ++i) values[i] = value;
    if (T* to = elements_of_thread(y, extent)) store8(to, values);
}

template <typename T>
__global__ void __launch_bounds__(kThreads) add_kernel(Matrix<T> y, Matrix<T> x, Extent extent) {
    T* to = elements_of_thread(y, extent);
    if (to == nullptr) return;
    Floats8 sum = load8(to);
    const Floats8 term = load8(elements_of_thread(x, extent), Cache::stream);
#pragma unroll
    for (int i = 0; i < kThreadColumns; ++i) sum[i] += term[i];
    store8(to, sum);
}

template <typename T>
Matrix<T> matrix_of(const Tensor& tensor) {
    return {tensor.data<T>(), tensor.stride};
}

Extent extent_of(const Tensor& y, bool gaps) {
    const std::int64_t vectors = y.count() / kThreadColumns;
    return {vectors, gaps ? y.cols / kThreadColumns : vectors};
}

LaunchShape shape_of(Extent extent) {
    return {.grid = {.x = divide_up(extent.vectors, kThreads)}, .threads = kThreads};
}

/// Calls body.operator()<T>() for a storage type of devices.
template <typename Body>
void visit(DType dtype, const Body& body) {
    dtype == DType::bf16 ? body.template operator()<bf16>() : body.template operator()<float>();
}

}  // namespace

namespace device_code {

void cast(const Cast& a, Stream stream) {
    const Extent extent = extent_of(a.y, !a.y.is_contiguous() || !a.x.is_contiguous());
    visit(a.y.dtype, [&]<typename To>() {
        visit(a.x.dtype, [&]<typename From>() {
            launch("cast", cast_kernel<To, From>, shape_of(extent), stream, matrix_of<To>(a.y), matrix_of<From>(a.x),
                   extent);
        });
    });
}

void fill(const Fill& a, Stream stream) {
    const Extent extent = extent_of(a.y, !a.y.is_contiguous());
    visit(a.y.dtype, [&]<typename T>() {
        launch("fill", fill_kernel<T>, shape_of(extent), stream, matrix_of<T>(a.y), static_cast<float>(a.value),
               extent);
    });
}

void add(const Add& a, Stream stream) {
    const Extent extent = extent_of(a.y, !a.y.is_contiguous() || !a.x.is_contiguous());
    visit(a.y.dtype, [&]<typename T>() {
        launch("add", add_kernel<T>, shape_of(extent), stream, matrix_of<T>(a.y), matrix_of<T>(a.x), extent);
    });
}

}  // namespace device_code

}  // namespace cloze
