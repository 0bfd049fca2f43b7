// The pieces of a vocabulary as a double-array trie: two roots (pieces that begin a word, pieces that continue one),
// one load per byte. A child stands at base ^ byte and carries the byte as its label; because no two nodes share a
// base, the label alone proves the parent, and a node is 8 bytes: 30,522 pieces are 0.6 MB.
//
// Greedy matching from each piece's end may read bytes twice; words are short and limited (100 or 200 characters), so
// the linear-time construction with failure links (Song et al., Fast WordPiece) was not worth its second table: on
// English it would save nothing, since nine words in ten are one piece. Tested by tests/text/tokenizer_test.cpp.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "engine/text/vocabulary.h"

namespace cloze {

class PieceTrie {
public:
    explicit PieceTrie(const Vocabulary& vocabulary);

    enum Root : std::uint32_t { begins_word = 0, continues_word = 1 };

    struct Match {
        std::int32_t id;     // -1: no piece matches
        std::int32_t bytes;  // its length
    };

    /// The longest piece that `text`, folded byte by byte, begins with. Folding may not yield NUL.
    Match longest(Root root, const char* text, const char* end, const unsigned char* fold) const {
        Match match = {-1, 0};
        std::uint32_t base = nodes_[root].base_and_label >> 8;
        for (const char* at = text; at != end; ++at) {
            const std::uint32_t byte = fold[static_cast<unsigned char>(*at)];
            const Node& node = nodes_[base ^ byte];
            if ((node.base_and_label & 0xFF) != byte) break;
            if (node.id >= 0) match = {node.id, static_cast<std::int32_t>(at + 1 - text)};
            base = node.base_and_label >> 8;
        }
        return match;
    }

private:
    struct Node {
        std::uint32_t base_and_label;  // 24 bits and 8
        std::int32_t id;               // of the piece that ends here, or -1
    };
    class Builder;
    std::vector<Node> nodes_;
};

}  // namespace cloze
