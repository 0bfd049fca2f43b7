// The words of CUDA that mark functions, for g++: each .cu file is compiled with this in front (-include).
#pragma once

#include <cstddef>

// Copies that the compiler leaves as calls, also those it makes of loops, so that the race detector sees them.
extern "C" {
void* memcpy(void* to, const void* from, std::size_t bytes) noexcept __asm__("cloze_kernel_memcpy");
void* memmove(void* to, const void* from, std::size_t bytes) noexcept __asm__("cloze_kernel_memmove");
void* memset(void* to, int value, std::size_t bytes) noexcept __asm__("cloze_kernel_memset");
}

#include <cmath>
#include <cstring>

#define __global__
#define __device__
#define __grid_constant__
#define __host__
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
