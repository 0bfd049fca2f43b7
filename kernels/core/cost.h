// What an op moves and computes, so that benchmarks and the trainer speak in fractions of the machine.
#pragma once

#include <cstdint>

namespace cloze {

struct Cost {
    std::int64_t bytes = 0;  // compulsory traffic: each input read once, each output written once
    std::int64_t flops = 0;  // multiply-add counts two
};

inline Cost operator+(Cost a, Cost b) {
    return {a.bytes + b.bytes, a.flops + b.flops};
}

}  // namespace cloze
