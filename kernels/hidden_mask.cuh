// Dropout of hidden states in a row-wise kernel: the mapping of kernels/core/dropout.h, eight columns a lane, which is
// one Philox call. Nothing of it depends on the elements, so a kernel draws while it waits for them:
//
//   const HiddenMaskDraw mask(op.mask);                 // once a thread: reads the step's key
//   mask.draw({&first, &second}, rows, columns);        // several at once share the key's schedule
//   x[i] = mask.apply(first, i, x[i]);
//
// Tested by tests/kernels/device/layer_norm_test.cpp.
#pragma once

#include "kernels/device/vector.h"
#include "kernels/hidden_dropout.h"

namespace cloze {

/// What a kernel takes of a HiddenDropout.
struct HiddenMaskArguments {
    std::uint32_t threshold = 0;  // 0: no dropout, and nothing below the scale is read
    float scale = 1;
    std::uint32_t layer = 0;
    DropoutSite site = DropoutSite::embedding;
    const StepState* state = nullptr;
    const std::uint64_t* row_sample = nullptr;
    const std::int32_t* row_position = nullptr;
};

inline HiddenMaskArguments hidden_mask_arguments(const HiddenDropout& dropout) {
    const DropoutRate rate = hidden_dropout_rate(dropout.probability);
    if (rate.threshold == 0) return {};
    return {.threshold = rate.threshold,
            .scale = static_cast<float>(rate.keep_scale()),
            .layer = static_cast<std::uint32_t>(dropout.layer),
            .site = dropout.site,
            .state = dropout.state,
            .row_sample = dropout.row_sample.data<std::uint64_t>(),
            .row_position = dropout.row_position.data<std::int32_t>()};
}

/// Where the mask of a row is drawn.
struct alignas(16) HiddenMaskRow {
    std::uint64_t sample;
    std::uint32_t position;
};

/// The mask as a thread draws it. Without dropout every element is kept, times one.
class HiddenMaskDraw {
public:
    __device__ explicit HiddenMaskDraw(const HiddenMaskArguments& arguments)
        : key_{{}, arguments.layer, arguments.site}, threshold_(arguments.threshold), scale_(arguments.scale) {
        if (threshold_ != 0) key_.step_key = arguments.state->dropout_key;
    }

    __device__ static HiddenMaskRow row_of(const HiddenMaskArguments& arguments, std::int64_t row) {
        if (arguments.threshold == 0) return {};
        return {arguments.row_sample[row], static_cast<std::uint32_t>(arguments.row_position[row])};
    }

    /// bits[i]: of the eight columns from column[i] on of row[i].
    template <int kDraws>
    __device__ void draw(PhiloxBits* const (&bits)[kDraws], const HiddenMaskRow (&row)[kDraws],
                         const int (&column)[kDraws]) const {
        if (threshold_ == 0) {
#pragma unroll
            for (int i = 0; i < kDraws; ++i) *bits[i] = {};
            return;
        }
#pragma unroll
        for (int i = 0; i < kDraws; ++i) {
            *bits[i] =
                hidden_dropout_bits(key_, row[i].sample, row[i].position, static_cast<std::uint32_t>(column[i] / 8));
        }
    }

    /// Element i of eight. For one of an odd place the low half of the word does not matter.
    __device__ bool keeps(const PhiloxBits& bits, int i) const {
        const std::uint32_t word = bits.word[i / 2];
        return i % 2 == 0 ? (word & 0xffffu) >= threshold_ : word >= threshold_ << 16;
    }

    /// dropped ? 0 : x * scale.
    __device__ float apply(const PhiloxBits& bits, int i, float x) const {
        const float kept = x * scale_;
        return keeps(bits, i) ? kept : 0.0f;
    }
    /// dropped ? y : x * scale + y.
    __device__ float apply_and_add(const PhiloxBits& bits, int i, float x, float y) const {
        return keeps(bits, i) ? fmaf(x, scale_, y) : y;
    }

private:
    DropoutKey key_;
    std::uint32_t threshold_;
    float scale_;
};

}  // namespace cloze
