// The pieces that are short ASCII words, in a hash table under their bytes: nine words in ten of English are found here
// with one probe, where the trie would take a step and a hard-to-predict branch a byte. About 24 bytes a slot, two
// slots or more a word: 1.5 MB for 30,522 pieces, of which English touches a tenth. Tested by
// tests/text/tokenizer_test.cpp.
#pragma once

#include <bit>
#include <cstdint>
#include <string>
#include <vector>

#include "engine/text/byte_scan.h"
#include "engine/text/vocabulary.h"

namespace cloze {

class WholeWords {
public:
    explicit WholeWords(const Vocabulary& vocabulary) {
        std::vector<Slot> words;
        for (std::int32_t id = 0; id < vocabulary.size(); ++id) {
            const std::string& token = vocabulary.token(id);
            const auto is_letter = [](char c) { return byte_class(c) == ByteClass::letter; };
            if (token.size() >= kShortRun || !std::all_of(token.begin(), token.end(), is_letter)) continue;
            const ShortRun run = short_run<false>(token.data(), token.data() + token.size());
            words.push_back({run.low, run.high, id});
        }
        slots_.resize(std::bit_ceil(2 * words.size() + 2));
        shift_ = 64 - std::countr_zero(slots_.size());
        for (const Slot& word : words) {
            std::size_t place = hash_of({word.low, word.high, 0}) >> shift_;
            while (slots_[place].id >= 0) place = (place + 1) & (slots_.size() - 1);
            slots_[place] = word;
        }
    }

    /// The id of the whole run, or -1.
    std::int32_t find(const ShortRun& run) const {
        std::size_t place = hash_of(run) >> shift_;
        while (slots_[place].low != run.low || slots_[place].high != run.high) {
            if (slots_[place].id < 0) return -1;
            place = (place + 1) & (slots_.size() - 1);
        }
        return slots_[place].id;
    }

private:
    struct Slot {
        std::uint64_t low = 0;
        std::uint64_t high = 0;
        std::int32_t id = -1;  // free
    };

    std::vector<Slot> slots_;  // open addressing, a power of two, at most half full
    int shift_ = 0;
};

}  // namespace cloze
