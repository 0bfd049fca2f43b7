// Status codes of the CUDA runtime become Errors. Only where a build has CUDA.
#pragma once

#include <cuda_runtime.h>

#include "kernels/core/error.h"

namespace cloze {

/// Throws Fault::device naming the call, where it stands and what CUDA says.
inline void check(cudaError_t status, const char* call, Where where = Where::here()) {
    if (status != cudaSuccess) [[unlikely]] {
        fail(Fault::device, call, ": ", cudaGetErrorString(status), " (", cudaGetErrorName(status), "), at ",
             where.file, ":", where.line);
    }
}

}  // namespace cloze
