// Loads and stores of 16 bytes, the widest an instruction of a thread moves: 8 bf16 or 4 f32. A row-wise kernel works
// on eight elements a thread whatever the storage, as floats in registers:
//
//   Floats8 x = load8(source + i, Cache::stream);
//   store8(destination + i, x);
//
// Addresses are aligned to 16 bytes. Tested by tests/kernels/device/vocabulary_test.cu.
#pragma once

#include <cstdint>

#include "kernels/device/bf16.h"

namespace cloze {

/// What a thread holds of a row.
struct Floats8 {
    float value[8];
    __device__ float& operator[](int i) {
#ifdef CLOZE_EMULATED
        [[maybe_unused]] const float read = value[i];  // a reference alone may lie one behind the last
#endif
        return value[i];
    }
    __device__ float operator[](int i) const {
        return value[i];
    }
};

/// keep: through the caches as usual. stream: read or written once, first to be evicted; global memory only.
enum class Cache { keep, stream };

namespace detail {

struct alignas(16) Words4 {
    std::uint32_t word[4];
};

__device__ inline Words4 load_words(const void* from, Cache cache) {
    Words4 w;
#ifdef CLOZE_EMULATED
    (void)cache;
    emulated::load(&w, from, sizeof w);
#else
    const uint4* words = static_cast<const uint4*>(from);
    const uint4 v = cache == Cache::stream ? __ldcs(words) : *words;
    w = {{v.x, v.y, v.z, v.w}};
#endif
    return w;
}

__device__ inline void store_words(void* to, const Words4& w, Cache cache) {
#ifdef CLOZE_EMULATED
    (void)cache;
    emulated::store(to, &w, sizeof w);
#else
    const uint4 v = make_uint4(w.word[0], w.word[1], w.word[2], w.word[3]);
    if (cache == Cache::stream) {
        __stcs(static_cast<uint4*>(to), v);
    } else {
        *static_cast<uint4*>(to) = v;
    }
#endif
}

}  // namespace detail

__device__ inline Floats8 load8(const bf16* from, Cache cache = Cache::keep) {
    const detail::Words4 w = detail::load_words(from, cache);
    Floats8 x;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
        x[2 * i] = low_float(w.word[i]);
        x[2 * i + 1] = high_float(w.word[i]);
    }
    return x;
}

__device__ inline Floats8 load8(const float* from, Cache cache = Cache::keep) {
    Floats8 x;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
        const detail::Words4 w = detail::load_words(from + 4 * half, cache);
#pragma unroll
        for (int i = 0; i < 4; ++i) x[4 * half + i] = float_of_bits(w.word[i]);
    }
    return x;
}

__device__ inline void store8(bf16* to, const Floats8& x, Cache cache = Cache::keep) {
    detail::Words4 w;
#pragma unroll
    for (int i = 0; i < 4; ++i) w.word[i] = pack_bf16(x[2 * i], x[2 * i + 1]);
    detail::store_words(to, w, cache);
}

__device__ inline void store8(float* to, const Floats8& x, Cache cache = Cache::keep) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
        detail::Words4 w;
#pragma unroll
        for (int i = 0; i < 4; ++i) w.word[i] = bits_of_float(x[4 * half + i]);
        detail::store_words(to + 4 * half, w, cache);
    }
}

}  // namespace cloze
