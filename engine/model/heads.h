// The two heads of pretraining (Devlin et al. 2019, section 3.1): masked-LM on the masked positions only, its decoder
// tied to the word table, and next-sentence on the pooled [CLS]. Forward beside backward. Tested by
// tests/model/encoder_test.cpp.
#pragma once

#include "engine/model/encoder.h"

namespace cloze {

/// Losses and, when training, the gradients of the logits: heads.logits and heads.next_sentence_logits then hold them,
/// scaled by state->inverse_masked and state->inverse_sequences.
void masked_lm_forward(const Pass& pass, const Activations& activations);
void next_sentence_forward(const Pass& pass, const Activations& activations);

/// Writes the gradient of the sequence output, buffers.dhead where only the heads' rows are computed, else
/// buffers.dhidden: this head first.
void masked_lm_backward(const Pass& pass, const Activations& activations, const BackwardBuffers& buffers,
                        const ParameterView& gradients, bool accumulate);
/// Adds to it.
void next_sentence_backward(const Pass& pass, const Activations& activations, const BackwardBuffers& buffers,
                            const ParameterView& gradients, bool accumulate);

}  // namespace cloze
