// The encoder (Devlin et al. 2019): embedding, then layers of attention and feed-forward, each followed by
// dropout + residual + LayerNorm (post-LN). Forward and backward stand side by side as plain op calls; what each line
// reads and writes is named in engine/model/activations.h. Tested by tests/model/encoder_test.cpp.
#pragma once

#include "engine/model/activations.h"
#include "engine/model/batch_tensors.h"
#include "engine/model/parameters.h"
#include "kernels/core/step_state.h"

namespace cloze {

/// What every part of the model needs to know about a pass over one micro-batch.
struct Pass {
    const BertConfig& config;
    ParameterView weights;
    BatchTensors batch;
    const StepState* state;
    bool training;  // false: no dropout
    Compute compute = {};
};

void encoder_forward(const Pass& pass, Activations& activations);

/// Reads buffers.dhead or dhidden = gradient of the sequence output. Weight gradients overwrite when `accumulate` is
/// false, except the word table's, to which the masked-LM head has written before.
void encoder_backward(const Pass& pass, const Activations& activations, const BackwardBuffers& buffers,
                      const ParameterView& gradients, bool accumulate);

}  // namespace cloze
