#include "tests/emulator/wgmma.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <string_view>

#include "kernels/device/emulated.h"
#include "tests/emulator/block.h"
#include "tests/emulator/code_place.h"
#include "tests/emulator/memory.h"
#include "tests/emulator/warp.h"

namespace cloze::emulated {

namespace {

constexpr int kRows = 64, kDepth = 16;
constexpr std::uint32_t kInFlight = 0xffffdeadu;  // a NaN

constexpr char kFence[] = "wgmma_fence";
constexpr char kCommit[] = "wgmma_commit";
constexpr char kWait[] = "wgmma_wait";
constexpr char kRegisters[] = "raise_registers or lower_registers";

Warpgroup& warpgroup_of(const Thread& thread) {
    Cluster& cluster = *current_cluster();
    return cluster.warpgroups[static_cast<std::size_t>(cluster.clocks.warpgroup_of(thread.slot))];
}
/// Slot of the first thread of the warpgroup.
int first_of(const Thread& thread) {
    return thread.slot - thread.index % kWarpgroup;
}
Thread& thread_of(int first, int i) {
    return current_cluster()->threads[static_cast<std::size_t>(first + i)];
}

// Registers

constexpr std::size_t kWordBytes = 4, kBits = 64;

/// Words [first, end) of the thread's stack.
template <typename Visit>
void for_words(const Thread& thread, const void* address, std::size_t bytes, Visit visit) {
    const auto offset = static_cast<std::size_t>(static_cast<const char*>(address) - thread.stack.low);
    for (std::size_t word = offset / kWordBytes; word < (offset + bytes + kWordBytes - 1) / kWordBytes; ++word) {
        visit(word);
    }
}

bool any_set(const Thread& thread, const std::vector<std::uint64_t>& bits, const void* address, std::size_t bytes) {
    bool found = false;
    for_words(thread, address, bytes, [&](std::size_t word) { found |= bits[word / kBits] >> word % kBits & 1u; });
    return found;
}

RegisterLog& register_log(Thread& thread) {
    static std::deque<RegisterLog> pool;
    while (static_cast<int>(pool.size()) <= thread.slot) pool.emplace_back();
    RegisterLog& log = pool[static_cast<std::size_t>(thread.slot)];
    if (thread.registers == nullptr) {
        log.touched.assign(thread.stack.bytes / kWordBytes / kBits, 0);
        log.written.assign(thread.stack.bytes / kWordBytes / kBits, 0);
        log.low = log.high = 0;
        log.in_flight.clear();
        thread.registers = &log;
    }
    return log;
}

void forget_accesses(RegisterLog& log) {
    if (log.low == log.high) return;
    const auto first = static_cast<std::ptrdiff_t>(log.low / kBits);
    const auto end = static_cast<std::ptrdiff_t>((log.high + kBits - 1) / kBits);
    std::fill(log.touched.begin() + first, log.touched.begin() + end, 0);
    std::fill(log.written.begin() + first, log.written.begin() + end, 0);
    log.low = log.high = 0;
}

bool is_in_flight(const Thread& thread, const float* d) {
    const auto& ranges = thread.registers->in_flight;
    return std::any_of(ranges.begin(), ranges.end(), [&](const RegisterLog::Range& range) { return range.start == d; });
}

void check_registers(const Thread& thread, const Wgmma& call, Site site) {
    if (thread.registers == nullptr) fault("wgmma at ", site, ": missing fence: wgmma_fence() before the first wgmma");
    const RegisterLog& log = *thread.registers;
    const auto* d = reinterpret_cast<const char*>(call.d);
    if (d < thread.stack.low || d >= thread.stack.low + thread.stack.bytes) {
        fault("wgmma at ", site, ": d is no variable of the thread");
    }
    if (!is_in_flight(thread, call.d) &&
        any_set(thread, log.touched, call.d, static_cast<std::size_t>(call.n / 2) * sizeof(float))) {
        fault("wgmma at ", site, ": missing fence: the thread has touched d since its last wgmma_fence()");
    }
    if (call.a_words != nullptr && any_set(thread, log.written, call.a_words, 4 * sizeof(std::uint32_t))) {
        fault("wgmma at ", site, ": missing fence: the thread has written a's registers since its last wgmma_fence()");
    }
}

// Tiles in shared memory

struct Tile {
    std::uint32_t start;
    std::uint32_t leading_bytes, stride_bytes;
    std::uint32_t row_bytes;  // 128 or 64
    bool mn_major;
    int extent;  // in m or n
};

Tile tile_of(std::uint64_t descriptor, bool mn_major, int extent) {
    const auto field = [&](int shift) { return static_cast<std::uint32_t>(descriptor >> shift & 0x3fffu) << 4; };
    return {field(0), field(16), field(32), descriptor >> 62 == 1 ? 128u : 64u, mn_major, extent};
}

/// Each 8 neighbours: their address, the first's place in m or n, and in k.
template <typename Visit>
void for_chunks(const Tile& tile, Visit visit) {
    const int row_elements = static_cast<int>(tile.row_bytes / 2);
    const auto visit_at = [&](std::uint32_t linear, int mn, int k) {
        visit(linear ^ ((linear >> 7 & (tile.row_bytes == 128 ? 7u : 3u)) << 4), mn, k);
    };
    if (tile.mn_major) {
        for (int k = 0; k < kDepth; ++k) {
            for (int mn = 0; mn < tile.extent; mn += 8) {
                visit_at(tile.start + static_cast<std::uint32_t>(mn / row_elements) * tile.leading_bytes +
                             static_cast<std::uint32_t>(k / 8) * tile.stride_bytes +
                             static_cast<std::uint32_t>(k % 8) * tile.row_bytes +
                             static_cast<std::uint32_t>(mn % row_elements * 2),
                         mn, k);
            }
        }
        return;
    }
    for (int mn = 0; mn < tile.extent; ++mn) {
        for (int k = 0; k < kDepth; k += 8) {
            visit_at(tile.start + static_cast<std::uint32_t>(mn / 8) * tile.stride_bytes +
                         static_cast<std::uint32_t>(mn % 8) * tile.row_bytes + static_cast<std::uint32_t>(2 * k),
                     mn, k);
        }
    }
}

void check_descriptor(std::uint64_t descriptor, const Tile& tile, const char* which, Site site) {
    constexpr std::uint64_t kOtherBits = 0x3fffc000c000c000u;  // between the fields
    const std::uint64_t swizzle = descriptor >> 62;
    if ((swizzle != 1 && swizzle != 2) || (descriptor & kOtherBits) != 0) {
        fault("wgmma at ", site, ": the descriptor of ", which, " is none of kernels/device/wgmma.h");
    }
    const std::uint32_t in_row = tile.start % (8 * tile.row_bytes);
    const auto row = static_cast<std::uint32_t>(2 * (tile.mn_major ? tile.extent : kDepth));
    if (in_row + std::min(row, tile.row_bytes) > tile.row_bytes) {
        fault("wgmma at ", site, ": the tile of ", which, " is not aligned to ", 8 * tile.row_bytes, ": it starts ",
              in_row, " bytes behind, so that its rows do not lie as they are swizzled");
    }
}

void check_tile(const Tile& tile, const Knowledge& view, const Stamp& stamp, const void* from) {
    for_chunks(tile, [&](std::uint32_t address, int, int) {
        const Located located = locate(at_shared_address(address), 16, AccessKind::read, from);
        if (located.history.empty()) return;
        check_asynchronous_race({.access = {located.history, AccessKind::read, stamp, located.what, located.offset},
                                 .view = view,
                                 .step = 2});
    });
}

float float_of(std::uint16_t half) {
    return std::bit_cast<float>(static_cast<std::uint32_t>(half) << 16);
}

// Execution: by whichever thread is at hand, or none

float a_elements[kRows][kDepth];
float b_elements[kDepth][256];

void load_a(const PendingWgmma& wgmma) {
    if (!wgmma.a_in_registers) {
        for_chunks(tile_of(wgmma.a, wgmma.a_mn_major, kRows), [&](std::uint32_t address, int m, int k) {
            std::uint16_t halves[8];
            std::memcpy(halves, at_shared_address(cluster_address(address, wgmma.rank)), sizeof halves);
            for (int i = 0; i < 8; ++i) {
                a_elements[wgmma.a_mn_major ? m + i : m][wgmma.a_mn_major ? k : k + i] = float_of(halves[i]);
            }
        });
        return;
    }
    for (int t = 0; t < kWarpgroup; ++t) {
        const int lane = t % kWarp, row = t / kWarp * 16 + lane / 4, pair = 2 * (lane % 4);
        for (int word = 0; word < 4; ++word) {
            const std::uint32_t bits = wgmma.a_words[static_cast<std::size_t>(4 * t + word)];
            float* to = &a_elements[row + word % 2 * 8][pair + word / 2 * 8];
            to[0] = float_of(static_cast<std::uint16_t>(bits));
            to[1] = float_of(static_cast<std::uint16_t>(bits >> 16));
        }
    }
}

void load_b(const PendingWgmma& wgmma) {
    for_chunks(tile_of(wgmma.b, wgmma.b_mn_major, wgmma.n), [&](std::uint32_t address, int column, int k) {
        std::uint16_t halves[8];
        std::memcpy(halves, at_shared_address(cluster_address(address, wgmma.rank)), sizeof halves);
        for (int i = 0; i < 8; ++i) {
            b_elements[wgmma.b_mn_major ? k : k + i][wgmma.b_mn_major ? column + i : column] = float_of(halves[i]);
        }
    });
}

void execute(const PendingWgmma& wgmma) {
    load_a(wgmma);
    load_b(wgmma);
    float* d = wgmma.to->value.data();
    for (int row = 0; row < kRows; ++row, d += wgmma.n) {
        float sum[256] = {};
        for (int k = 0; k < kDepth; ++k) {
            const float a = a_elements[row][k];
            for (int column = 0; column < wgmma.n; ++column) sum[column] += a * b_elements[k][column];
        }
        for (int column = 0; column < wgmma.n; ++column) {
            d[column] = wgmma.accumulate ? d[column] + sum[column] : sum[column];
        }
    }
}

void execute_up_to(Warpgroup& warpgroup, int group) {
    while (!warpgroup.pending.empty() && warpgroup.pending.front().group <= group) {
        execute(warpgroup.pending.front());
        warpgroup.pending.pop_front();
    }
}

/// Each element that thread t of the warpgroup holds: its number in d, and in value.
template <typename Visit>
void for_fragment(int t, int n, Visit visit) {
    const int lane = t % kWarp, row = t / kWarp * 16 + lane / 4, pair = 2 * (lane % 4);
    for (int i = 0; i < n / 2; ++i) {
        visit(static_cast<std::size_t>(i),
              static_cast<std::size_t>((row + i % 4 / 2 * 8) * n + i / 4 * 8 + pair + i % 2));
    }
}

// The call

struct Post {
    const Wgmma* call;
    std::uint32_t a_words[4];
};

const Wgmma& call_of(const Warpgroup& warpgroup, int t) {
    return *static_cast<const Post*>(warpgroup.posted[static_cast<std::size_t>(t)])->call;
}

void check_same_call(const Warpgroup& warpgroup, Site site) {
    const Wgmma& first = call_of(warpgroup, 0);
    for (int t = 1; t < kWarpgroup; ++t) {
        const Wgmma& call = call_of(warpgroup, t);
        if (call.n != first.n || call.a != first.a || call.b != first.b || call.accumulate != first.accumulate ||
            call.a_mn_major != first.a_mn_major || call.b_mn_major != first.b_mn_major ||
            (call.a_words == nullptr) != (first.a_words == nullptr)) {
            fault("divergent warpgroup: wgmma at ", site, ": thread ", t, " of the warpgroup gives other descriptors");
        }
    }
    for (const int group : warpgroup.open_group) {
        if (group != warpgroup.open_group[0]) {
            fault("divergent warpgroup: wgmma at ", site, ": its warps have committed different numbers of groups");
        }
    }
}

/// d of this call: that in flight, or taken over from the threads.
Accumulators& accumulators_of(Warpgroup& warpgroup, int first, Site site) {
    const Wgmma& call = call_of(warpgroup, 0);
    for (Accumulators& known : warpgroup.accumulators) {
        if (known.d[0] != call.d) continue;
        bool same = known.n == call.n && known.delivered == 0;
        for (int t = 0; t < kWarpgroup; ++t) same &= known.d[static_cast<std::size_t>(t)] == call_of(warpgroup, t).d;
        if (!same)
            fault("wgmma at ", site, ": another one with the same d is in flight, and not all warps wait for it");
        return known;
    }
    warpgroup.accumulators.push_back({.d = {}, .n = call.n, .value = {}, .last_group = 0});
    Accumulators& taken = warpgroup.accumulators.back();
    taken.value.assign(static_cast<std::size_t>(kRows * call.n), 0);
    for (int t = 0; t < kWarpgroup; ++t) {
        float* d = call_of(warpgroup, t).d;
        taken.d[static_cast<std::size_t>(t)] = d;
        for_fragment(t, call.n, [&](std::size_t i, std::size_t element) {
            taken.value[element] = d[i];
            std::memcpy(&d[i], &kInFlight, sizeof kInFlight);
        });
        thread_of(first, t).registers->in_flight.push_back({d, call.n / 2});
    }
    return taken;
}

void issue(Warpgroup& warpgroup, Site site, const void* from) {
    Cluster& cluster = *current_cluster();
    const Thread& thread = *current_thread();
    const int first = first_of(thread), number = cluster.clocks.warpgroup_of(thread.slot);
    check_same_call(warpgroup, site);
    const Wgmma& call = call_of(warpgroup, 0);
    const int group = warpgroup.open_group[0];
    const Knowledge& view = cluster.clocks.common_view(number);
    const Stamp stamp = {cluster.clocks.cluster(), static_cast<std::uint32_t>(cluster.clocks.actor_of_wgmma(number)),
                         static_cast<std::uint32_t>(group), code_offset(from)};
    const Tile b = tile_of(call.b, call.b_mn_major, call.n), a = tile_of(call.a, call.a_mn_major, kRows);
    check_descriptor(call.b, b, "b", site);
    check_tile(b, view, stamp, from);
    if (call.a_words == nullptr) {
        check_descriptor(call.a, a, "a", site);
        check_tile(a, view, stamp, from);
    }
    Accumulators& to = accumulators_of(warpgroup, first, site);
    to.last_group = group;
    warpgroup.pending.push_back({.group = group,
                                 .to = &to,
                                 .n = call.n,
                                 .a_in_registers = call.a_words != nullptr,
                                 .a_words = {},
                                 .a = call.a,
                                 .b = call.b,
                                 .a_mn_major = call.a_mn_major,
                                 .b_mn_major = call.b_mn_major,
                                 .accumulate = call.accumulate,
                                 .rank = thread.rank});
    if (call.a_words != nullptr) {
        for (const void* posted : warpgroup.posted) {
            const auto& words = static_cast<const Post*>(posted)->a_words;
            warpgroup.pending.back().a_words.insert(warpgroup.pending.back().a_words.end(), words, words + 4);
        }
    }
    if (happens_at_once(cluster)) execute_up_to(warpgroup, group);
}

/// The results of groups up to `group`, in the registers of one warp.
void deliver(Warpgroup& warpgroup, int first, int warp, int group) {
    execute_up_to(warpgroup, group);
    for (auto at = warpgroup.accumulators.begin(); at != warpgroup.accumulators.end();) {
        Accumulators& done = *at;
        if (done.last_group > group || (done.delivered >> warp & 1u) != 0) {
            ++at;
            continue;
        }
        for (int t = warp * kWarp; t < (warp + 1) * kWarp; ++t) {
            float* d = done.d[static_cast<std::size_t>(t)];
            for_fragment(t, done.n, [&](std::size_t i, std::size_t element) {
                if (std::bit_cast<std::uint32_t>(d[i]) != kInFlight) {
                    fault("wgmma_wait: d of a wgmma in flight has been changed before the wait");
                }
                d[i] = done.value[element];
            });
            auto& ranges = thread_of(first, t).registers->in_flight;
            std::erase_if(ranges, [&](const RegisterLog::Range& range) { return range.start == d; });
        }
        done.delivered |= 1u << warp;
        at = done.delivered == 15 ? warpgroup.accumulators.erase(at) : std::next(at);
    }
}

}  // namespace

void note_register_access(const void* address, std::size_t bytes, AccessKind kind, const void* return_address) {
    Thread& thread = *current_thread();
    RegisterLog& log = *thread.registers;
    for (const RegisterLog::Range& range : log.in_flight) {
        if (address<range.start + range.count&& static_cast<const char*>(address) +
                    bytes> reinterpret_cast<const char*>(range.start)) {
            const Emulating emulating;
            std::string message =
                text("d of a wgmma in flight is ", kind == AccessKind::read ? "read" : "written",
                     " before wgmma_wait(), at ", code_place(code_offset(return_address)), ", in ", thread);
            end_launch(std::move(message));
        }
    }
    for_words(thread, address, bytes, [&](std::size_t word) {
        log.touched[word / kBits] |= std::uint64_t{1} << word % kBits;
        if (kind == AccessKind::write) log.written[word / kBits] |= std::uint64_t{1} << word % kBits;
        if (log.low == log.high) log.low = log.high = word;
        log.low = std::min(log.low, word);
        log.high = std::max(log.high, word + 1);
    });
}

bool execute_one_wgmma(Cluster& cluster) {
    for (Warpgroup& warpgroup : cluster.warpgroups) {
        if (warpgroup.pending.empty()) continue;
        execute(warpgroup.pending.front());
        warpgroup.pending.pop_front();
        return true;
    }
    return false;
}

std::string unfinished_wgmma(const Thread& thread) {
    const Warpgroup& warpgroup = warpgroup_of(thread);
    if (warpgroup.arrived > 0) return text("others of a divergent warpgroup wait in wgmma at ", warpgroup.site);
    if (thread.registers == nullptr || thread.registers->in_flight.empty()) return "";
    return "a wgmma is in flight: wgmma_wait<0>()";
}

void wgmma(const Wgmma& call, Site site) {
    const Emulating emulating;
    maybe_switch();
    const void* from = __builtin_return_address(0);
    Cluster& cluster = *current_cluster();
    Thread& thread = *current_thread();
    const int first = first_of(thread);
    if (thread.index / kWarpgroup * kWarpgroup + kWarpgroup > cluster.run->threads) {
        fault("wgmma at ", site, ": the block has no four warps from warp ", thread.index / kWarpgroup * 4, " on");
    }
    check_registers(thread, call, site);
    Warpgroup& warpgroup = warpgroup_of(thread);
    if (warpgroup.arrived == 0) {
        warpgroup.site = site;
        for (int t = 0; t < kWarpgroup; ++t) {
            if (thread_of(first, t).finished) fault("wgmma at ", site, ": thread ", first + t, " has returned");
        }
    }
    if (warpgroup.site.line != site.line || std::string_view(warpgroup.site.file) != site.file) {
        fault("divergent warpgroup: wgmma at ", site, " meets wgmma at ", warpgroup.site);
    }
    Post post{&call, {}};
    if (call.a_words != nullptr) std::copy_n(call.a_words, 4, post.a_words);
    warpgroup.posted[static_cast<std::size_t>(thread.slot - first)] = &post;
    if (++warpgroup.arrived < kWarpgroup) {
        sleep({"wgmma", site});
        return;
    }
    issue(warpgroup, site, from);
    warpgroup.arrived = 0;
    for (int t = 0; t < kWarpgroup; ++t) {
        if (first + t != thread.slot) wake(thread_of(first, t));
    }
    maybe_switch();
}

void wgmma_fence(Site site) {
    gather(kFence, site, nullptr, [](const std::array<void*, kWarp>&) {
        const int first = current_thread()->warp_slot() * kWarp;
        for (int lane = 0; lane < kWarp; ++lane) forget_accesses(register_log(thread_of(first, lane)));
    });
}

void wgmma_commit(Site site) {
    gather(kCommit, site, nullptr, [](const std::array<void*, kWarp>&) {
        const Thread& thread = *current_thread();
        ++warpgroup_of(thread).open_group[static_cast<std::size_t>(thread.warp() % 4)];
    });
}

void wgmma_wait(int pending_groups, Site site) {
    gather(kWait, site, &pending_groups, [](const std::array<void*, kWarp>& posted) {
        const Thread& thread = *current_thread();
        Warpgroup& warpgroup = warpgroup_of(thread);
        const int warp = thread.warp() % 4, first = first_of(thread);
        const int ended = warpgroup.open_group[static_cast<std::size_t>(warp)] - 1 - *static_cast<int*>(posted[0]);
        if (ended <= 0) return;
        deliver(warpgroup, first, warp, ended);
        for (int lane = 0; lane < kWarp; ++lane) {
            current_cluster()->clocks.wgmma_ended(first + warp * kWarp + lane, ended);
        }
    });
}

void set_registers(int count, Site site) {
    gather(kRegisters, site, &count, [](const std::array<void*, kWarp>& posted) {
        constexpr int kRegistersOfBlock = 65536;
        const int asked = *static_cast<int*>(posted[0]);
        std::vector<int>& registers = current_block().registers;
        registers[static_cast<std::size_t>(current_thread()->warp())] = asked;
        int sum = 0;
        for (const int of_thread : registers) {
            if (of_thread == 0) return;
            sum += kWarp * of_thread;
        }
        if (sum > kRegistersOfBlock) {
            fault("raise_registers: the warps ask for ", sum, " registers, a block has ", kRegistersOfBlock);
        }
    });
}

}  // namespace cloze::emulated
