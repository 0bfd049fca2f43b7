// What the tests of every op share: guarded arrays of a type chosen at run time, random contents, finite differences,
// distances, thread counts, messages.
//
// The pattern: a function runs the op once on given input Arrays in working type `dtype` and returns the output Arrays.
// Run in f64 it is judged by finite differences; in f32 and bf16 it is judged by its own f64 run on the same inputs
// (rounded first to the working type, then widened with `as(DType::f64)`).
#pragma once

#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <functional>
#include <limits>
#include <string>
#include <utility>
#include <vector>
#ifdef _OPENMP
#include <omp.h>
#endif

#include "kernels/core/error.h"
#include "kernels/core/random_stream.h"
#include "kernels/core/tensor.h"

namespace cloze::test {

/// Owns [rows, cols] elements of `dtype` between guard bands; gaps between rows (stride > cols) are guarded too. A new
/// Array holds NaN (integers: a huge value), so that what an op forgets to write, or reads too early, shows.
class Array {
public:
    Array() = default;
    Array(DType dtype, std::int64_t rows, std::int64_t cols, std::int64_t stride = 0)
        : dtype_(dtype), rows_(rows), cols_(cols), stride_(stride == 0 ? cols : stride) {
        const std::int64_t extent = rows == 0 || cols == 0 ? 0 : (rows - 1) * stride_ + cols;
        bytes_.assign(static_cast<std::size_t>(2 * kGuard + extent * size_of(dtype)), kSentinel);
        for (std::int64_t r = 0; r < rows; ++r)
            for (std::int64_t c = 0; c < cols; ++c) poison(r, c);
    }
    /// [count], rank 1.
    Array(DType dtype, std::int64_t count) : Array(dtype, 1, count) {}

    /// A view; an Array made without shape gives an absent tensor.
    Tensor tensor() const {
        if (bytes_.empty()) return {};
        return {const_cast<unsigned char*>(bytes_.data()) + kGuard, rows_, cols_, stride_, dtype_, Place::host};
    }
    template <typename T>
    T* data() {
        return tensor().data<T>();
    }

    DType dtype() const { return dtype_; }
    std::int64_t rows() const { return rows_; }
    std::int64_t cols() const { return cols_; }
    std::int64_t count() const { return rows_ * cols_; }

    double get(std::int64_t row, std::int64_t col) const {
        const unsigned char* at = address(row, col);
        switch (dtype_) {
            case DType::f64: return read<double>(at);
            case DType::f32: return static_cast<double>(read<float>(at));
            case DType::bf16: return static_cast<double>(static_cast<float>(read<bf16>(at)));
            case DType::i32: return read<std::int32_t>(at);
            case DType::u64: return static_cast<double>(read<std::uint64_t>(at));
            default: fail(Fault::internal, "test Array: ", name_of(dtype_), " is not handled");
        }
    }
    void set(std::int64_t row, std::int64_t col, double value) {
        unsigned char* at = const_cast<unsigned char*>(address(row, col));
        switch (dtype_) {
            case DType::f64: write(at, value); break;
            case DType::f32: write(at, static_cast<float>(value)); break;
            case DType::bf16: write(at, bf16(value)); break;
            case DType::i32: write(at, static_cast<std::int32_t>(value)); break;
            case DType::u64: write(at, static_cast<std::uint64_t>(value)); break;
            default: fail(Fault::internal, "test Array: ", name_of(dtype_), " is not handled");
        }
    }
    /// Element `i` in row-major order.
    double operator[](std::int64_t i) const { return get(i / cols_, i % cols_); }
    void set(std::int64_t i, double value) { set(i / cols_, i % cols_, value); }

    /// The same values as another type.
    Array as(DType dtype) const {
        if (bytes_.empty()) return {};
        Array other(dtype, rows_, cols_, stride_);
        for (std::int64_t i = 0; i < count(); ++i) other.set(i, (*this)[i]);
        return other;
    }
    Array& fill(double value) {
        for (std::int64_t i = 0; i < count(); ++i) set(i, value);
        return *this;
    }

