// Which element is dropped: the one mapping from logical coordinates to random bits that the definitions, the kernels
// and every tile shape share. It fixes every bit of training, so it is not to be changed without a new format version.
//
// Coordinates are (seed, step, layer, site, sample, position), never addresses: packing, accumulation and the number of
// GPUs do not change what is dropped, and backward can draw the same bits again.
//
//   hidden states   one Philox call per 8 consecutive columns of a row, 16 bits each
//   attention       one call per 16 probabilities, 8 bits each: in a block of 16 queries x 64 keys, the 16 elements
//   that
//                   share (query mod 8, key mod 8). A thread of a tensor-core tile holds exactly these, of S and of its
//                   transpose.
//
// An element is dropped when its bits, as an integer, are below `threshold` = p * 2^bits rounded; what is kept is
// multiplied by one over the actual keep rate. Tested by tests/kernels/core_test.cpp.
#pragma once

#include <cstdint>

#include "kernels/core/host_device.h"
#include "kernels/core/philox.h"

namespace cloze {

/// Where in a layer. Part of the counter: never renumber.
enum class DropoutSite : std::uint32_t {
    embedding = 0,
    attention_probabilities = 1,
    attention_output = 2,
    ffn_output = 3,
    classifier = 4,
};

/// p as a fraction of 2^bits.
struct DropoutRate {
    std::uint32_t threshold;  // of 2^bits; 0 = no dropout
    std::uint32_t steps;      // 2^bits

    CLOZE_HD double keep_scale() const { return static_cast<double>(steps) / static_cast<double>(steps - threshold); }
};

CLOZE_HD inline DropoutRate dropout_rate(double probability, std::uint32_t steps) {
    return {static_cast<std::uint32_t>(probability * steps + 0.5), steps};
}
CLOZE_HD inline DropoutRate hidden_dropout_rate(double probability) {
    return dropout_rate(probability, 65536u);
}
CLOZE_HD inline DropoutRate attention_dropout_rate(double probability) {
    return dropout_rate(probability, 256u);
}

/// Philox key of the step and the place in the model.
struct DropoutKey {
    PhiloxKey step_key;
    std::uint32_t layer;
    DropoutSite site;

    // Word 0 of the counter: layer (12 bits) | site (4 bits) | 16 bits of the caller's.
    CLOZE_HD std::uint32_t counter0(std::uint32_t low) const {
        return (layer << 20) | (static_cast<std::uint32_t>(site) << 16) | low;
    }
};

/// Where the bits of columns [8 * group, 8 * group + 8) of the row that is `position` in `sample` are. group < 2^16.
CLOZE_HD inline PhiloxCounter hidden_dropout_counter(const DropoutKey& key, std::uint64_t sample,
                                                     std::uint32_t position, std::uint32_t group) {
    return {key.counter0(group), position, static_cast<std::uint32_t>(sample),
            static_cast<std::uint32_t>(sample >> 32)};
}
CLOZE_HD inline PhiloxBits hidden_dropout_bits(const DropoutKey& key, std::uint64_t sample, std::uint32_t position,
                                               std::uint32_t group) {
    return philox(hidden_dropout_counter(key, sample, position, group), key.step_key);
}

/// Element `index` (0..7) of a group: its 16 bits.
CLOZE_HD inline std::uint32_t hidden_dropout_value(const PhiloxBits& bits, std::uint32_t index) {
    return (bits.word[index / 2] >> (16 * (index % 2))) & 0xffffu;
}

/// Where the bits of the 16 probabilities of `head` are with query = 16 * query_block + query_mod8 + {0, 8} and
/// key = 64 * key_block + key_mod8 + {0, 8, ..., 56}. head < 1024; query_block, key_block < 2^16.
/// The counter of the next key_mod8 has one more in c0, that of the next key_block one more in c1.
CLOZE_HD inline PhiloxCounter attention_dropout_counter(const DropoutKey& key, std::uint64_t sample, std::uint32_t head,
                                                        std::uint32_t query_block, std::uint32_t key_block,
                                                        std::uint32_t query_mod8, std::uint32_t key_mod8) {
    return {key.counter0((head << 6) | (query_mod8 << 3) | key_mod8), (query_block << 16) | key_block,
            static_cast<std::uint32_t>(sample), static_cast<std::uint32_t>(sample >> 32)};
}
CLOZE_HD inline PhiloxBits attention_dropout_bits(const DropoutKey& key, std::uint64_t sample, std::uint32_t head,
                                                  std::uint32_t query_block, std::uint32_t key_block,
                                                  std::uint32_t query_mod8, std::uint32_t key_mod8) {
    return philox(attention_dropout_counter(key, sample, head, query_block, key_block, query_mod8, key_mod8),
                  key.step_key);
}

/// Element (query half 0..1, key octet 0..7) of such a group: its 8 bits.
CLOZE_HD inline std::uint32_t attention_dropout_value(const PhiloxBits& bits, std::uint32_t query_half,
                                                      std::uint32_t key_octet) {
    const std::uint32_t index = query_half * 8 + key_octet;
    return (bits.word[index / 4] >> (8 * (index % 4))) & 0xffu;
}

}  // namespace cloze
