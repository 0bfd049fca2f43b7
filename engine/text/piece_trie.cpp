#include "engine/text/piece_trie.h"

#include <algorithm>
#include <string>
#include <utility>

#include "kernels/core/error.h"

namespace cloze {
namespace {

constexpr std::uint32_t kBlock = 256;      // children of one node share a block: base ^ byte changes the low byte only
constexpr std::uint32_t kOpenBlocks = 16;  // older blocks are nearly full and no longer searched
constexpr std::uint32_t kMaxNodes = 1u << 24;
constexpr std::size_t kMaxPieceBytes = 4 * 200;  // longer than any word that is looked up

}  // namespace

class PieceTrie::Builder {
public:
    using Pieces = std::vector<std::pair<std::string_view, std::int32_t>>;

    Builder() {
        add_block();
        take(begins_word);
        take(continues_word);
        base_used_[0] = true;  // base 0 belongs to leaves and has no children
    }

    /// Places the children of `node`, whose pieces agree in their first `depth` bytes, and theirs.
    void place(std::uint32_t node, Pieces::const_iterator first, Pieces::const_iterator last, std::size_t depth) {
        if (first != last && first->first.size() == depth) nodes_[node].id = (first++)->second;
        if (first == last) return;
        std::vector<std::pair<unsigned char, Pieces::const_iterator>> children;
        for (auto piece = first; piece != last; ++piece) {
            const auto byte = static_cast<unsigned char>(piece->first[depth]);
            if (children.empty() || children.back().first != byte) children.emplace_back(byte, piece);
        }
        const std::uint32_t base = find_base(children);
        base_used_[base] = true;
        nodes_[node].base_and_label = base << 8 | (nodes_[node].base_and_label & 0xFF);
        for (const auto& child : children) {
            take(base ^ child.first);
            nodes_[base ^ child.first].base_and_label = child.first;
        }
        for (std::size_t i = 0; i < children.size(); ++i) {
            const auto end = i + 1 < children.size() ? children[i + 1].second : last;
            place(base ^ children[i].first, children[i].second, end, depth + 1);
        }
    }

    std::vector<Node> take_nodes() { return std::move(nodes_); }

private:
    template <typename Children>
    bool fits(std::uint32_t base, const Children& children) const {
        return !base_used_[base] && std::all_of(children.begin(), children.end(),
                                                [&](const auto& child) { return !taken_[base ^ child.first]; });
    }

    template <typename Children>
    std::uint32_t find_base(const Children& children) {
        const auto blocks = static_cast<std::uint32_t>(nodes_.size()) / kBlock;
        for (std::uint32_t block = blocks > kOpenBlocks ? blocks - kOpenBlocks : 0; block < blocks; ++block) {
            if (free_[block] < children.size()) continue;
            for (std::uint32_t slot = block * kBlock; slot < (block + 1) * kBlock; ++slot) {
                if (!taken_[slot] && fits(slot ^ children[0].first, children)) return slot ^ children[0].first;
            }
        }
        add_block();
        return find_base(children);
    }

    void add_block() {
        require_input(nodes_.size() + kBlock <= kMaxNodes, "vocabulary: too large for the piece trie (", kMaxNodes,
                      " nodes); use fewer or shorter tokens");
        nodes_.resize(nodes_.size() + kBlock, Node{0, -1});
        taken_.resize(nodes_.size());
        base_used_.resize(nodes_.size());
        free_.push_back(kBlock);
    }

    void take(std::uint32_t slot) {
        taken_[slot] = true;
        --free_[slot / kBlock];
    }

    std::vector<Node> nodes_;
    std::vector<bool> taken_, base_used_;
    std::vector<std::uint32_t> free_;  // slots left in each block
};

PieceTrie::PieceTrie(const Vocabulary& vocabulary) {
    Builder::Pieces begins, continues;
    for (std::int32_t id = 0; id < vocabulary.size(); ++id) {
        const std::string_view token = vocabulary.token(id);
        // Neither can match: cleaning drops NUL.
        if (token.size() > kMaxPieceBytes || token.find('\0') != std::string_view::npos) continue;
        if (vocabulary.is_continuation(id)) {
            continues.emplace_back(token.substr(kContinuationPrefix.size()), id);
        } else {
            begins.emplace_back(token, id);
        }
    }
    Builder builder;
    std::sort(begins.begin(), begins.end());
    builder.place(begins_word, begins.begin(), begins.end(), 0);
    std::sort(continues.begin(), continues.end());
    builder.place(continues_word, continues.begin(), continues.end(), 0);
    nodes_ = builder.take_nodes();
}

}  // namespace cloze
