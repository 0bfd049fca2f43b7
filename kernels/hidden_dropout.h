// Dropout of hidden states, as the row-wise ops take it. The mapping itself is kernels/core/dropout.h.
#pragma once

#include "kernels/core/dropout.h"
#include "kernels/core/step_state.h"
#include "kernels/core/tensor.h"

namespace cloze {

/// Rows carry their own (sample, position), so that gathered rows keep their masks. Default: no dropout.
struct HiddenDropout {
    double probability = 0;  // rounded to k / 65536; 0 = off, and nothing below is read
    std::int32_t layer = 0;  // < 4096
    DropoutSite site = DropoutSite::embedding;
    const StepState* state = nullptr;  // gives the step's key; lies where the tensors lie
    Tensor row_sample = {};            // [rows]  u64  index of the row's sample in the run's stream
    Tensor row_position = {};          // [rows]  i32  position of the row in its sample
};

/// Throws unless `dropout` is off or complete for `rows` rows of `cols` columns. `op` opens the message.
void require_hidden_dropout(const HiddenDropout& dropout, std::int64_t rows, std::int64_t cols, const char* op);

}  // namespace cloze
