// Philox4x32-10, the counter-based generator of Salmon et al., "Parallel random numbers: as easy as 1, 2, 3" (SC 2011).
// No state: 128 random bits are a function of a 128-bit counter and a 64-bit key. About 37 instructions a call.
// Tested against the published vectors by tests/kernels/core_test.cpp.
#pragma once

#include <cstdint>

#include "kernels/core/host_device.h"

namespace cloze {

struct PhiloxBits {
    std::uint32_t word[4];
};

struct PhiloxKey {
    std::uint32_t low;
    std::uint32_t high;
};

CLOZE_HD inline PhiloxKey philox_key(std::uint64_t seed) {
    return {static_cast<std::uint32_t>(seed), static_cast<std::uint32_t>(seed >> 32)};
}

struct PhiloxCounter {
    std::uint32_t c0, c1, c2, c3;
};

/// 128 random bits of counter (c0, c1, c2, c3) under `key`.
CLOZE_HD inline PhiloxBits philox(std::uint32_t c0, std::uint32_t c1, std::uint32_t c2, std::uint32_t c3,
                                  PhiloxKey key) {
    for (int round = 0; round < 10; ++round) {
        const std::uint64_t product0 = 0xD2511F53ull * c0;
        const std::uint64_t product1 = 0xCD9E8D57ull * c2;
        c0 = static_cast<std::uint32_t>(product1 >> 32) ^ c1 ^ key.low;
        c1 = static_cast<std::uint32_t>(product1);
        c2 = static_cast<std::uint32_t>(product0 >> 32) ^ c3 ^ key.high;
        c3 = static_cast<std::uint32_t>(product0);
        key.low += 0x9E3779B9u;
        key.high += 0xBB67AE85u;
    }
    return {{c0, c1, c2, c3}};
}
CLOZE_HD inline PhiloxBits philox(const PhiloxCounter& counter, PhiloxKey key) {
    return philox(counter.c0, counter.c1, counter.c2, counter.c3, key);
}

/// What a stream of random numbers is for. The purpose is part of the counter, so that no two uses share bits.
enum class RandomPurpose : std::uint32_t {
    dropout_key = 1,     // (step)                           -> key of the step's dropout
    initialization = 2,  // (parameter, element)             -> initial weight
    document_walk = 3,   // (epoch, document)                -> target length
    pairing = 4,         // (epoch, document, ordinal)       -> split point, random next, truncation
    masking = 5,         // (epoch, document, ordinal)       -> which tokens, and what becomes of them
    epoch_order = 6,     // (epoch)                          -> permutation of the epoch's samples
    held_out = 7,        // (document)                       -> training or held-out split
};

}  // namespace cloze
