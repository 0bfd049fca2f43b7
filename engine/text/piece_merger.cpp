#include "engine/text/piece_merger.h"

#include <algorithm>
#include <utility>

namespace cloze {
namespace {

std::uint64_t key_of(std::int32_t left, std::int32_t right) {
    return static_cast<std::uint64_t>(left) << 32 | static_cast<std::uint32_t>(right);
}

}  // namespace

void PieceMerger::add_word(const std::vector<PieceId>& pieces, std::int64_t times) {
    words_.push_back({static_cast<std::int64_t>(pieces_.size()), static_cast<std::int32_t>(pieces.size()), times});
    pieces_.insert(pieces_.end(), pieces.begin(), pieces.end());
}

void PieceMerger::index_pairs() {
    for (std::int32_t index = 0; index < static_cast<std::int32_t>(words_.size()); ++index) {
        const WordPieces& word = words_[static_cast<std::size_t>(index)];
        const PieceId* pieces = pieces_.data() + word.first;
        for (std::int32_t i = 0; i + 1 < word.count; ++i) {
            PairInfo& info = pairs_[key_of(pieces[i], pieces[i + 1])];
            info.times += word.times;
            if (info.words.empty() || info.words.back() != index) info.words.push_back(index);
        }
    }
    for (const auto& [key, info] : pairs_) queue_.push({info.times, key});
}

bool PieceMerger::most_frequent(Pair& pair) {
    while (!queue_.empty()) {
        const Candidate candidate = queue_.top();
        const auto found = pairs_.find(candidate.key);
        const std::int64_t times = found == pairs_.end() ? 0 : found->second.times;
        if (times == candidate.times) {
            pair = {static_cast<PieceId>(candidate.key >> 32), static_cast<PieceId>(candidate.key & 0xFFFFFFFF), times};
            return true;
        }
        queue_.pop();
        // Grown pairs were queued anew when they grew.
        if (times > 0 && times < candidate.times) queue_.push({times, candidate.key});
    }
    return false;
}

void PieceMerger::merge(const Pair& pair, PieceId joined) {
    const auto found = pairs_.find(key_of(pair.left, pair.right));
    const std::vector<std::int32_t> words = std::move(found->second.words);
    queue_.pop();
    grown_.clear();
    for (const std::int32_t word : words) merge_in_word(word, pair, joined);
    pairs_.erase(key_of(pair.left, pair.right));
    std::sort(grown_.begin(), grown_.end());
    grown_.erase(std::unique(grown_.begin(), grown_.end()), grown_.end());
    for (const std::uint64_t key : grown_) {
        const auto info = pairs_.find(key);
        if (info != pairs_.end() && info->second.times > 0) queue_.push({info->second.times, key});
    }
}

// Pairs that touch an occurrence lose their count, pairs that touch the joined piece gain it; the rest of the word
// stays.
void PieceMerger::merge_in_word(std::int32_t index, const Pair& pair, PieceId joined) {
    WordPieces& word = words_[static_cast<std::size_t>(index)];
    PieceId* pieces = pieces_.data() + word.first;
    const auto lose = [&](PieceId left, PieceId right) {
        const auto found = pairs_.find(key_of(left, right));
        found->second.times -= word.times;
    };
    const auto gain = [&](PieceId left, PieceId right) {
        PairInfo& info = pairs_[key_of(left, right)];
        info.times += word.times;
        if (info.words.empty() || info.words.back() != index) info.words.push_back(index);
        grown_.push_back(key_of(left, right));
    };
    std::int32_t kept = 0;
    bool joined_before = false;  // the last kept piece is new
    for (std::int32_t i = 0; i < word.count; ++kept) {
        const bool joins = i + 1 < word.count && pieces[i] == pair.left && pieces[i + 1] == pair.right;
        if (kept > 0 && (joins || joined_before)) {
            lose(joined_before ? pair.right : pieces[kept - 1], pieces[i]);
            gain(pieces[kept - 1], joins ? joined : pieces[i]);
        }
        if (joins) lose(pair.left, pair.right);
        pieces[kept] = joins ? joined : pieces[i];
        i += joins ? 2 : 1;
        joined_before = joins;
    }
    word.count = kept;
}

}  // namespace cloze
