#include "kernels/core/philox_lanes.h"

#include <catch2/catch.hpp>

using namespace cloze;

namespace {

using ByWord = void (*)(std::uint32_t (*)[kPhiloxLanes], const PhiloxCounter&, PhiloxKey);
using ByCall = void (*)(std::uint32_t (*)[4], const PhiloxCounter&, PhiloxKey);

/// Counters whose words have all bits set somewhere, and one whose first word passes 2^32 within the eight.
void compare_with_philox(ByWord by_word, ByCall by_call) {
    const PhiloxKey keys[] = {{0, 0}, {0xffffffff, 0xffffffff}, {0xa4093822, 0x299f31d0}};
    const PhiloxCounter counters[] = {{0, 0, 0, 0},
                                      {0xffffffff - 3, 0xffffffff, 0xffffffff, 0xffffffff},
                                      {0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
                                      {0x80000000, 1, 0x80000000, 2}};
    for (const PhiloxKey& key : keys) {
        for (const PhiloxCounter& first : counters) {
            std::uint32_t words[4][kPhiloxLanes], calls[kPhiloxLanes][4];
            by_word(words, first, key);
            by_call(calls, first, key);
            for (std::uint32_t lane = 0; lane < kPhiloxLanes; ++lane) {
                const PhiloxBits bits = philox({first.c0 + lane, first.c1, first.c2, first.c3}, key);
                for (int w = 0; w < 4; ++w) {
                    CHECK(words[w][lane] == bits.word[w]);
                    CHECK(calls[lane][w] == bits.word[w]);
                }
            }
        }
    }
}

}  // namespace

TEST_CASE("eight Philox calls in plain loops have the bits of philox") {
    compare_with_philox(philox_plain::by_word, philox_plain::by_call);
}

#ifdef __AVX2__
TEST_CASE("eight Philox calls in AVX2 instructions have the bits of philox") {
    compare_with_philox(philox_avx2::by_word, philox_avx2::by_call);
}
#endif
