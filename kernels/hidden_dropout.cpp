#include "kernels/hidden_dropout.h"

#include <bit>
#include <cstring>

#include "kernels/core/contract.h"
#include "kernels/core/philox_lanes.h"

namespace cloze {

void require_hidden_dropout(const HiddenDropout& dropout, std::int64_t rows, std::int64_t cols, const char* op) {
    if (require_dropout_rate(op, dropout.probability, hidden_dropout_rate).threshold == 0) return;
    require(dropout.state != nullptr, op, ": dropout needs the address of a StepState");
    require(dropout.layer >= 0 && dropout.layer < 4096, op, ": dropout layer ", dropout.layer, " is outside [0, 4096)");
    require(cols <= 8 * 65536, op, ": ", cols, " columns, but dropout reaches 524288");
    require_tensor({op, "dropout.row_sample", dropout.row_sample, 1, rows, DType::u64});
    require_tensor({op, "dropout.row_position", dropout.row_position, 1, rows, DType::i32});
}

void require_hidden_dropout_place(const HiddenDropout& dropout, const Named& tensor, const char* op) {
    if (dropout.probability == 0) return;
    common_place(op,
                 {tensor, {"dropout.row_sample", dropout.row_sample}, {"dropout.row_position", dropout.row_position}});
}

namespace {

constexpr std::int64_t kColumnsPerDraw = 8 * kPhiloxLanes;
static_assert(kColumnsPerBlock % kColumnsPerDraw == 0);
static_assert(std::endian::native == std::endian::little, "the 16-bit halves of a word lie in memory in order");

}  // namespace

template <typename A>
HiddenMask<A>::HiddenMask(const HiddenDropout& dropout) {
    const DropoutRate rate = hidden_dropout_rate(dropout.probability);
    if (rate.threshold == 0) return;
    threshold_ = static_cast<std::int32_t>(rate.threshold);
    scale_ = static_cast<A>(rate.keep_scale());
    key_ = {dropout.state->dropout_key, static_cast<std::uint32_t>(dropout.layer), dropout.site};
    row_sample_ = dropout.row_sample.data<std::uint64_t>();
    row_position_ = dropout.row_position.data<std::int32_t>();
}

template <typename A>
void HiddenMask<A>::apply(A* values, std::int64_t row, std::int64_t first, std::int64_t count) const {
    if (!on()) return;
    std::uint16_t bits[kColumnsPerBlock];
    for (std::int64_t c = 0; c < count; c += kColumnsPerDraw) {
        std::uint32_t words[kPhiloxLanes][4];
        philox_lanes::by_call(
            words,
            hidden_dropout_counter(key_, row_sample_[row], static_cast<std::uint32_t>(row_position_[row]),
                                   static_cast<std::uint32_t>((first + c) / 8)),
            key_.step_key);
        std::memcpy(bits + c, words, sizeof words);
    }
    const std::int32_t threshold = threshold_;
    const A scale = scale_;
#pragma omp simd
    for (std::int64_t c = 0; c < count; ++c) {
        const A kept = values[c] * scale;
        values[c] = bits[c] < threshold ? A(0) : kept;
    }
}

template class HiddenMask<float>;
template class HiddenMask<double>;

}  // namespace cloze
