#include "kernels/hidden_dropout.h"

#include "tests/kernels/op_testing.h"

using namespace cloze;
using namespace cloze::test;

namespace {

struct Fixture {
    StepState state;
    Array sample{DType::u64, 3}, position{DType::i32, 3};
    HiddenDropout dropout;

    explicit Fixture(double probability = 0.1) {
        state.dropout_key = step_dropout_key(11, 5);
        sample.set(0, 7), sample.set(1, 7), sample.set(2, 0x123456789a);
        position.set(0, 0), position.set(1, 511), position.set(2, 3);
        dropout = {probability, 9, DropoutSite::ffn_output, &state, sample.tensor(), position.tensor()};
    }
};

}  // namespace

TEST_CASE("the host's mask is the mapping of kernels/core/dropout.h, element by element") {
    Fixture fixture;
    const DropoutRate rate = hidden_dropout_rate(0.1);
    const DropoutKey key{fixture.state.dropout_key, 9, DropoutSite::ffn_output};
    const HiddenMask<double> mask(fixture.dropout);
    bool same = true;
    for (std::int64_t row = 0; row < 3; ++row) {
        for (const std::int64_t first : {0, 8, 256, 1024 * 8}) {
            for (const std::int64_t count : {1, 7, 8, 63, 64, 65, 200, 256}) {
                std::vector<double> values(static_cast<std::size_t>(count + 1), 2.0);
                mask.apply(values.data(), row, first, count);
                for (std::int64_t c = 0; c < count; ++c) {
                    const auto group = static_cast<std::uint32_t>((first + c) / 8);
                    const PhiloxBits bits =
                        hidden_dropout_bits(key, static_cast<std::uint64_t>(fixture.sample[row]),
                                            static_cast<std::uint32_t>(fixture.position[row]), group);
                    const bool dropped =
                        hidden_dropout_value(bits, static_cast<std::uint32_t>((first + c) % 8)) < rate.threshold;
                    same = same && values[static_cast<std::size_t>(c)] == (dropped ? 0 : 2.0 * rate.keep_scale());
                }
                same = same && values.back() == 2.0;
            }
        }
    }
    CHECK(same);
}

TEST_CASE("a dropped element is 0 even when its value is not finite") {
    Fixture fixture(0.5);
    const HiddenMask<float> mask(fixture.dropout);
    std::vector<float> values(256, INFINITY);
    mask.apply(values.data(), 0, 0, 256);
    std::int64_t dropped = 0;
    for (const float value : values) {
        CHECK_FALSE(std::isnan(value));
        dropped += value == 0;
    }
    CHECK(dropped > 80);
    CHECK(dropped < 176);
}

TEST_CASE("a rate that rounds to zero drops nothing and reads nothing") {
    const HiddenMask<float> off(HiddenDropout{.probability = 1e-6});
    float value = 3;
    off.apply(&value, 0, 0, 1);
    CHECK(value == 3);
    CHECK_FALSE(off.on());
    CHECK(error_of([] { require_hidden_dropout({.probability = 1e-6}, 3, 64, "op"); }).empty());
}

TEST_CASE("incomplete dropout is refused by message") {
    Fixture fixture;
    const auto message = [&](auto change, std::int64_t cols = 64) {
        HiddenDropout dropout = fixture.dropout;
        change(dropout);
        return error_of([&] { require_hidden_dropout(dropout, 3, cols, "op"); });
    };
    CHECK(message([](HiddenDropout&) {}).empty());
    CHECK(message([](HiddenDropout& d) { d.probability = 1; }) == "usage: op: dropout probability 1 is outside [0, 1)");
    CHECK(message([](HiddenDropout& d) { d.probability = NAN; }).find("outside [0, 1)") != std::string::npos);
    CHECK(message([](HiddenDropout& d) { d.probability = 0.999999; }).find("rounds to 1 in steps of 1/65536") !=
          std::string::npos);
    CHECK(message([](HiddenDropout& d) { d.state = nullptr; }).find("StepState") != std::string::npos);
    CHECK(message([](HiddenDropout& d) { d.layer = 4096; }).find("layer 4096") != std::string::npos);
    CHECK(message([](HiddenDropout&) {}, 524289).find("524289 columns") != std::string::npos);
    CHECK(message([](HiddenDropout& d) { d.row_sample = {}; }).find("dropout.row_sample must be u64 [1, 3]") !=
          std::string::npos);
    CHECK(message([](HiddenDropout& d) { d.row_position.cols = 2; }).find("dropout.row_position must be i32 [1, 3]") !=
          std::string::npos);
}
