#include "engine/data/packing.h"

#include <algorithm>
#include <utility>

#include "kernels/core/error.h"

namespace cloze {

namespace {

/// Of `lengths` (oldest first), a subset whose sum is the largest that is at most `room`; newer ones are used only
/// where the same sum cannot be had without them. Level i holds the sums that the first i lengths can make.
std::vector<std::size_t> fullest_subset(const std::vector<std::int64_t>& lengths, std::int64_t room) {
    const std::size_t words = static_cast<std::size_t>(room) / 64 + 1;
    std::vector<std::uint64_t> levels((lengths.size() + 1) * words);
    const auto has = [&](std::size_t level, std::int64_t sum) {
        return (levels[level * words + static_cast<std::size_t>(sum) / 64] >> (sum % 64) & 1) != 0;
    };
    levels[0] = 1;
    for (std::size_t i = 0; i < lengths.size(); ++i) {
        const std::uint64_t* from = levels.data() + i * words;
        std::uint64_t* to = levels.data() + (i + 1) * words;
        const std::size_t shift_words = static_cast<std::size_t>(lengths[i]) / 64;
        const int shift_bits = static_cast<int>(lengths[i] % 64);
        std::copy_n(from, words, to);
        for (std::size_t w = shift_words; w < words; ++w) {
            std::uint64_t shifted = from[w - shift_words] << shift_bits;
            if (shift_bits != 0 && w > shift_words) shifted |= from[w - shift_words - 1] >> (64 - shift_bits);
            to[w] |= shifted;
        }
    }
    std::int64_t sum = room;
    while (!has(lengths.size(), sum)) --sum;
    std::vector<std::size_t> subset;
    for (std::size_t i = lengths.size(); i-- > 0 && sum > 0;) {
        if (has(i, sum)) continue;
        subset.push_back(i);
        sum -= lengths[i];
    }
    std::ranges::reverse(subset);
    return subset;
}

}  // namespace

void Packer::Room::take(const SampleSize& size) {
    tokens -= size.tokens;
    sequences -= 1;
    masked -= size.masked;
}

Packer::Packer(const BatchCapacity& capacity, const SampleSize& longest, SizeOf size_of, State state, std::uint64_t end)
    : capacity_(capacity), longest_(longest), size_of_(std::move(size_of)), state_(std::move(state)), end_(end) {
    require(capacity.tokens >= longest.tokens && capacity.sequences >= 1 && capacity.masked >= longest.masked,
            "Packer: a micro-batch of ", capacity.tokens, " tokens, ", capacity.sequences, " sequences and ",
            capacity.masked, " predictions does not hold one sample of ", longest.tokens, " tokens and ",
            longest.masked, " predictions; raise the micro-batch or lower max_seq_length");
    for (const std::uint64_t index : state_.window) window_.push_back({index, size_of_(index)});
}

void Packer::refill() {
    while (window_.size() < static_cast<std::size_t>(kPackingWindow) && state_.next < end_) {
        window_.push_back({state_.next, size_of_(state_.next)});
        ++state_.next;
    }
}

void Packer::take_oldest(Room& room, std::vector<std::uint64_t>& chosen) {
    room.take(window_.front().size);
    chosen.push_back(window_.front().index);
    window_.erase(window_.begin());
    refill();
}

void Packer::take_subset(Room& room, std::vector<std::uint64_t>& chosen) {
    std::vector<std::size_t> place;
    std::vector<std::int64_t> lengths;
    for (std::size_t i = 0; i < window_.size(); ++i) {
        if (!room.holds(window_[i].size)) continue;
        place.push_back(i);
        lengths.push_back(window_[i].size.tokens);
    }
    std::vector<std::size_t> taken;
    for (const std::size_t i : fullest_subset(lengths, room.tokens)) {
        const Waiting& waiting = window_[place[i]];
        if (!room.holds(waiting.size)) break;  // sequences or predictions are used up
        room.take(waiting.size);
        chosen.push_back(waiting.index);
        taken.push_back(place[i]);
    }
    for (std::size_t i = taken.size(); i-- > 0;) {
        window_.erase(window_.begin() + static_cast<std::ptrdiff_t>(taken[i]));
    }
}

std::vector<std::uint64_t> Packer::pack() {
    std::vector<std::uint64_t> chosen;
    refill();
    if (window_.empty()) return chosen;
    Room room{capacity_.tokens, capacity_.sequences, capacity_.masked};
    take_oldest(room, chosen);
    while (room.tokens > 8 * longest_.tokens && !window_.empty() && room.holds(window_.front().size)) {
        take_oldest(room, chosen);
    }
    take_subset(room, chosen);
    std::ranges::sort(chosen);
    state_.window.clear();
    for (const Waiting& waiting : window_) state_.window.push_back(waiting.index);
    return chosen;
}

}  // namespace cloze
