// One tile of an f32 product by oneDNN, on the calling thread alone. Part of builds that have oneDNN and OpenMP.
// Included by gemm.cpp only. Tested by tests/device/gemm_test.cpp.
#pragma once

#include <cstdint>
#include <string>

namespace cloze::onednn {

/// An operand as it lies: rows `stride` elements apart, [outer, k], or [k, outer] when `depth_first`.
struct Operand {
    const float* data;
    std::int64_t stride;
    bool depth_first;
};

/// d [m, n] = (or +=) a b.
struct TileProduct {
    float* d;
    std::int64_t d_stride;
    Operand a, b;
    std::int64_t m, n, k;
    bool accumulate;
};

void multiply(const TileProduct& product);

/// "oneDNN 2.6.3".
std::string version();

}  // namespace cloze::onednn
