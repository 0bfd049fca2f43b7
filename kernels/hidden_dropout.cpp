#include "kernels/hidden_dropout.h"

#include <algorithm>
#include <bit>
#include <cstring>

namespace cloze {

void require_hidden_dropout(const HiddenDropout& dropout, std::int64_t rows, std::int64_t cols, const char* op) {
    require(dropout.probability >= 0 && dropout.probability < 1, op, ": dropout probability ", dropout.probability,
            " is outside [0, 1)");
    if (dropout.probability == 0) return;
    const DropoutRate rate = hidden_dropout_rate(dropout.probability);
    require(rate.threshold < rate.steps, op, ": dropout probability ", dropout.probability,
            " rounds to 1 in steps of 1 / 65536");
    require(dropout.state != nullptr, op, ": dropout needs the address of a StepState");
    require(dropout.layer >= 0 && dropout.layer < 4096, op, ": dropout layer ", dropout.layer, " is outside [0, 4096)");
    require(cols <= 8 * 65536, op, ": ", cols, " columns, but dropout reaches 524288");
    require_tensor({op, "dropout.row_sample", dropout.row_sample, 1, rows, DType::u64});
    require_tensor({op, "dropout.row_position", dropout.row_position, 1, rows, DType::i32});
}

namespace {

// Calls per loop: eight counters fill a vector register of 32-bit words.
constexpr std::int64_t kGroups = 8;
constexpr std::int64_t kColumnsPerDraw = 8 * kGroups;
static_assert(kColumnsPerBlock % kColumnsPerDraw == 0);
static_assert(std::endian::native == std::endian::little, "the 16-bit halves of a word lie in memory in order");

// The bits of kColumnsPerDraw columns from group `first` on: word by word into rows of `words`, so that the ten rounds
// vectorise over the groups, then side by side as the columns want them.
inline void draw(const DropoutKey& key, std::uint64_t sample, std::uint32_t position, std::uint32_t first,
                 std::uint16_t* bits) {
    std::uint32_t words[4 * kGroups];
#pragma omp simd
    for (std::uint32_t group = 0; group < kGroups; ++group) {
        const PhiloxBits drawn = hidden_dropout_bits(key, sample, position, first + group);
        words[4 * group] = drawn.word[0];
        words[4 * group + 1] = drawn.word[1];
        words[4 * group + 2] = drawn.word[2];
        words[4 * group + 3] = drawn.word[3];
    }
    std::memcpy(bits, words, sizeof words);
}

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
        draw(key_, row_sample_[row], static_cast<std::uint32_t>(row_position_[row]),
             static_cast<std::uint32_t>((first + c) / 8), bits + c);
    }
#pragma omp simd
    for (std::int64_t c = 0; c < count; ++c) {
        const std::int32_t value = bits[c];
        values[c] = value < threshold_ ? A(0) : values[c] * scale_;
    }
}

template class HiddenMask<float>;
template class HiddenMask<double>;

}  // namespace cloze
