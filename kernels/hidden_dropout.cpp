#include "kernels/hidden_dropout.h"

namespace cloze {

void require_hidden_dropout(const HiddenDropout& dropout, std::int64_t rows, std::int64_t cols, const char* op) {
    require(dropout.probability >= 0 && dropout.probability < 1, op, ": dropout probability ", dropout.probability,
            " is outside [0, 1)");
    if (dropout.probability == 0) return;
    require(dropout.state != nullptr, op, ": dropout needs the address of a StepState");
    require(dropout.layer >= 0 && dropout.layer < 4096, op, ": dropout layer ", dropout.layer, " is outside [0, 4096)");
    require(cols <= 8 * 65536, op, ": ", cols, " columns, but dropout reaches 524288");
    require_tensor({op, "dropout.row_sample", dropout.row_sample, 1, rows, DType::u64});
    require_tensor({op, "dropout.row_position", dropout.row_position, 1, rows, DType::i32});
}

}  // namespace cloze
