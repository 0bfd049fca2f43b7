// Programmatic launches (LaunchShape::programmatic): such a kernel may start before the one before it in the stream has
// ended, and so hides its own start. Its threads wait before they touch global memory for the first time, which the
// emulator checks:
//
//   wait_for_previous_kernel();   // in the kernel launched so, by each thread
//   let_next_kernel_start();      // in the one before it, where little is left to do; without it: when that has ended
//
// Architectures without these instructions launch as usual (kernels/core/launch.h). Tested by
// tests/emulator/faults_test.cu and by every op that sums columns on a device.
#pragma once

#ifdef CLOZE_EMULATED
#include "kernels/device/emulated.h"
#endif

namespace cloze {

/// Waits until every kernel before this one has ended; what they wrote to memory, this thread sees after.
__device__ inline void wait_for_previous_kernel() {
#ifdef CLOZE_EMULATED
    emulated::wait_for_previous_kernel();
#elif __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

/// Once each block has called or returned, a next kernel that is launched so may start. It says nothing of memory.
__device__ inline void let_next_kernel_start() {
#if !defined(CLOZE_EMULATED) && __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.launch_dependents;");
#endif
}

}  // namespace cloze
