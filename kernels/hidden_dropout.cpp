#include "kernels/hidden_dropout.h"

#include <bit>
#include <cstring>
#ifdef __AVX2__
#include <immintrin.h>
#endif

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

void require_hidden_dropout_place(const HiddenDropout& dropout, const Named& tensor, const char* op) {
    if (dropout.probability == 0) return;
    common_place(op,
                 {tensor, {"dropout.row_sample", dropout.row_sample}, {"dropout.row_position", dropout.row_position}});
}

namespace {

constexpr std::int64_t kGroupsPerDraw = 8;
constexpr std::int64_t kColumnsPerDraw = 8 * kGroupsPerDraw;
static_assert(kColumnsPerBlock % kColumnsPerDraw == 0);
static_assert(std::endian::native == std::endian::little, "the 16-bit halves of a word lie in memory in order");

// draw() writes the bits of kColumnsPerDraw columns from group `first` on, in order of columns.
#ifdef __AVX2__

// Four groups at a time, a word of each in the low half of a 64-bit lane, where one instruction gives the full product.
// The high halves hold leftovers that no product reads. The compiler's own vectors of 32-bit words need twice the
// instructions, most of them shuffles: 1.4 ns an element against 0.5.
inline void draw_four(const DropoutKey& key, std::uint64_t sample, std::uint32_t position, std::uint32_t first,
                      std::uint16_t* bits) {
    const __m256i multiplier0 = _mm256_set1_epi64x(0xD2511F53);
    const __m256i multiplier1 = _mm256_set1_epi64x(0xCD9E8D57);
    // Lanes hold groups 0, 2, 1, 3, so that the unpacking below leaves them in order.
    const auto counter = [&](std::uint32_t group) { return static_cast<std::int64_t>(key.counter0(first + group)); };
    __m256i c0 = _mm256_set_epi64x(counter(3), counter(1), counter(2), counter(0));
    __m256i c1 = _mm256_set1_epi64x(position);
    __m256i c2 = _mm256_set1_epi64x(static_cast<std::uint32_t>(sample));
    __m256i c3 = _mm256_set1_epi64x(static_cast<std::int64_t>(sample >> 32));
    PhiloxKey round_key = key.step_key;
    for (int round = 0; round < 10; ++round) {
        const __m256i product0 = _mm256_mul_epu32(multiplier0, c0);
        const __m256i product1 = _mm256_mul_epu32(multiplier1, c2);
        c0 = _mm256_xor_si256(_mm256_xor_si256(_mm256_srli_epi64(product1, 32), c1), _mm256_set1_epi64x(round_key.low));
        c2 =
            _mm256_xor_si256(_mm256_xor_si256(_mm256_srli_epi64(product0, 32), c3), _mm256_set1_epi64x(round_key.high));
        c1 = product1;
        c3 = product0;
        round_key.low += 0x9E3779B9u;
        round_key.high += 0xBB67AE85u;
    }
    const __m256i words01 = _mm256_blend_epi32(c0, _mm256_slli_epi64(c1, 32), 0b10101010);
    const __m256i words23 = _mm256_blend_epi32(c2, _mm256_slli_epi64(c3, 32), 0b10101010);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(bits), _mm256_unpacklo_epi64(words01, words23));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(bits + 16), _mm256_unpackhi_epi64(words01, words23));
}

inline void draw(const DropoutKey& key, std::uint64_t sample, std::uint32_t position, std::uint32_t first,
                 std::uint16_t* bits) {
    draw_four(key, sample, position, first, bits);
    draw_four(key, sample, position, first + 4, bits + 32);
}

#else

inline void draw(const DropoutKey& key, std::uint64_t sample, std::uint32_t position, std::uint32_t first,
                 std::uint16_t* bits) {
    std::uint32_t words[4 * kGroupsPerDraw];
#pragma omp simd
    for (std::uint32_t group = 0; group < kGroupsPerDraw; ++group) {
        const PhiloxBits drawn = hidden_dropout_bits(key, sample, position, first + group);
        words[4 * group] = drawn.word[0];
        words[4 * group + 1] = drawn.word[1];
        words[4 * group + 2] = drawn.word[2];
        words[4 * group + 3] = drawn.word[3];
    }
    std::memcpy(bits, words, sizeof words);
}

#endif

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
