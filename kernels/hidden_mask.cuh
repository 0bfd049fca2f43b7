// Dropout of hidden states in a row-wise kernel: the mapping of kernels/core/dropout.h, eight columns a lane, which is
// one Philox call. Tested by tests/kernels/device/layer_norm_test.cpp.
#pragma once

#include "kernels/device/vector.h"
#include "kernels/hidden_dropout.h"

namespace cloze {

/// What a kernel takes of a HiddenDropout.
struct HiddenMaskArguments {
    std::uint32_t threshold;  // 0: no dropout, and nothing below is read
    float scale;
    std::uint32_t layer;
    DropoutSite site;
    const StepState* state;
    const std::uint64_t* row_sample;
    const std::int32_t* row_position;
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

/// x[c] = dropped ? 0 : x[c] * scale, for the eight columns of `row` from `column` on.
__device__ inline void apply_hidden_mask(Floats8& x, const HiddenMaskArguments& mask, std::int64_t row,
                                         std::int64_t column) {
    if (mask.threshold == 0) return;
    const DropoutKey key{mask.state->dropout_key, mask.layer, mask.site};
    const PhiloxBits bits =
        hidden_dropout_bits(key, mask.row_sample[row], static_cast<std::uint32_t>(mask.row_position[row]),
                            static_cast<std::uint32_t>(column / 8));
#pragma unroll
    for (int i = 0; i < 8; ++i) {
        const float kept = x[i] * mask.scale;
        x[i] = hidden_dropout_value(bits, static_cast<std::uint32_t>(i)) < mask.threshold ? 0.0f : kept;
    }
}

}  // namespace cloze
