// Fast functions of one float, one instruction each, with the error the PTX manual states (results and arguments below
// 2^-126 count as 0). There is no global fast-math: a kernel says where it wants these.
// Tested by tests/kernels/device/vocabulary_test.cu.
#pragma once

#ifdef CLOZE_EMULATED
#include "kernels/device/emulated.h"
#endif

namespace cloze {

/// 2^x, relative error 2^-22.
__device__ inline float fast_exp2(float x) {
#ifdef CLOZE_EMULATED
    return emulated::approximate_exp2(x);
#else
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
#endif
}

/// log2(x), absolute error 2^-22 for x in [0.5, 2], relative 2^-22 elsewhere.
__device__ inline float fast_log2(float x) {
#ifdef CLOZE_EMULATED
    return emulated::approximate_log2(x);
#else
    float y;
    asm("lg2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
#endif
}

/// 1 / x, relative error 2^-23.
__device__ inline float fast_reciprocal(float x) {
#ifdef CLOZE_EMULATED
    return emulated::approximate_reciprocal(x);
#else
    float y;
    asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
#endif
}

/// 1 / sqrt(x), relative error 2^-22.4.
__device__ inline float fast_rsqrt(float x) {
#ifdef CLOZE_EMULATED
    return emulated::approximate_rsqrt(x);
#else
    float y;
    asm("rsqrt.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
#endif
}

/// e^x, relative error 2^-22 + 1.25 |x| 2^-24: log2(e) is rounded, and so is its product with x.
__device__ inline float fast_exp(float x) {
    return fast_exp2(x * 1.44269504f);
}

/// 1 / (1 + e^-x), relative error 2^-21 + 1.25 |x| 2^-24; exactly 0 below -128 and exactly 1 above 17.
__device__ inline float fast_sigmoid(float x) {
    return fast_reciprocal(1.0f + fast_exp(-x));
}

/// tanh x, absolute error 5e-7; exactly +-1 far out.
__device__ inline float fast_tanh(float x) {
    return 2.0f * fast_sigmoid(2.0f * x) - 1.0f;
}

}  // namespace cloze
