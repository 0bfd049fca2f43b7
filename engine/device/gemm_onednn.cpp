#include "engine/device/gemm_onednn.h"

#include <algorithm>
#include <cstring>
#include <dnnl.h>
#include <omp.h>

#include "kernels/core/error.h"
#include "kernels/core/host_matrix.h"

namespace cloze::onednn {
namespace {

sigset_t all_but_faults() {
    sigset_t set;
    sigfillset(&set);
    for (const int fault : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT, SIGSYS}) sigdelset(&set, fault);
    return set;
}

/// Thread 0 of a team is the one that called gemm(); it has its SignalsWait.
void block_signals_of_helper() {
    if (omp_get_thread_num() == 0) return;
    thread_local bool blocked = false;
    if (blocked) return;
    const sigset_t set = all_but_faults();
    blocked = pthread_sigmask(SIG_BLOCK, &set, nullptr) == 0;
}

/// oneDNN runs sequentially inside an active parallel region, but not in a region of one thread, nor outside of one.
class OneThread {
public:
    OneThread() : before_(omp_get_max_threads()) {
        if (before_ > 1) omp_set_num_threads(1);
    }
    ~OneThread() {
        if (before_ > 1) omp_set_num_threads(before_);
    }
    OneThread(const OneThread&) = delete;
    OneThread& operator=(const OneThread&) = delete;

private:
    int before_;
};

// Depth of a product whose operand is copied: two panels of 128 columns are 256 KiB, half of an L2 cache.
constexpr std::int64_t kCopiedDepth = 256;

/// Rows that lie a multiple of 4 KiB apart meet in one set of the first-level cache, and the library, which walks a
/// depth-first operand down its columns, then runs at a third of its speed (33 GFLOP/s instead of 55 for the weight
/// gradients of BERT-mini's feed-forward). A copy without gaps avoids it; for other strides the copy costs more than it
/// brings.
bool worth_a_copy(const Operand& x, std::int64_t outer) {
    return x.depth_first && x.stride % 1024 == 0 && x.stride > outer;
}

Operand copied(const Operand& x, std::int64_t outer, std::int64_t depth, host::Buffer<float>& buffer) {
    if (!worth_a_copy(x, outer)) return x;
    float* panel = buffer.at_least(outer * kCopiedDepth);
    for (std::int64_t p = 0; p < depth; ++p) std::copy_n(x.data + p * x.stride, outer, panel + p * outer);
    return {panel, outer, true};
}

Operand from_depth(const Operand& x, std::int64_t first) {
    return {x.data + first * (x.depth_first ? x.stride : 1), x.stride, x.depth_first};
}

/// In the library's words an operand is transposed when a, [m, k], or b, [k, n], lies the other way round.
void call_library(const TileProduct& t) {
    const dnnl_status_t status =
        dnnl_sgemm(t.a.depth_first ? 'T' : 'N', t.b.depth_first ? 'N' : 'T', t.m, t.n, t.k, 1.0f, t.a.data, t.a.stride,
                   t.b.data, t.b.stride, t.accumulate ? 1.0f : 0.0f, t.d, t.d_stride);
    if (status != dnnl_success) {
        fail(Fault::internal, "gemm: oneDNN refused [", t.m, ", ", t.k, "] x [", t.k, ", ", t.n, "], status ",
             static_cast<int>(status));
    }
}

}  // namespace

SignalsWait::SignalsWait() {
    const sigset_t set = all_but_faults();
    pthread_sigmask(SIG_BLOCK, &set, &before_);
}

SignalsWait::~SignalsWait() {
    pthread_sigmask(SIG_SETMASK, &before_, nullptr);
}

void multiply(const TileProduct& product) {
    block_signals_of_helper();
    const OneThread one_thread;
    if (!worth_a_copy(product.a, product.m) && !worth_a_copy(product.b, product.n)) return call_library(product);
    thread_local host::Buffer<float> a_buffer, b_buffer;
    for (std::int64_t first = 0; first < product.k; first += kCopiedDepth) {
        TileProduct part = product;
        part.k = std::min(kCopiedDepth, product.k - first);
        part.a = copied(from_depth(product.a, first), product.m, part.k, a_buffer);
        part.b = copied(from_depth(product.b, first), product.n, part.k, b_buffer);
        part.accumulate = product.accumulate || first > 0;
        call_library(part);
    }
}

std::string version() {
    const dnnl_version_t* version = dnnl_version();
    return text("oneDNN ", version->major, ".", version->minor, ".", version->patch);
}

}  // namespace cloze::onednn
