#include "tests/emulator/races.h"

#include <algorithm>

#include "tests/emulator/block.h"
#include "tests/emulator/code_place.h"

namespace cloze::emulated {

namespace {

std::uint32_t last_block = 0;             // serial numbers of blocks count up over all launches
std::uint32_t first_block_of_launch = 1;  // earlier ones belong to launches that are over

}  // namespace

void begin_launch_of_races() {
    first_block_of_launch = last_block + 1;
}

void Clocks::start(int threads) {
    threads_ = threads;
    block_ = ++last_block;
    const auto nothing = std::make_shared<Knowledge>(static_cast<std::size_t>(2 * threads), 0);
    clock_.assign(static_cast<std::size_t>(threads), {1, 0, nothing});
}

void Clocks::release(int t, Meeting& meeting) {
    ThreadClock& clock = clock_[static_cast<std::size_t>(t)];
    if (!meeting.known) {
        meeting.known = std::make_shared<Knowledge>(*clock.known);
    } else if (meeting.merged_last != clock.known) {
        for (std::size_t actor = 0; actor < clock.known->size(); ++actor) {
            (*meeting.known)[actor] = std::max((*meeting.known)[actor], (*clock.known)[actor]);
        }
    }
    meeting.merged_last = clock.known;
    std::uint32_t& own = (*meeting.known)[static_cast<std::size_t>(t)];
    own = std::max(own, clock.time);
    std::uint32_t& copies = (*meeting.known)[static_cast<std::size_t>(threads_ + t)];
    copies = std::max(copies, clock.landed);
    ++clock.time;
}

void Clocks::acquire(std::span<const int> threads, const Meeting& meeting) {
    for (const int t : threads) clock_[static_cast<std::size_t>(t)].known = meeting.known;
}

Stamp Clocks::stamp_of_thread(int t, std::uint32_t code) const {
    return {block_, static_cast<std::uint32_t>(t), clock_[static_cast<std::size_t>(t)].time, code};
}

Stamp Clocks::stamp_of_copy(int t, int group, std::uint32_t code) const {
    return {block_, static_cast<std::uint32_t>(threads_ + t), static_cast<std::uint32_t>(group), code};
}

void Clocks::copies_landed(int t, int group) {
    clock_[static_cast<std::size_t>(t)].landed = static_cast<std::uint32_t>(group);
}

bool Clocks::happened_before(const Stamp& earlier, int t) const {
    if (earlier.block < first_block_of_launch) return true;
    if (earlier.block != block_) return false;
    const ThreadClock& clock = clock_[static_cast<std::size_t>(t)];
    const int actor = static_cast<int>(earlier.actor);
    if (actor == t) return true;
    if (actor == threads_ + t) return earlier.time <= clock.landed;
    return earlier.time <= (*clock.known)[earlier.actor];
}

namespace {

std::string describe_actor(const Stamp& stamp) {
    const Block& block = *current_block();
    const int threads = block.clocks.threads(), actor = static_cast<int>(stamp.actor);
    std::string who = actor < threads ? text("thread ", actor) : text("a copy of thread ", actor - threads);
    if (stamp.block != block.clocks.stamp_of_thread(0, 0).block) who += " of another block";
    return text(who, " at ", code_place(stamp.code));
}

[[noreturn]] void report(const RaceQuestion& question, std::size_t byte, const Stamp& earlier,
                         const char* earlier_did) {
    std::string message = text(
        "race on ", question.what, " byte ", question.offset + static_cast<std::int64_t>(byte), ": ", earlier_did,
        " by ", describe_actor(earlier), ", then ", question.kind == AccessKind::write ? "written" : "read", " by ",
        describe_actor(question.stamp), " with nothing between them that orders the two, in ", *current_thread());
    end_launch(std::move(message));
}

bool same_access(const Stamp& a, const Stamp& b) {
    return a.block == b.block && a.actor == b.actor && a.time == b.time;
}

void remember_reader(ByteHistory& history, const Stamp& reader, int t) {
    const Clocks& clocks = current_block()->clocks;
    for (Stamp& slot : history.readers) {
        if (clocks.happened_before(slot, t)) {
            // An own read of before is replaced; do not keep the same reader twice.
            slot = reader;
            return;
        }
    }
    history.readers[1] = reader;
}

}  // namespace

void check_race(const RaceQuestion& question) {
    const int t = current_thread()->index;
    const Clocks& clocks = current_block()->clocks;
    for (std::size_t i = 0; i < question.history.size(); ++i) {
        ByteHistory& history = question.history[i];
        const bool writer_is_same = same_access(history.writer, question.stamp);
        if (!writer_is_same && !clocks.happened_before(history.writer, t))
            report(question, i, history.writer, "written");
        if (question.kind == AccessKind::read) {
            remember_reader(history, question.stamp, t);
            continue;
        }
        for (const Stamp& reader : history.readers) {
            if (!clocks.happened_before(reader, t)) report(question, i, reader, "read");
        }
        history.writer = question.stamp;
        history.readers[0] = history.readers[1] = {};
    }
}

}  // namespace cloze::emulated
