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

__device__ inline Floats8 floats_of(const Words4& w) {
    Floats8 x;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
        x[2 * i] = low_float(w.word[i]);
        x[2 * i + 1] = high_float(w.word[i]);
    }
    return x;
}

__device__ inline Floats8 floats_of(const Words4& first, const Words4& second) {
    Floats8 x;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
        x[i] = float_of_bits(first.word[i]);
        x[4 + i] = float_of_bits(second.word[i]);
    }
    return x;
}

__device__ inline Words4 load_words_or_zero(bool wanted, const void* from, Cache cache) {
    Words4 w = {};
    if (wanted) w = load_words(from, cache);
    return w;
}

}  // namespace detail

__device__ inline Floats8 load8(const bf16* from, Cache cache = Cache::keep) {
    return detail::floats_of(detail::load_words(from, cache));
}

__device__ inline Floats8 load8(const float* from, Cache cache = Cache::keep) {
    return detail::floats_of(detail::load_words(from, cache), detail::load_words(from + 4, cache));
}

/// Zeros where not `wanted`. A condition around load8 would hold the whole branch, with what is made of the elements,
/// until they have arrived; here only the loads are under it, and many of them can be in flight.
__device__ inline Floats8 load8_or_zero(bool wanted, const bf16* from, Cache cache = Cache::keep) {
    return detail::floats_of(detail::load_words_or_zero(wanted, from, cache));
}

__device__ inline Floats8 load8_or_zero(bool wanted, const float* from, Cache cache = Cache::keep) {
    return detail::floats_of(detail::load_words_or_zero(wanted, from, cache),
                             detail::load_words_or_zero(wanted, from + 4, cache));
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

/// Two floats; the address is aligned to 8.
struct alignas(8) Floats2 {
    float value[2];
};

__device__ inline Floats2 load2(const float* from) {
#ifdef CLOZE_EMULATED
    Floats2 x;
    emulated::load(&x, from, sizeof x);
    return x;
#else
    const float2 v = *reinterpret_cast<const float2*>(from);
    return {{v.x, v.y}};
#endif
}

__device__ inline void store2(float* to, const Floats2& x) {
#ifdef CLOZE_EMULATED
    emulated::store(to, &x, sizeof x);
#else
    *reinterpret_cast<float2*>(to) = make_float2(x.value[0], x.value[1]);
#endif
}

/// Four words, 16 bytes as they are.
using Words4 = detail::Words4;

__device__ inline Words4 load_16(const void* from) {
    return detail::load_words(from, Cache::keep);
}
__device__ inline void store_16(void* to, const Words4& words) {
    detail::store_words(to, words, Cache::keep);
}

/// 16 bytes as they are.
__device__ inline void copy_16(void* to, const void* from) {
    detail::store_words(to, detail::load_words(from, Cache::keep), Cache::keep);
}

}  // namespace cloze
