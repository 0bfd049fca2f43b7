// Four neighbours a thread: for kernels that go through flat buffers in f32, where the lanes of a warp then lie side by
// side, so that each access of 16 bytes a lane fills whole sectors of 32 bytes. With eight f32 a thread
// (kernels/device/vector.h) each access would touch twice the sectors and fill half of each.
//
// Addresses are aligned to the bytes that move: 16 in f32, 8 in bf16. Tested by tests/kernels/device/norm_test.cpp and
// tests/kernels/device/optimizer_update_test.cpp.
#pragma once

#include "kernels/device/vector.h"

namespace cloze {

struct Floats4 {
    float value[4];
    __device__ float& operator[](int i) { return value[i]; }
    __device__ float operator[](int i) const { return value[i]; }
};

namespace detail {

struct alignas(8) Words2 {
    std::uint32_t word[2];
};

__device__ inline Words2 load_two_words(const void* from, Cache cache) {
    Words2 w;
#ifdef CLOZE_EMULATED
    (void)cache;
    emulated::load(&w, from, sizeof w);
#else
    const uint2* words = static_cast<const uint2*>(from);
    const uint2 v = cache == Cache::stream ? __ldcs(words) : *words;
    w = {{v.x, v.y}};
#endif
    return w;
}

__device__ inline void store_two_words(void* to, const Words2& w, Cache cache) {
#ifdef CLOZE_EMULATED
    (void)cache;
    emulated::store(to, &w, sizeof w);
#else
    const uint2 v = make_uint2(w.word[0], w.word[1]);
    if (cache == Cache::stream) {
        __stcs(static_cast<uint2*>(to), v);
    } else {
        *static_cast<uint2*>(to) = v;
    }
#endif
}

}  // namespace detail

__device__ inline Floats4 load4(const float* from, Cache cache = Cache::keep) {
    const detail::Words4 w = detail::load_words(from, cache);
    Floats4 x;
#pragma unroll
    for (int i = 0; i < 4; ++i) x[i] = float_of_bits(w.word[i]);
    return x;
}

__device__ inline Floats4 load4(const bf16* from, Cache cache = Cache::keep) {
    const detail::Words2 w = detail::load_two_words(from, cache);
    return {{low_float(w.word[0]), high_float(w.word[0]), low_float(w.word[1]), high_float(w.word[1])}};
}

__device__ inline void store4(float* to, const Floats4& x, Cache cache = Cache::keep) {
    detail::Words4 w;
#pragma unroll
    for (int i = 0; i < 4; ++i) w.word[i] = bits_of_float(x[i]);
    detail::store_words(to, w, cache);
}

__device__ inline void store4(bf16* to, const Floats4& x, Cache cache = Cache::keep) {
    detail::store_two_words(to, {{pack_bf16(x[0], x[1]), pack_bf16(x[2], x[3])}}, cache);
}

}  // namespace cloze
