#include "engine/text/run_counter.h"

#include <utility>

namespace cloze {
namespace {

constexpr std::size_t kFirstSlots = 1 << 12;

}  // namespace

RunCounter::RunCounter() : slots_(kFirstSlots) {}

void RunCounter::count(std::string_view text) {
    const char* const end = text.data() + text.size();
    for (const char* at = text.data(); at != end;) {
        if (ends_run(*at)) {
            if (byte_class(*at) == ByteClass::punctuation) ++punctuation_[static_cast<unsigned char>(*at)];
            ++at;
            continue;
        }
        const ShortRun run = short_run<false>(at, end);
        if (run.bytes < kShortRun) {
            count_short(run);
            at += run.bytes;
            continue;
        }
        const char* stop = end_of_run(at, end);
        ++long_runs_[std::string(at, stop)];
        at = stop;
    }
}

void RunCounter::count_short(const ShortRun& run) {
    if (run.low == 0 && run.high == 0) return;  // NULs only: cleaning leaves nothing
    Slot& slot = slots_[place_of(run.low, run.high)];
    if (slot.times++ > 0) return;
    slot.low = run.low;
    slot.high = run.high;
    if (++used_ * 4 > slots_.size() * 3) grow();
}

std::size_t RunCounter::place_of(std::uint64_t low, std::uint64_t high) const {
    std::size_t place = (hash_of({low, high, 0}) >> 32) & (slots_.size() - 1);
    while (slots_[place].times > 0 && (slots_[place].low != low || slots_[place].high != high)) {
        place = (place + 1) & (slots_.size() - 1);
    }
    return place;
}

void RunCounter::grow() {
    std::vector<Slot> old(2 * slots_.size());
    old.swap(slots_);
    for (const Slot& slot : old) {
        if (slot.times > 0) slots_[place_of(slot.low, slot.high)] = slot;
    }
}

}  // namespace cloze