    /// True while nothing wrote before, after or between the rows.
    bool guards_hold() const {
        const auto untouched = [&](std::int64_t first, std::int64_t last) {
            return std::all_of(bytes_.begin() + first, bytes_.begin() + last,
                               [](unsigned char byte) { return byte == kSentinel; });
        };
        const std::int64_t size = size_of(dtype_), end = static_cast<std::int64_t>(bytes_.size());
        bool hold = bytes_.empty() || (untouched(0, kGuard) && untouched(end - kGuard, end));
        for (std::int64_t r = 0; r + 1 < rows_ && cols_ > 0 && stride_ > cols_; ++r) {
            hold = hold && untouched(kGuard + (r * stride_ + cols_) * size, kGuard + (r + 1) * stride_ * size);
        }
        return hold;
    }
    /// Equal shape, type and every bit.
    bool same_bits(const Array& other) const {
        return dtype_ == other.dtype_ && rows_ == other.rows_ && cols_ == other.cols_ && bytes_ == other.bytes_;
    }

private:
    static constexpr std::int64_t kGuard = 256;
    static constexpr unsigned char kSentinel = 0xa5;

    const unsigned char* address(std::int64_t row, std::int64_t col) const {
        return bytes_.data() + kGuard + (row * stride_ + col) * size_of(dtype_);
    }
    void poison(std::int64_t row, std::int64_t col) {
        if (is_floating(dtype_))
            set(row, col, std::numeric_limits<double>::quiet_NaN());
        else
            std::memset(const_cast<unsigned char*>(address(row, col)), 0x7f, static_cast<std::size_t>(size_of(dtype_)));
    }
    template <typename T>
    static T read(const unsigned char* at) {
        T value;
        std::memcpy(&value, at, sizeof value);
        return value;
    }
    template <typename T>
    static void write(unsigned char* at, T value) {
        std::memcpy(at, &value, sizeof value);
    }

