// Byte-pair merging: joins the most frequent pair of neighbouring pieces, again and again. Counts are kept exact while
// words change, and a pair knows the words it was seen in, so a merge touches only those. The work is about the number
// of piece positions in the distinct words times the depth of their merges: 2 million words take seconds on one core.
// Tested by tests/text/vocabulary_trainer_test.cpp.
#pragma once

#include <cstdint>
#include <functional>
#include <queue>
#include <unordered_map>
#include <vector>

namespace cloze {

class PieceMerger {
public:
    using PieceId = std::int32_t;

    struct Pair {
        PieceId left;
        PieceId right;
        std::int64_t times;
    };

    /// A distinct word as pieces, seen `times` times. All words come before the first merge.
    void add_word(const std::vector<PieceId>& pieces, std::int64_t times);
    /// Counts the pairs of all words.
    void index_pairs();

    /// The most frequent pair; among equals the smaller left id, then the smaller right id. False: none is left.
    bool most_frequent(Pair& pair);
    /// Joins every occurrence, from the left of each word, into `joined` (a new id, or that of an equal piece).
    void merge(const Pair& pair, PieceId joined);

    /// Calls visit(pieces, count, times) for every word as it stands.
    template <typename Visit>
    void each(const Visit& visit) const {
        for (const WordPieces& word : words_) visit(pieces_.data() + word.first, word.count, word.times);
    }

private:
    struct WordPieces {
        std::int64_t first;  // in pieces_
        std::int32_t count;
        std::int64_t times;
    };
    struct PairInfo {
        std::int64_t times = 0;
        std::vector<std::int32_t> words;  // where it was seen; may have lost it since
    };
    struct Candidate {
        std::int64_t times;
        std::uint64_t key;
        bool operator<(const Candidate& other) const {
            return times != other.times ? times < other.times : key > other.key;
        }
    };

    void merge_in_word(std::int32_t index, const Pair& pair, PieceId joined);

    std::vector<PieceId> pieces_;
    std::vector<WordPieces> words_;
    std::unordered_map<std::uint64_t, PairInfo> pairs_;
    std::priority_queue<Candidate> queue_;  // counts of the past: verified when taken
    std::vector<std::uint64_t> grown_;      // pairs that one merge has made more frequent
};

}  // namespace cloze
