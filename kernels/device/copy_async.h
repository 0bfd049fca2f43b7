// cp.async: 16 bytes from global to shared memory without passing registers, while the thread goes on.
//
//   copy_async_16(shared_address(tile), source);
//   commit_copies();              // ends a group
//   wait_for_copies<1>();         // all but the newest group of this thread have landed
//   block_barrier();              // ... and those of the other threads
//
// Until then the destination holds neither old nor new; nobody else may touch it. Tested by
// tests/kernels/device/copy_test.cu.
#pragma once

#include <cstdint>

#ifdef CLOZE_EMULATED
#include "kernels/device/emulated.h"
#endif

namespace cloze {

/// Both aligned to 16. Reads `source_bytes` (0 to 16) and fills the rest of the destination with zeros.
__device__ inline void copy_async_16(std::uint32_t shared_destination, const void* source, int source_bytes = 16) {
#ifdef CLOZE_EMULATED
    emulated::copy_async_16(shared_destination, source, source_bytes);
#else
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_destination), "l"(source),
                 "r"(source_bytes)
                 : "memory");
#endif
}

__device__ inline void commit_copies() {
#ifdef CLOZE_EMULATED
    emulated::commit_copies();
#else
    asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}

/// Waits until at most `pending` of this thread's groups have not landed.
template <int pending>
__device__ inline void wait_for_copies() {
#ifdef CLOZE_EMULATED
    emulated::wait_for_copies(pending);
#else
    asm volatile("cp.async.wait_group %0;" ::"n"(pending) : "memory");
#endif
}

}  // namespace cloze
