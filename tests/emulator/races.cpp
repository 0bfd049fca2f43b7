#include "tests/emulator/races.h"

#include <algorithm>

#include "tests/emulator/block.h"
#include "tests/emulator/code_place.h"
#include "tests/emulator/mbarriers.h"

namespace cloze::emulated {

namespace {

std::uint32_t last_cluster = 0;             // serial numbers of clusters count up over all launches
std::uint32_t first_cluster_of_launch = 1;  // earlier ones belong to launches that are over

std::uint32_t& time_of(Knowledge& known, int actor) {
    const auto at = static_cast<std::size_t>(actor);
    if (known.size() <= at) known.resize(at + 1, 0);
    return known[at];
}

void raise_time(Knowledge& known, int actor, std::uint32_t time) {
    if (time == 0) return;
    std::uint32_t& known_so_far = time_of(known, actor);
    known_so_far = std::max(known_so_far, time);
}

}  // namespace

void learn(Knowledge& known, const Knowledge& more) {
    if (known.size() < more.size()) known.resize(more.size(), 0);
    for (std::size_t actor = 0; actor < more.size(); ++actor) known[actor] = std::max(known[actor], more[actor]);
}

void begin_launch_of_races() {
    first_cluster_of_launch = last_cluster + 1;
}

void Clocks::start(int threads, int threads_of_block) {
    threads_ = threads;
    threads_of_block_ = threads_of_block;
    cluster_ = ++last_cluster;
    const auto nothing = std::make_shared<Knowledge>(static_cast<std::size_t>(2 * threads), 0);
    clock_.assign(static_cast<std::size_t>(threads), {1, 0, 0, nothing});
    common_.clear();
    for (auto& merged : merged_) merged.reset();
}

void Clocks::release(int t, Meeting& meeting) {
    ThreadClock& clock = clock_[static_cast<std::size_t>(t)];
    if (!meeting.known) {
        meeting.known = std::make_shared<Knowledge>(*clock.known);
    } else if (meeting.merged_last != clock.known) {
        learn(*meeting.known, *clock.known);
    }
    meeting.merged_last = clock.known;
    raise_time(*meeting.known, t, clock.time);
    raise_time(*meeting.known, threads_ + t, clock.landed);
    raise_time(*meeting.known, actor_of_wgmma(warpgroup_of(t)), clock.wgmma_ended);
    if (++clock.time == kLatestTime) fault("the emulator's clock of the thread runs over: too many barriers");
}

void Clocks::acquire(std::span<const int> threads, const Meeting& meeting) {
    for (const int t : threads) clock_[static_cast<std::size_t>(t)].known = meeting.known;
}

void Clocks::acquire_more(int t, const std::shared_ptr<Knowledge>& more) {
    std::shared_ptr<Knowledge>& known = clock_[static_cast<std::size_t>(t)].known;
    if (!more || more == known) return;
    if (merged_[0] != known || merged_[1] != more) {
        merged_[0] = known;
        merged_[1] = more;
        merged_[2] = std::make_shared<Knowledge>(*known);
        learn(*merged_[2], *more);
    }
    known = merged_[2];
}

void Clocks::fence(int t) {
    ThreadClock& clock = clock_[static_cast<std::size_t>(t)];
    auto known = std::make_shared<Knowledge>(*clock.known);
    const auto writers = static_cast<std::size_t>(2 * threads_);
    known->resize(std::max(known->size(), 2 * writers), 0);
    for (std::size_t actor = 0; actor < writers; ++actor) {
        (*known)[writers + actor] = std::max((*known)[writers + actor], (*known)[actor]);
    }
    raise_time(*known, 2 * threads_ + t, clock.time);
    raise_time(*known, 3 * threads_ + t, clock.landed);
    clock.known = std::move(known);
    ++clock.time;
}

Stamp Clocks::stamp_of_thread(int t, std::uint32_t code) const {
    return {cluster_, static_cast<std::uint32_t>(t), clock_[static_cast<std::size_t>(t)].time, code};
}

Stamp Clocks::stamp_of_copy(int t, int group, std::uint32_t code) const {
    return {cluster_, static_cast<std::uint32_t>(threads_ + t), static_cast<std::uint32_t>(group), code};
}

void Clocks::copies_landed(int t, int group) {
    clock_[static_cast<std::size_t>(t)].landed = static_cast<std::uint32_t>(group);
}
void Clocks::wgmma_ended(int t, int group) {
    clock_[static_cast<std::size_t>(t)].wgmma_ended = static_cast<std::uint32_t>(group);
}

bool Clocks::happened_before(const Stamp& earlier, int t) const {
    if (earlier.cluster < first_cluster_of_launch) return true;
    if (earlier.cluster != cluster_) return false;
    const ThreadClock& clock = clock_[static_cast<std::size_t>(t)];
    const int actor = static_cast<int>(earlier.actor);
    if (actor == t) return true;
    if (actor == threads_ + t) return earlier.time <= clock.landed;
    if (earlier.time <= known_time(*clock.known, earlier.actor)) return true;
    return actor == actor_of_wgmma(warpgroup_of(t)) && earlier.time <= clock.wgmma_ended;
}

const Knowledge& Clocks::view(int t) {
    const ThreadClock& clock = clock_[static_cast<std::size_t>(t)];
    view_ = *clock.known;
    raise_time(view_, t, clock.time);
    raise_time(view_, threads_ + t, clock.landed);
    raise_time(view_, actor_of_wgmma(warpgroup_of(t)), clock.wgmma_ended);
    return view_;
}

const Knowledge& Clocks::common_view(int warpgroup) {
    const int first = first_thread_of(warpgroup), end = first + kWarpgroup;
    std::vector<std::shared_ptr<Knowledge>> of;
    std::uint32_t ended = kLatestTime;
    for (int t = first; t < end; ++t) {
        const ThreadClock& clock = clock_[static_cast<std::size_t>(t)];
        if (of.empty() || of.back() != clock.known) of.push_back(clock.known);
        ended = std::min(ended, clock.wgmma_ended);
    }
    CommonView& common = common_[warpgroup];
    if (common.of != of || common.wgmma_ended != ended) {
        common.known = *of.front();
        for (const auto& known : of) {
            common.known.resize(std::min(common.known.size(), known->size()));
            for (std::size_t i = 0; i < common.known.size(); ++i) {
                common.known[i] = std::min(common.known[i], (*known)[i]);
            }
        }
        raise_time(common.known, actor_of_wgmma(warpgroup), ended);
        common.of = std::move(of);
        common.wgmma_ended = ended;
    }
    return common.known;
}

namespace {

std::string describe_thread(int slot) {
    const Cluster& cluster = *current_cluster();
    const Thread& thread = cluster.threads[static_cast<std::size_t>(slot)];
    const std::string of =
        cluster.blocks.size() == 1 ? std::string() : text(" of block ", thread.rank, " of the cluster");
    return text("thread ", thread.index, of);
}

std::string describe_actor(const Stamp& stamp) {
    const Clocks& clocks = current_cluster()->clocks;
    const int threads = clocks.threads(), actor = static_cast<int>(stamp.actor);
    std::string who;
    if (stamp.cluster != clocks.cluster()) {
        who = actor < threads ? text("thread ", actor, " of another block") : "a copy of another block";
    } else if (actor < threads) {
        who = describe_thread(actor);
    } else if (actor < 2 * threads) {
        who = text("a copy of ", describe_thread(actor - threads));
    } else if (actor < clocks.actor_of_mbarrier(0)) {
        const int first = clocks.first_thread_of(actor - clocks.actor_of_wgmma(0));
        who = text("a wgmma of the warpgroup of ", describe_thread(first));
    } else {
        who = text(
            "a copy of the copy engine for ",
            MbarrierName{current_cluster()->mbarriers[static_cast<std::size_t>(actor - clocks.actor_of_mbarrier(0))]});
    }
    return text(who, " at ", code_place(stamp.code));
}

[[noreturn]] void report(const RaceQuestion& question, std::size_t byte, const Stamp& earlier, const char* earlier_did,
                         const char* kind = "race",
                         const char* lacks = "with nothing between them that orders the two") {
    std::string message = text(kind, " on ", question.what, " byte ", question.offset + static_cast<std::int64_t>(byte),
                               ": ", earlier_did, " by ", describe_actor(earlier), ", then ",
                               question.kind == AccessKind::write ? "written" : "read", " by ",
                               describe_actor(question.stamp), " ", lacks, ", in ", *current_thread());
    end_launch(std::move(message));
}

bool same_access(const Stamp& a, const Stamp& b) {
    return a.cluster == b.cluster && a.actor == b.actor && a.time == b.time;
}

/// An own read of before, and one that `is_before` what happens now, are replaced; do not keep the same reader twice.
template <typename IsBefore>
void remember_reader(ByteHistory& history, const Stamp& reader, IsBefore is_before) {
    for (Stamp& slot : history.readers) {
        if (same_access(slot, reader) || is_before(slot)) {
            slot = reader;
            return;
        }
    }
    history.readers[1] = reader;
}

}  // namespace

void check_race(const RaceQuestion& question) {
    const int t = current_thread()->slot;
    const Clocks& clocks = current_cluster()->clocks;
    for (std::size_t i = 0; i < question.history.size(); ++i) {
        ByteHistory& history = question.history[i];
        const bool writer_is_same = same_access(history.writer, question.stamp);
        if (!writer_is_same && !clocks.happened_before(history.writer, t))
            report(question, i, history.writer, "written");
        if (question.kind == AccessKind::read) {
            remember_reader(history, question.stamp,
                            [&](const Stamp& slot) { return clocks.happened_before(slot, t); });
            continue;
        }
        for (const Stamp& reader : history.readers) {
            if (!clocks.happened_before(reader, t)) report(question, i, reader, "read");
        }
        history.writer = question.stamp;
        history.readers[0] = history.readers[1] = {};
    }
}

void check_asynchronous_race(const AsynchronousQuestion& question) {
    const RaceQuestion& access = question.access;
    const Clocks& clocks = current_cluster()->clocks;
    const auto writers_of_threads = static_cast<std::uint32_t>(2 * clocks.threads());
    const auto is_before = [&](const Stamp& earlier) {
        return earlier.cluster < first_cluster_of_launch ||
               (earlier.cluster == clocks.cluster() && earlier.time <= known_time(question.view, earlier.actor));
    };
    for (std::size_t i = 0; i < access.history.size(); i += static_cast<std::size_t>(question.step)) {
        ByteHistory& history = access.history[i];
        const Stamp& writer = history.writer;
        if (!same_access(writer, access.stamp) && !is_before(writer)) report(access, i, writer, "written");
        const bool by_thread = writer.cluster >= first_cluster_of_launch && writer.actor < writers_of_threads;
        if (by_thread &&
            (!question.fences_count || writer.time > known_time(question.view, writers_of_threads + writer.actor))) {
            report(access, i, writer, "written", "missing fence",
                   question.fences_count ? "without fence_async_shared() behind the write"
                                         : "though the copy engine need not see what threads of the same launch write");
        }
        if (access.kind == AccessKind::read) {
            remember_reader(history, access.stamp, is_before);
            continue;
        }
        for (const Stamp& reader : history.readers) {
            if (!is_before(reader)) report(access, i, reader, "read");
        }
        history.writer = access.stamp;
        history.readers[0] = history.readers[1] = {};
    }
}

}  // namespace cloze::emulated
