// Shared memory: one arena a block, whose size the launch gives, carved into typed parts in the order of the calls.
// Tested by tests/kernels/device/vocabulary_test.cu.
//
//   SharedArena arena;
//   float* sums = arena.take<float>(kWarps);
//   bf16* tile = arena.take<bf16>(128 * 64, 1024);
//
// The host computes the same bytes with the same calls on a SharedSize.
#pragma once

#include <cstdint>

#include "kernels/core/host_device.h"

#ifdef CLOZE_EMULATED
#include "kernels/device/emulated.h"
#endif

namespace cloze {

/// The arena's start, aligned to 1,024 bytes, as swizzled tiles need.
__device__ inline unsigned char* shared_arena() {
#ifdef CLOZE_EMULATED
    return emulated::shared_arena();
#else
    extern __shared__ __align__(1024) unsigned char arena[];
    return arena;
#endif
}

/// The 32-bit address that instructions on shared memory take.
__device__ inline std::uint32_t shared_address(const void* pointer) {
#ifdef CLOZE_EMULATED
    return emulated::shared_address(pointer);
#else
    return static_cast<std::uint32_t>(__cvta_generic_to_shared(pointer));
#endif
}

/// Adds up what a kernel carves.
class SharedSize {
public:
    template <typename T>
    CLOZE_HD constexpr SharedSize& take(int count, int alignment = 16) {
        bytes_ = (bytes_ + alignment - 1) / alignment * alignment + count * static_cast<int>(sizeof(T));
        return *this;
    }
    CLOZE_HD constexpr int bytes() const { return bytes_; }

private:
    int bytes_ = 0;
};

class SharedArena {
public:
    template <typename T>
    __device__ T* take(int count, int alignment = 16) {
        size_.take<T>(count, alignment);
        return reinterpret_cast<T*>(shared_arena() + size_.bytes() - count * static_cast<int>(sizeof(T)));
    }

private:
    SharedSize size_;
};

}  // namespace cloze
