// Dropout of hidden states, as the row-wise ops take it. The mapping itself is kernels/core/dropout.h; here are the
// argument that ops share and the host's way to draw it fast. Tested by tests/kernels/hidden_dropout_test.cpp.
#pragma once

#include "kernels/core/contract.h"
#include "kernels/core/dropout.h"
#include "kernels/core/lanes.h"
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

/// Throws unless the rows' samples and positions lie where `tensor`, an argument of the op, does.
void require_hidden_dropout_place(const HiddenDropout& dropout, const Named& tensor, const char* op);

/// Host side: the masks of one call, drawn where they are needed. Reads the state's key when it is made.
template <typename A>
class HiddenMask {
public:
    explicit HiddenMask(const HiddenDropout& dropout);

    /// values[c] = dropped ? 0 : values[c] * scale for columns [first, first + count) of `row`. `first` is a multiple
    /// of 8 and `count` at most kColumnsPerBlock. Does nothing when dropout is off.
    void apply(A* values, std::int64_t row, std::int64_t first, std::int64_t count) const;

    bool on() const { return threshold_ != 0; }

private:
    std::int32_t threshold_ = 0;
    A scale_ = 1;
    DropoutKey key_{};
    const std::uint64_t* row_sample_ = nullptr;
    const std::int32_t* row_position_ = nullptr;
};

}  // namespace cloze
