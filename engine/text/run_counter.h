// Counts the runs of a text (what lies between ASCII white space and punctuation, as it stands), so that every distinct
// run is cleaned and cut into words once, however often it occurs: counting English is then one hash probe a word.
// Memory: 32 bytes for a distinct run of up to 15 bytes at a load of a half or more, about 100 for a longer one.
// Tested by tests/text/vocabulary_trainer_test.cpp.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "engine/text/byte_scan.h"

namespace cloze {

class RunCounter {
public:
    RunCounter();

    /// Every run of `text` once more; its punctuation too.
    void count(std::string_view text);

    /// Calls visit(run, times) for every distinct run and punctuation character, in no particular order.
    template <typename Visit>
    void each(const Visit& visit) const;

private:
    struct Slot {
        std::uint64_t low = 0;
        std::uint64_t high = 0;  // both zero: free
        std::int64_t times = 0;
    };

    void count_short(const ShortRun& run);
    void grow();
    std::size_t place_of(std::uint64_t low, std::uint64_t high) const;

    std::vector<Slot> slots_;  // open addressing, a power of two
    std::size_t used_ = 0;
    std::unordered_map<std::string, std::int64_t> long_runs_;
    std::array<std::int64_t, 128> punctuation_{};
};

template <typename Visit>
void RunCounter::each(const Visit& visit) const {
    for (const Slot& slot : slots_) {
        if (slot.times == 0) continue;
        std::string run;
        for (const std::uint64_t half : {slot.low, slot.high}) {
            for (int byte = 0; byte < 8; ++byte) run.push_back(static_cast<char>(half >> (8 * byte)));
        }
        run.erase(run.find_last_not_of('\0') + 1);
        visit(std::string_view(run), slot.times);
    }
    for (const auto& [run, times] : long_runs_) visit(std::string_view(run), times);
    for (std::size_t c = 0; c < punctuation_.size(); ++c) {
        const char text = static_cast<char>(c);
        if (punctuation_[c] > 0) visit(std::string_view(&text, 1), punctuation_[c]);
    }
}

}  // namespace cloze