    DType dtype_ = DType::f32;
    std::int64_t rows_ = 0;
    std::int64_t cols_ = 0;
    std::int64_t stride_ = 0;
    std::vector<unsigned char> bytes_;
};

/// Uniform in [low, high), the same for the same seed whatever the type (then rounded to it).
inline Array random_array(DType dtype, std::int64_t rows, std::int64_t cols, std::uint64_t seed, double low = -1,
                          double high = 1) {
    Array array(dtype, rows, cols);
    RandomStream stream({.seed = seed, .purpose = RandomPurpose::initialization});
    for (std::int64_t i = 0; i < array.count(); ++i) array.set(i, low + (high - low) * stream.uniform());
    return array;
}

/// Integers of [0, below).
inline Array random_ids(std::int64_t count, std::int32_t below, std::uint64_t seed) {
    Array array(DType::i32, count);
    RandomStream stream({.seed = seed, .purpose = RandomPurpose::initialization});
    for (std::int64_t i = 0; i < count; ++i) array.set(i, stream.below(static_cast<std::uint32_t>(below)));
    return array;
}

inline double dot(const Array& a, const Array& b) {
    double sum = 0;
    for (std::int64_t i = 0; i < a.count(); ++i) sum += a[i] * b[i];
    return sum;
}

/// Largest |a - b| / (1 + |b|); NaN in either gives infinity.
inline double distance(const Array& a, const Array& b) {
    REQUIRE(a.rows() == b.rows());
    REQUIRE(a.cols() == b.cols());
    double largest = 0;
    for (std::int64_t i = 0; i < a.count(); ++i) {
        const double difference = std::abs(a[i] - b[i]) / (1 + std::abs(b[i]));
        if (!(difference <= largest)) largest = std::isnan(difference) ? INFINITY : difference;
    }
    return largest;
}

/// Largest |a - b|; equal infinities are equal, NaN is far away.
inline double worst_difference(const Array& a, const Array& b) {
    REQUIRE(a.count() == b.count());
    double worst = 0;
    for (std::int64_t i = 0; i < a.count(); ++i) {
        if (a[i] == b[i]) continue;
        const double difference = std::abs(a[i] - b[i]);
        worst = std::max(worst, std::isfinite(difference) ? difference : 1e30);
    }
    return worst;
}

/// `value` as a tensor of `dtype` would hold it.
inline double stored_as(DType dtype, double value) {
    return dtype == DType::bf16  ? static_cast<double>(static_cast<float>(bf16(value)))
           : dtype == DType::f32 ? static_cast<double>(static_cast<float>(value))
                                 : value;
}

/// An output of an op in bf16 beside two runs of the plain loop on the same inputs: in double, and in double with every
/// store rounded to bf16 (see stored_as).
struct Bf16Result {
    const Array &got, &exact, &rounded;
};

/// How the result of an op in bf16 is judged: by measurement. Its error may be at most twice that of the plain loop
/// with rounded stores.
inline void check_bf16(const std::string& what, const Bf16Result& result) {
    const double error = worst_difference(result.got, result.exact);
    const double yardstick = worst_difference(result.rounded, result.exact);
    INFO(what << ": error " << error << ", of the plain loop with rounded stores " << yardstick);
    CHECK(error <= 2 * yardstick);
}

/// Half a unit in the last place of the working type, relative: what one rounded store may cost.
inline double rounding_of(DType dtype) {
    return dtype == DType::bf16 ? 0x1p-8 : dtype == DType::f32 ? 0x1p-24 : 0x1p-53;
}

struct Tolerance {
    double step = 1e-6;
    double absolute = 1e-5;
    double relative = 1e-3;
};

/// Checks `gradient` against central differences of loss() in each element of `x` (f64). loss() reruns forward on x.
inline void check_gradient(const std::string& what, Array& x, const Array& gradient,
                           const std::function<double()>& loss, Tolerance tolerance = {}) {
    REQUIRE(x.dtype() == DType::f64);
    REQUIRE(gradient.count() == x.count());
    for (std::int64_t i = 0; i < x.count(); ++i) {
        const double kept = x[i];
        x.set(i, kept + tolerance.step);
        const double above = loss();
        x.set(i, kept - tolerance.step);
        const double below = loss();
        x.set(i, kept);
        const double expected = (above - below) / (2 * tolerance.step);
        INFO(what << ", element " << i << ": gradient " << gradient[i] << ", finite difference " << expected);
        REQUIRE(std::abs(gradient[i] - expected) <= tolerance.absolute + tolerance.relative * std::abs(expected));
    }
}

/// Runs body() with `threads` OpenMP threads, then restores the number.
template <typename Body>
auto with_threads(int threads, const Body& body) {
#ifdef _OPENMP
    struct Restore {
        int before = omp_get_max_threads();
        ~Restore() { omp_set_num_threads(before); }
    } restore;
    omp_set_num_threads(threads);
#else
    (void)threads;
#endif
    return body();
}

/// run() returns the output Arrays; they must have the same bits run twice and with 1, 2 and 3 threads.
inline void check_repeatable(const std::function<std::vector<Array>()>& run) {
    const std::vector<Array> expected = with_threads(1, run);
    for (const int threads : {1, 2, 3}) {
        const std::vector<Array> again = with_threads(threads, run);
        REQUIRE(again.size() == expected.size());
        for (std::size_t i = 0; i < again.size(); ++i) {
            INFO("output " << i << " with " << threads << " threads");
            REQUIRE(again[i].same_bits(expected[i]));
        }
    }
}

/// "fault: message" of the Error that body() throws; empty when it throws none.
template <typename Body>
std::string error_of(const Body& body) {
    try {
        body();
    } catch (const Error& error) {
        const char* fault = error.fault() == Fault::usage    ? "usage: "
                            : error.fault() == Fault::device ? "device: "
                                                             : "other: ";
        return fault + std::string(error.what());
    }
    return "";
}

/// The same view, said to lie on a device.
inline Tensor on_device(Tensor tensor) {
    tensor.place = Place::device;
    return tensor;
}

}  // namespace cloze::test
