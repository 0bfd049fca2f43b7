#include <catch2/catch.hpp>
#include <limits>
#include <set>

#include "kernels/core/dropout.h"
#include "kernels/core/integer.h"
#include "kernels/core/parallel.h"
#include "kernels/core/philox.h"
#include "kernels/core/random_stream.h"
#include "kernels/core/step_state.h"
#include "kernels/core/tensor.h"

using namespace cloze;

TEST_CASE("philox equals the published vectors") {
    // kat_vectors of Random123 1.14, "philox 4x32 10".
    struct Vector {
        std::uint32_t counter[4];
        PhiloxKey key;
        std::uint32_t expected[4];
    };
    const Vector vectors[] = {
        {{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
        {{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff},
         {0xffffffff, 0xffffffff},
         {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
        {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
         {0xa4093822, 0x299f31d0},
         {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
    };
    for (const Vector& v : vectors) {
        const PhiloxBits bits = philox(v.counter[0], v.counter[1], v.counter[2], v.counter[3], v.key);
        for (int i = 0; i < 4; ++i) CHECK(bits.word[i] == v.expected[i]);
    }
}

TEST_CASE("bf16 rounds to nearest even and keeps NaN and infinity") {
    CHECK(float(bf16(1.0f)) == 1.0f);
    CHECK(float(bf16(1.00390625f)) == 1.0f);       // half way, to even
    CHECK(float(bf16(1.01171875f)) == 1.015625f);  // half way, to even upwards
    CHECK(float(bf16(-3.4e38f)) < -3.3e38f);
    CHECK(std::isinf(float(bf16(INFINITY))));
    CHECK(std::isnan(float(bf16(NAN))));
}

TEST_CASE("dropout keeps at the rounded rate and its scale is one over it") {
    const DropoutRate rate = hidden_dropout_rate(0.1);
    CHECK(rate.threshold == 6554);
    CHECK(rate.keep_scale() == 65536.0 / (65536 - 6554));
    CHECK(attention_dropout_rate(0.1).threshold == 26);

    const DropoutKey key{step_dropout_key(7, 3), 2, DropoutSite::ffn_output};
    std::int64_t dropped = 0;
    const std::int64_t groups = 20000;
    for (std::uint32_t group = 0; group < groups; ++group) {
        const PhiloxBits bits = hidden_dropout_bits(key, 11, group % 512, group / 512);
        for (std::uint32_t i = 0; i < 8; ++i) dropped += hidden_dropout_value(bits, i) < rate.threshold;
    }
    // Five standard errors.
    CHECK(std::abs(dropped / (8.0 * groups) - 0.1) < 5 * std::sqrt(0.09 / (8.0 * groups)));
}

TEST_CASE("attention dropout gives every probability of a block its own bits") {
    const DropoutKey key{step_dropout_key(1, 0), 0, DropoutSite::attention_probabilities};
    std::set<std::tuple<std::uint32_t, std::uint32_t, std::uint32_t>> calls;
    for (std::uint32_t q = 0; q < 8; ++q) {
        for (std::uint32_t k = 0; k < 8; ++k) {
            const PhiloxBits bits = attention_dropout_bits(key, 5, 3, 1, 2, q, k);
            calls.insert({bits.word[0], bits.word[1], bits.word[2]});
        }
    }
    CHECK(calls.size() == 64);
    const PhiloxBits bits{{0x03020100, 0x07060504, 0x0b0a0908, 0x0f0e0d0c}};
    for (std::uint32_t half = 0; half < 2; ++half) {
        for (std::uint32_t octet = 0; octet < 8; ++octet) {
            CHECK(attention_dropout_value(bits, half, octet) == half * 8 + octet);
        }
    }
}

TEST_CASE("random streams differ by every part of their name and repeat by the same name") {
    std::set<std::uint32_t> first;
    const RandomName base{42, RandomPurpose::pairing, 1, 2, 3};
    RandomName names[6];
    for (RandomName& name : names) name = base;
    names[1].seed = 43;
    names[2].purpose = RandomPurpose::masking;
    names[3].epoch = 2;
    names[4].document = (1ull << 32) + 2;
    names[5].ordinal = 4;
    for (const RandomName& name : names) first.insert(RandomStream(name).next_bits());
    CHECK(first.size() == 6);
    CHECK(RandomStream(base).next_bits() == RandomStream(base).next_bits());
}

TEST_CASE("a random stream refuses the name whose bits another one has") {
    CHECK_NOTHROW(RandomStream({.seed = 1, .purpose = RandomPurpose::masking, .epoch = 65535}));
    CHECK_THROWS_WITH(RandomStream({.seed = 1, .purpose = RandomPurpose::masking, .epoch = 65536}),
                      Catch::Contains("epoch 65536") && Catch::Contains("fewer steps"));
    CHECK_NOTHROW(RandomStream({.seed = 1, .purpose = RandomPurpose::masking, .document = (1ull << 40) - 1}));
    CHECK_THROWS_WITH(RandomStream({.seed = 1, .purpose = RandomPurpose::masking, .document = 1ull << 40}),
                      Catch::Contains("document 1099511627776"));
}

TEST_CASE("below is uniform and stays below") {
    RandomStream random({1, RandomPurpose::masking});
    std::int64_t counts[7] = {};
    for (int i = 0; i < 70000; ++i) ++counts[random.below(7)];
    for (const std::int64_t count : counts) CHECK(std::abs(count - 10000.0) < 5 * std::sqrt(10000.0));
}

TEST_CASE("quotients and multiples are rounded up") {
    CHECK(divide_up(0, 64) == 0);
    CHECK(divide_up(64, 64) == 1);
    CHECK(divide_up(65, 64) == 2);
    CHECK(round_up(0, 64) == 0);
    CHECK(round_up(1, 64) == 64);
    CHECK(round_up(64, 64) == 64);
    CHECK(round_up(65, 64) == 128);
}

TEST_CASE("a range lies within or does not, also where its end does not fit 64 bits") {
    constexpr std::int64_t most = std::numeric_limits<std::int64_t>::max();
    CHECK(lies_within(0, 0, 0));
    CHECK(lies_within(3, 0, 3));
    CHECK(lies_within(1, 2, 3));
    CHECK(lies_within(0, most, most));
    CHECK_FALSE(lies_within(2, 2, 3));
    CHECK_FALSE(lies_within(4, 0, 3));
    CHECK_FALSE(lies_within(-1, 1, 3));
    CHECK_FALSE(lies_within(0, -1, 3));
    CHECK_FALSE(lies_within(1, most, most));
    CHECK_FALSE(lies_within(most, most, most));
}

TEST_CASE("tensor views cut rows and columns and refuse what lies outside") {
    float values[12];
    for (int i = 0; i < 12; ++i) values[i] = static_cast<float>(i);
    const Tensor tensor = Tensor::host(values, 3, 4);
    CHECK(tensor.row_range(1, 2).data<float>()[0] == 4);
    const Tensor columns = tensor.column_range(1, 2);
    CHECK(columns.data<float>()[columns.stride] == 5);
    CHECK_FALSE(columns.is_contiguous());
    CHECK(tensor.reshaped(2, 6).cols == 6);
    constexpr std::int64_t most = std::numeric_limits<std::int64_t>::max();
    CHECK_THROWS_AS(tensor.row_range(2, 2), Error);
    CHECK_THROWS_WITH(tensor.row_range(1, most),
                      "Tensor::row_range: 9223372036854775807 rows from 1 on lie outside f32 [3, 4]");
    CHECK_THROWS_AS(tensor.column_range(most, most), Error);
    CHECK_THROWS_AS(columns.reshaped(2, 3), Error);
    CHECK_THROWS_AS(tensor.reshaped(-3, -4), Error);
    CHECK_THROWS_AS(tensor.reshaped(most, 4), Error);
    CHECK_THROWS_WITH(tensor.data<double>(), Catch::Contains("f32 [3, 4]"));
}

TEST_CASE("parallel chunks cover everything once and pass on exceptions") {
    std::vector<int> seen(1000, 0);
    parallel_chunks(1000, 64, [&](std::int64_t first, std::int64_t last, std::int64_t) {
        for (std::int64_t i = first; i < last; ++i) ++seen[i];
    });
    CHECK(std::count(seen.begin(), seen.end(), 1) == 1000);
    CHECK_THROWS_AS(parallel_for(10, [](std::int64_t i) { require(i != 5, "five"); }), Error);
}
