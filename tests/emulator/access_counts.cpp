#include "tests/emulator/access_counts.h"

#include <algorithm>
#include <map>
#include <set>

#include "tests/emulator/block.h"
#include "tests/emulator/code_place.h"

namespace cloze::emulated {

namespace {

struct LaneAccess {
    int lane;
    std::uintptr_t address;
    std::int64_t bytes;
};

struct Place {
    std::uint32_t code;
    int warp;
    bool operator<(const Place& other) const { return std::pair(code, warp) < std::pair(other.code, other.warp); }
};

/// One place and warp of the running block.
struct Passes {
    bool shared = false;
    std::vector<int> by_lane = std::vector<int>(kWarp, 0);
    std::vector<std::vector<LaneAccess>> accesses;  // by the lanes' k-th pass
};

std::map<Place, Passes> of_block;
std::map<std::uint32_t, AccessCount> totals;

constexpr std::uintptr_t kSectorBytes = 32, kBankBytes = 4, kBanks = 32;

void add_global(AccessCount& count, const std::vector<LaneAccess>& lanes) {
    std::set<std::uintptr_t> sectors;
    std::set<std::uintptr_t> bytes;
    for (const LaneAccess& access : lanes) {
        for (std::int64_t i = 0; i < access.bytes; ++i) {
            const std::uintptr_t byte = access.address + static_cast<std::uintptr_t>(i);
            bytes.insert(byte);
            sectors.insert(byte / kSectorBytes);
        }
    }
    count.moved += static_cast<std::int64_t>(sectors.size());
    count.needed += static_cast<std::int64_t>((bytes.size() + kSectorBytes - 1) / kSectorBytes);
}

/// Passes of one group of lanes that the hardware serves together: the most distinct words that fall into one bank.
std::int64_t passes_of(const std::set<std::uintptr_t>& words) {
    std::vector<std::int64_t> in_bank(kBanks, 0);
    for (const std::uintptr_t word : words) ++in_bank[word % kBanks];
    return *std::max_element(in_bank.begin(), in_bank.end());
}

void add_shared(AccessCount& count, const std::vector<LaneAccess>& lanes) {
    // 4 bytes a lane: the whole warp at once; 8: halves; 16: quarters.
    const std::int64_t words_per_lane = std::max<std::int64_t>(lanes.front().bytes / 4, 1);
    std::map<std::int64_t, std::set<std::uintptr_t>> groups;
    for (const LaneAccess& access : lanes) {
        std::set<std::uintptr_t>& words = groups[access.lane * words_per_lane / kWarp];
        for (std::int64_t i = 0; i < access.bytes; ++i) {
            words.insert((access.address + static_cast<std::uintptr_t>(i)) / kBankBytes);
        }
    }
    for (const auto& [group, words] : groups) {
        count.moved += passes_of(words);
        count.needed += 1;
    }
}

}  // namespace

void count_access(const Located& located, std::int64_t bytes, std::uint32_t code, const void* address) {
    if (located.what[0] == 'p') return;  // private
    Thread& thread = *current_thread();
    Passes& passes = of_block[{code, thread.warp_slot()}];
    passes.shared = located.shared;
    const std::size_t pass = static_cast<std::size_t>(passes.by_lane[static_cast<std::size_t>(thread.lane())]++);
    if (passes.accesses.size() <= pass) passes.accesses.resize(pass + 1);
    passes.accesses[pass].push_back({thread.lane(), reinterpret_cast<std::uintptr_t>(address), bytes});
}

void count_block_end() {
    for (const auto& [place, passes] : of_block) {
        AccessCount& count = totals.try_emplace(place.code, AccessCount{"", passes.shared, 0, 0, 0}).first->second;
        for (const std::vector<LaneAccess>& lanes : passes.accesses) {
            ++count.accesses;
            passes.shared ? add_shared(count, lanes) : add_global(count, lanes);
        }
    }
    of_block.clear();
}

std::vector<AccessCount> access_counts() {
    std::map<std::pair<std::string, bool>, AccessCount> by_place;
    for (const auto& [code, count] : totals) {
        const std::string place = code_place(code);
        AccessCount& sum =
            by_place.try_emplace({place, count.shared}, AccessCount{place, count.shared, 0, 0, 0}).first->second;
        sum.accesses += count.accesses;
        sum.moved += count.moved;
        sum.needed += count.needed;
    }
    std::vector<AccessCount> all;
    for (const auto& [place, count] : by_place) all.push_back(count);
    return all;
}

void clear_access_counts() {
    totals.clear();
    of_block.clear();
}

}  // namespace cloze::emulated
