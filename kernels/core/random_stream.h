// A short sequence of random numbers that belongs to one thing: (seed, purpose, epoch, document, ordinal). Drawn in
// order, never stored, so that any thread or rank can draw it again. Host side of sampling and masking. Tested by
// tests/kernels/core_test.cpp.
#pragma once

#include <cstdint>

#include "kernels/core/philox.h"

namespace cloze {

/// Names one stream. Limits: epoch < 2^16, document < 2^40, ordinal < 2^32 (epoch and document are checked).
struct RandomName {
    std::uint64_t seed;
    RandomPurpose purpose;
    std::uint32_t epoch = 0;
    std::uint64_t document = 0;
    std::uint32_t ordinal = 0;
};

class RandomStream {
public:
    /// Throws Fault::usage when the epoch or the document does not fit its place in the counter.
    explicit RandomStream(const RandomName& name);

    std::uint32_t next_bits() {
        if (used_ == 4) refill();
        return bits_.word[used_++];
    }
    /// Uniform in [0, 1) with 24 bits.
    float uniform() { return static_cast<float>(next_bits() >> 8) * 0x1p-24f; }
    /// True with probability p, to 32 bits.
    bool chance(double p) { return static_cast<double>(next_bits()) < p * 4294967296.0; }
    /// Uniform in [0, n), n >= 1, without bias (Lemire, "Fast random integer generation in an interval", 2019).
    std::uint32_t below(std::uint32_t n);

private:
    void refill();

    PhiloxKey key_;
    std::uint32_t counter_[4];
    PhiloxBits bits_{};
    int used_ = 4;
};

}  // namespace cloze
