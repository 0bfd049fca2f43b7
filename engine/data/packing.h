// Packing: fills micro-batches of fixed capacity with whole sequences from a window over the sample stream. Works on
// lengths alone, so it is cheap (microseconds a micro-batch) and every rank computes it for the whole stream.
//
// The oldest samples go in first, until what is left is about eight longest samples; an exact subset sum over the 64
// samples of the window (bit sets) fills the rest as full as it can be, always taking the oldest sample. Among equally
// full choices older samples are preferred. So no sample waits longer than a window of micro-batches, and the state is
// the next stream index and the indices that wait.
//
// Fill is above 99 % from about 16 longest samples a micro-batch on, given that a tenth of the samples is shorter than
// the longest, as in BERT's data; 98 % at 8. Below that it depends on how the capacity divides by the longest length
// (two of three samples of 128 fit 300 tokens): then no packing helps, and derive_step_shape tells the fill it
// measured. Tested by tests/data/packing_test.cpp.
#pragma once

#include <cstdint>
#include <functional>
#include <limits>
#include <vector>

#include "engine/data/batch.h"

namespace cloze {

inline constexpr std::int64_t kPackingWindow = 64;

struct SampleSize {
    std::int64_t tokens = 0;
    std::int64_t masked = 0;  // at most this many predictions
};

/// Where packing stands: all there is to remember.
struct PackerState {
    std::uint64_t next = 0;             // first stream index that has not entered the window
    std::vector<std::uint64_t> window;  // indices that entered and wait, ascending
};

class Packer {
public:
    using State = PackerState;
    using SizeOf = std::function<SampleSize(std::uint64_t index)>;

    /// `longest` bounds what size_of returns and must fit the capacity. Samples are [0, end); the default never ends.
    Packer(const BatchCapacity& capacity, const SampleSize& longest, SizeOf size_of, State state = {},
           std::uint64_t end = std::numeric_limits<std::uint64_t>::max());

    /// Stream indices of the next micro-batch, ascending. Empty only at the end.
    std::vector<std::uint64_t> pack();

    const State& state() const { return state_; }

private:
    struct Waiting {
        std::uint64_t index;
        SampleSize size;
    };
    struct Room {
        std::int64_t tokens, sequences, masked;
        bool holds(const SampleSize& size) const {
            return size.tokens <= tokens && sequences >= 1 && size.masked <= masked;
        }
        void take(const SampleSize& size);
    };

    void refill();
    void take_oldest(Room& room, std::vector<std::uint64_t>& chosen);
    void take_subset(Room& room, std::vector<std::uint64_t>& chosen);

    BatchCapacity capacity_;
    SampleSize longest_;
    SizeOf size_of_;
    State state_;
    std::uint64_t end_;
    std::vector<Waiting> window_;  // sizes of state_.window's samples
};

}  // namespace cloze
