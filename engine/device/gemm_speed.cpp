#include "engine/device/gemm_speed.h"

#include <algorithm>
#include <chrono>
#include <vector>

#include "engine/device/gemm.h"

namespace cloze {

double measured_gemm_flops_per_second(std::int64_t rows, std::int64_t cols, std::int64_t inner) {
    using Clock = std::chrono::steady_clock;
    using Seconds = std::chrono::duration<double>;
    constexpr Seconds kEnough{0.05};
    // Ones: zeros may be quicker than what training multiplies.
    std::vector<float> a(static_cast<std::size_t>(rows * inner), 1.0F), b(static_cast<std::size_t>(cols * inner), 1.0F);
    std::vector<float> d(static_cast<std::size_t>(rows * cols));
    const Gemm product{.d = Tensor::host(d.data(), rows, cols),
                       .a = Tensor::host(a.data(), rows, inner),
                       .b = Tensor::host(b.data(), cols, inner),
                       .transpose_b = true};
    gemm(product, {});  // the library plans, the threads start
    Seconds fastest{0}, spent{0};
    while (spent < kEnough) {
        const Clock::time_point start = Clock::now();
        gemm(product, {});
        const Seconds taken = Clock::now() - start;
        fastest = spent.count() == 0 ? taken : std::min(fastest, taken);
        spent += taken;
    }
    return static_cast<double>(gemm_cost(rows, cols, inner, DType::f32).flops) / fastest.count();
}

}  // namespace cloze
