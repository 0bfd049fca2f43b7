// What changes from step to step. Ops hold the address of a StepState (and of BatchCounts) instead of the values, so
// that a recorded graph can be replayed: the host rewrites these few bytes, the graph stays.
#pragma once

#include <cstdint>

#include "kernels/core/philox.h"

namespace cloze {

/// One step of training. Written by the host before the step, except the fields marked "op". Doubles, because the
/// reference path runs in double; kernels narrow what they read.
struct StepState {
    std::int64_t step = 0;         // counts updates, from 0
    PhiloxKey dropout_key{0, 0};   // of this step, see step_dropout_key()
    double learning_rate = 0;      // of this step
    double inverse_masked = 0;     // 1 / masked tokens of the whole step, all micro-batches and ranks
    double inverse_sequences = 0;  // 1 / sequences of the whole step
    double bias_correction1 = 1;   // 1 - beta1^t, or 1 when the recipe has no bias correction
    double bias_correction2 = 1;   // 1 - beta2^t, or 1
    double gradient_norm = 0;      // op: global L2 norm before clipping
    double gradient_scale = 1;     // op: what clipping multiplies the gradients by
    std::int32_t skip = 0;         // op: 1 when a gradient is not finite; the update then changes nothing
};

/// How much of a micro-batch's fixed capacity is in use.
struct BatchCounts {
    std::int32_t tokens = 0;
    std::int32_t sequences = 0;
    std::int32_t masked = 0;
};

/// Key of a step's dropout: derived, so that (seed, step) is all there is to remember.
inline PhiloxKey step_dropout_key(std::uint64_t seed, std::int64_t step) {
    const PhiloxBits bits = philox(static_cast<std::uint32_t>(step), static_cast<std::uint32_t>(step >> 32), 0,
                                   static_cast<std::uint32_t>(RandomPurpose::dropout_key) << 24, philox_key(seed));
    return {bits.word[0], bits.word[1]};
}

}  // namespace cloze
