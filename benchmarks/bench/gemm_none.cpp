// A build without cuBLASLt: no products.
#include "benchmarks/bench/gemm.h"

namespace cloze::bench {

std::unique_ptr<ProductLibrary> open_cublaslt(Runner&, int) {
    return nullptr;
}

}  // namespace cloze::bench
