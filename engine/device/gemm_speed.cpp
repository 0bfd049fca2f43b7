#include "engine/device/gemm_speed.h"

#include <algorithm>
#include <chrono>
#include <vector>

#include "engine/device/gemm.h"
#include "kernels/core/parallel.h"

namespace cloze {
namespace {

/// The fastest of the products that fit 50 ms.
double fastest_seconds(const Gemm& product) {
    using Clock = std::chrono::steady_clock;
    using Seconds = std::chrono::duration<double>;
    constexpr Seconds kEnough{0.05};
    const Clock::time_point begin = Clock::now();
    Seconds fastest = Seconds::max();
    for (Clock::time_point start = begin; start - begin < kEnough;) {
        gemm(product, {});
        const Clock::time_point end = Clock::now();
        fastest = std::min<Seconds>(fastest, end - start);
        start = end;
    }
    return fastest.count();
}

}  // namespace

double measured_gemm_flops_per_second(std::int64_t rows, std::int64_t cols, std::int64_t inner) {
    // Ones: zeros may be quicker than what training multiplies.
    std::vector<float> a(static_cast<std::size_t>(rows * inner), 1.0F), b(static_cast<std::size_t>(cols * inner), 1.0F);
    std::vector<float> d(static_cast<std::size_t>(rows * cols));
    const Gemm product{.d = Tensor::host(d.data(), rows, cols),
                       .a = Tensor::host(a.data(), rows, inner),
                       .b = Tensor::host(b.data(), cols, inner),
                       .transpose_b = true};
    gemm(product, {});  // the library plans, the threads start
    const double together = fastest_seconds(product);
    const int threads = thread_count();
    set_thread_count(1);
    const double alone = fastest_seconds(product);
    set_thread_count(threads);
    return static_cast<double>(gemm_cost(rows, cols, inner, DType::f32).flops) / std::min(together, alone);
}

}  // namespace cloze
