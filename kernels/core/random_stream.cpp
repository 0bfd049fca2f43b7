#include "kernels/core/random_stream.h"

#include "kernels/core/error.h"

namespace cloze {

// Counter layout: word 0 counts calls of this stream, word 1 = ordinal, word 2 = low document bits,
// word 3 = purpose (8 bits) | epoch (16 bits) | high document bits (8 bits).
RandomStream::RandomStream(const RandomName& name)
    : key_(philox_key(name.seed)),
      counter_{0, name.ordinal, static_cast<std::uint32_t>(name.document),
               (static_cast<std::uint32_t>(name.purpose) << 24) | (name.epoch << 8) |
                   static_cast<std::uint32_t>(name.document >> 32)} {
    require(name.epoch >> 16 == 0, "random numbers of epoch ", name.epoch,
            ": epochs are numbered below 65536; train for fewer steps, or on more text");
    require(name.document >> 40 == 0, "random numbers of document ", name.document,
            ": documents are numbered below 2^40");
}

void RandomStream::refill() {
    bits_ = philox(counter_[0]++, counter_[1], counter_[2], counter_[3], key_);
    used_ = 0;
}

std::uint32_t RandomStream::below(std::uint32_t n) {
    std::uint64_t product = static_cast<std::uint64_t>(next_bits()) * n;
    if (static_cast<std::uint32_t>(product) < n) {
        const std::uint32_t threshold = (0u - n) % n;
        while (static_cast<std::uint32_t>(product) < threshold) {
            product = static_cast<std::uint64_t>(next_bits()) * n;
        }
    }
    return static_cast<std::uint32_t>(product >> 32);
}

}  // namespace cloze
