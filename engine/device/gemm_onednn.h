// One tile of an f32 product by oneDNN, on the calling thread alone. Part of builds that have oneDNN and OpenMP.
// Included by gemm.cpp only. Tested by tests/device/gemm_test.cpp.
#pragma once

#include <csignal>
#include <cstdint>
#include <string>

namespace cloze::onednn {

// Note [signals in the library]
// The code that oneDNN 2.6 generates for products keeps other addresses than the stack's in the stack pointer, for
// about an eighth of its time. A signal that is handled just then has its frame written over whatever lies below that
// address: our activations, or the heap. (Of runs stopped by Ctrl-C one in fifteen died of it.) So no thread of ours
// takes a signal while it multiplies: the caller of gemm() blocks them for the time of the call, its helper threads for
// good. What the processor itself raises is never blocked.

/// While it lives, signals to the calling thread wait.
class SignalsWait {
public:
    SignalsWait();
    ~SignalsWait();
    SignalsWait(const SignalsWait&) = delete;
    SignalsWait& operator=(const SignalsWait&) = delete;

private:
    sigset_t before_;
};

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

/// In the thread of a SignalsWait, or in a helper thread of OpenMP. See Note [signals in the library].
void multiply(const TileProduct& product);

/// "oneDNN 2.6.3".
std::string version();

}  // namespace cloze::onednn
