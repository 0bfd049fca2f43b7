// Matrix products: every orientation against a triple loop, strides, and the same bits at any number of threads.
#include "engine/device/gemm.h"

#include <catch2/catch.hpp>
#include <cmath>
#include <csignal>
#include <cstring>
#include <limits>
#include <sys/time.h>
#include <vector>

#include "engine/device/gemm_speed.h"
#include "kernels/core/parallel.h"
#include "kernels/core/philox.h"

#ifdef _OPENMP
#include <omp.h>
#endif

namespace cloze {
namespace {

using Catch::Equals;

/// A matrix inside a wider buffer whose surroundings must stay as they are.
template <typename T>
struct Guarded {
    std::int64_t rows, cols, stride;
    std::vector<T> buffer;

    Guarded(std::int64_t r, std::int64_t c, std::int64_t gap, std::uint32_t seed)
        : rows(r), cols(c), stride(c + gap), buffer(static_cast<std::size_t>((r + 2) * (c + gap)), T(-77.0f)) {
        for (std::int64_t i = 0; i < r; ++i) {
            for (std::int64_t j = 0; j < c; ++j) {
                const auto word = philox(static_cast<std::uint32_t>(i), static_cast<std::uint32_t>(j), seed, 9, {1, 2});
                at(i, j) = T(static_cast<float>(word.word[0] >> 8) * 0x1p-23f - 1.0f);
            }
        }
    }
    T& at(std::int64_t i, std::int64_t j) { return buffer[static_cast<std::size_t>((i + 1) * stride + j)]; }
    Tensor tensor() {
        Tensor view = Tensor::host(buffer.data() + stride, rows, cols);
        view.stride = stride;
        return view;
    }
    bool surroundings_untouched() {
        for (std::int64_t i = -1; i <= rows; ++i) {
            for (std::int64_t j = 0; j < stride; ++j) {
                const bool inside = i >= 0 && i < rows && j < cols;
                if (!inside && static_cast<double>(at(i, j)) != -77.0) return false;
            }
        }
        return true;
    }
};

struct Case {
    std::int64_t m, n, k;
    bool transpose_a, transpose_b, accumulate, bias;
    std::int64_t gap;
};

/// Largest error against the triple loop in double, in units of sum |a| |b| of the element (so: of the rounding).
template <typename Storage, typename Out>
double worst_error(const Case& c) {
    Guarded<Storage> a(c.transpose_a ? c.k : c.m, c.transpose_a ? c.m : c.k, c.gap, 1);
    Guarded<Storage> b(c.transpose_b ? c.n : c.k, c.transpose_b ? c.k : c.n, c.gap, 2);
    Guarded<Storage> bias(1, c.n, c.gap, 3);
    Guarded<Out> d(c.m, c.n, c.gap, 4);
    Guarded<Out> before = d;
    // What is overwritten may hold anything.
    if (!c.accumulate && c.m * c.n > 0) d.at(0, 0) = Out(std::numeric_limits<float>::quiet_NaN());
    gemm({.d = d.tensor(),
          .a = a.tensor(),
          .b = b.tensor(),
          .transpose_a = c.transpose_a,
          .transpose_b = c.transpose_b,
          .accumulate = c.accumulate,
          .bias = c.bias ? bias.tensor() : Tensor{}},
         {});
    CHECK(d.surroundings_untouched());
    double worst = 0;
    for (std::int64_t i = 0; i < c.m; ++i) {
        for (std::int64_t j = 0; j < c.n; ++j) {
            double sum = c.accumulate ? static_cast<double>(before.at(i, j)) : 0.0;
            if (c.bias) sum += static_cast<double>(bias.at(0, j));
            double size = std::fabs(sum);
            for (std::int64_t p = 0; p < c.k; ++p) {
                const double product = static_cast<double>(c.transpose_a ? a.at(p, i) : a.at(i, p)) *
                                       static_cast<double>(c.transpose_b ? b.at(j, p) : b.at(p, j));
                sum += product;
                size += std::fabs(product);
            }
            const double error = std::fabs(static_cast<double>(d.at(i, j)) - sum);
            if (!(error == 0)) worst = std::max(worst, std::isnan(error) ? 1e9 : error / size);
        }
    }
    return worst;
}

const std::vector<std::array<std::int64_t, 3>> kShapes = {
    {1, 1, 1},     {0, 5, 3},      {5, 0, 3},       {5, 3, 0},    {1, 17, 31},
    {17, 1, 2},    {2, 3, 5},      {63, 64, 7},     {64, 65, 13}, {129, 127, 37},
    {257, 31, 65}, {33, 130, 257}, {130, 259, 128}, {8, 8, 1100}, {7, 70, 3000}};

template <typename Storage, typename Out>
void check_all(double tolerance) {
    std::int64_t number = 0;
    for (const auto& [m, n, k] : kShapes) {
        for (int flags = 0; flags < 8; ++flags) {
            const bool accumulate = (flags & 4) != 0, odd = ++number % 2 != 0;
            const Case c{m, n, k, (flags & 1) != 0, (flags & 2) != 0, accumulate, !accumulate && odd, odd ? 3 : 0};
            INFO("m " << m << " n " << n << " k " << k << " flags " << flags);
            CHECK(worst_error<Storage, Out>(c) <= tolerance);
        }
        ++number;  // so that each flag meets odd and even
    }
}

TEST_CASE("gemm in f64 equals the triple loop") {
    check_all<double, double>(1e-15);
}
TEST_CASE("gemm in f32 equals the triple loop up to rounding") {
    check_all<float, float>(4e-7);
}
TEST_CASE("gemm is right in tiles of every size, of tall and of wide products") {
    // Cut into tiles of up to 256 and 128 rows and columns; kShapes are cut into 64.
    for (const auto& [m, n, k] :
         std::vector<std::array<std::int64_t, 3>>{{1500, 1600, 9}, {1600, 1500, 9}, {300, 700, 5}, {700, 300, 5}}) {
        INFO("m " << m << " n " << n);
        CHECK(worst_error<float, float>({m, n, k, false, true, false, true, 3}) <= 4e-7);
        CHECK(worst_error<double, double>({m, n, k, true, false, true, false, 0}) <= 1e-15);
    }
}
TEST_CASE("gemm takes rows 4 KiB apart") {
    for (int flags = 0; flags < 8; ++flags) {
        const bool transpose_a = (flags & 1) != 0, transpose_b = (flags & 2) != 0;
        INFO("flags " << flags);
        // As many columns in every operand, so that one gap makes all strides 1024 elements.
        CHECK(worst_error<float, float>({70, 70, 70, transpose_a, transpose_b, (flags & 4) != 0, false, 954}) <= 4e-7);
        CHECK(worst_error<float, float>({65, 33, 600, transpose_a, transpose_b, (flags & 4) != 0, false,
                                         1024 - (transpose_a ? 65 : 33)}) <= 4e-7);
    }
}
TEST_CASE("gemm of bf16 into f32 equals the triple loop up to f32 rounding") {
    check_all<bf16, float>(4e-7);
}
TEST_CASE("gemm of bf16 into bf16 rounds once") {
    check_all<bf16, bf16>(1.0 / 256);
}

#ifdef _OPENMP
template <typename Storage, typename Out>
void check_threads(const Case& c) {
    const int before = omp_get_max_threads();
    std::vector<std::vector<Out>> results;
    for (const int threads : {1, 2, 3}) {
        omp_set_num_threads(threads);
        Guarded<Storage> a(c.transpose_a ? c.k : c.m, c.transpose_a ? c.m : c.k, 0, 1);
        Guarded<Storage> b(c.transpose_b ? c.n : c.k, c.transpose_b ? c.k : c.n, 0, 2);
        Guarded<Out> d(c.m, c.n, 0, 3);
        gemm({.d = d.tensor(),
              .a = a.tensor(),
              .b = b.tensor(),
              .transpose_a = c.transpose_a,
              .transpose_b = c.transpose_b,
              .accumulate = c.accumulate},
             {});
        CHECK(omp_get_max_threads() == threads);
        results.push_back(d.buffer);
    }
    omp_set_num_threads(before);
    for (const auto& result : results) {
        CHECK(std::memcmp(result.data(), results[0].data(), result.size() * sizeof(Out)) == 0);
    }
}

TEST_CASE("gemm gives the same bits at 1, 2 and 3 threads") {
    for (const auto& [m, n, k] : std::vector<std::array<std::int64_t, 3>>{
             {37, 41, 90}, {60, 50, 400}, {128, 128, 4096}, {517, 384, 128}, {600, 1000, 64}, {2, 128, 700}}) {
        for (int flags = 0; flags < 8; ++flags) {
            INFO("m " << m << " n " << n << " k " << k << " flags " << flags);
            check_threads<float, float>({m, n, k, (flags & 1) != 0, (flags & 2) != 0, (flags & 4) != 0, false, 0});
        }
        check_threads<double, double>({m, n, k, true, false, false, false, 0});
        check_threads<bf16, float>({m, n, k, false, true, true, false, 0});
    }
    // Tiles of 256; the shapes above have 64 and 128.
    check_threads<float, float>({1500, 1600, 9, false, true, false, false, 0});
}
#endif

TEST_CASE("signals in the middle of products change nothing") {
    static volatile std::sig_atomic_t signals = 0;
    struct sigaction count {};
    struct sigaction before {};
    count.sa_handler = [](int) { signals = signals + 1; };
    count.sa_flags = SA_RESTART;
    REQUIRE(sigaction(SIGALRM, &count, &before) == 0);
    const auto send_every = [](suseconds_t microseconds) {
        const itimerval period{{0, microseconds}, {0, microseconds}};
        REQUIRE(setitimer(ITIMER_REAL, &period, nullptr) == 0);
    };
    const std::int64_t m = 256, n = 128, k = 600;
    std::vector<float> a(static_cast<std::size_t>(m * k)), b(static_cast<std::size_t>(n * k));
    for (std::size_t i = 0; i < a.size(); ++i) a[i] = static_cast<float>(i % 7) - 3;
    for (std::size_t i = 0; i < b.size(); ++i) b[i] = static_cast<float>(i % 5) - 2;
    std::vector<float> expected, d(static_cast<std::size_t>(m * n));
    for (int round = 0; round < 300; ++round) {
        for (const bool transpose : {false, true}) {
            gemm({.d = Tensor::host(d.data(), m, n),
                  .a = transpose ? Tensor::host(a.data(), k, m) : Tensor::host(a.data(), m, k),
                  .b = transpose ? Tensor::host(b.data(), n, k) : Tensor::host(b.data(), k, n),
                  .transpose_a = transpose,
                  .transpose_b = transpose},
                 {});
            if (round == 0) {
                expected.insert(expected.end(), d.begin(), d.end());
            } else {
                const auto* start = expected.data() + (transpose ? d.size() : 0);
                REQUIRE(std::equal(d.begin(), d.end(), start));
            }
        }
        if (round == 0) send_every(100);
    }
    send_every(0);
    CHECK(signals > 0);
    sigaction(SIGALRM, &before, nullptr);
}

TEST_CASE("gemm names what is wrong with its arguments") {
    Guarded<float> output(4, 4, 0, 1), left(4, 4, 0, 2), right(5, 4, 0, 3), row(1, 4, 0, 4);
    std::vector<std::int32_t> ids(16);
    const Tensor d = output.tensor(), a = left.tensor(), b = right.tensor().row_range(0, 4), bias = row.tensor();
    CHECK_NOTHROW(gemm({.d = d, .a = a, .b = b, .bias = bias}, {}));
    CHECK_NOTHROW(gemm({.d = d, .a = a, .b = a}, {}));
    CHECK_THROWS_WITH(gemm({.d = d, .a = a, .b = right.tensor()}, {}),
                      Equals("gemm: b must be f32 [4, 4], but it is f32 [5, 4]"));
    CHECK_THROWS_WITH(gemm({.d = d, .a = Tensor{}, .b = b}, {}),
                      Equals("gemm: a must be f32 [4, 0], but it is absent"));
    CHECK_THROWS_WITH(gemm({.d = d, .a = Tensor::host(ids.data(), 4, 4), .b = b}, {}),
                      Equals("gemm: a is i32, but must be f64, f32 or bf16"));
    CHECK_THROWS_WITH(gemm({.d = d, .a = a, .b = b, .accumulate = true, .bias = bias}, {}),
                      Equals("gemm: bias and accumulate exclude each other: the bias would be added twice"));
    CHECK_THROWS_WITH(gemm({.d = d, .a = d, .b = b}, {}),
                      Equals("gemm: d shares memory with a; give it a buffer of its own"));
    CHECK_THROWS_WITH(gemm({.d = d, .a = a, .b = d, .accumulate = true}, {}),
                      Equals("gemm: d shares memory with b; give it a buffer of its own"));
    CHECK_THROWS_WITH(gemm({.d = d, .a = a, .b = b, .bias = d.row_range(3, 1)}, {}),
                      Equals("gemm: d shares memory with bias; give it a buffer of its own"));
    Tensor overlapping = d;
    overlapping.stride = 3;
    CHECK_THROWS_WITH(gemm({.d = overlapping, .a = a, .b = b}, {}),
                      Equals("gemm: d has rows that overlap: row stride 3 for 4 columns"));
}

TEST_CASE("the measured speed of a product is a positive number") {
    const int threads = thread_count();
    const double speed = measured_gemm_flops_per_second(33, 65, 17);
    CHECK(std::isfinite(speed));
    CHECK(speed > 0);
    CHECK(thread_count() == threads);
}

TEST_CASE("gemm costs two operations for each multiply-add") {
    CHECK(gemm_cost(2, 3, 5, DType::f32).flops == 60);
    CHECK(gemm_cost(2, 3, 5, DType::f32).bytes == 4 * (10 + 15 + 6));
}

}  // namespace
}  // namespace cloze
