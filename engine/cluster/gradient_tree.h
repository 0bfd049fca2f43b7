// The fixed binary tree in which the gradients of V virtual ranks meet. The sum does not depend on how many real ranks
// compute them: ((0 + 1) + (2 + 3)) + ... for V a power of two. Inside one rank a binary counter of log2(V) + 1 flat
// buffers is enough: when two sums of equal size exist, they are added, the earlier one first.
// V = 1 keeps one buffer and adds nothing. Tested by tests/cluster/gradient_tree_test.cpp.
#pragma once

#include <vector>

#include "engine/device/arena.h"
#include "kernels/core/stream.h"

namespace cloze {

class GradientTree {
public:
    GradientTree() = default;
    /// Requests its buffers of [1, elements] from `arena`; `virtual_ranks` is a power of two.
    GradientTree(Arena& arena, std::int64_t elements, DType dtype, std::int64_t virtual_ranks);

    /// Where the next virtual rank accumulates its micro-batches; the first of them overwrites.
    Tensor next() const;
    /// Takes what was written to next() into the tree.
    void merge(Stream stream);
    /// The sum of all virtual ranks, after exactly V merges; the tree is then empty again.
    Tensor take();
    /// Empty again, whatever was merged.
    void restart();

    std::int64_t virtual_ranks() const { return virtual_ranks_; }

private:
    std::int64_t virtual_ranks_ = 0;
    std::int64_t merged_ = 0;
    std::vector<Tensor> buffers_;  // buffers_[i]: a sum of virtual ranks; the first `depth_` are in use
    std::size_t depth_ = 0;
};

}  // namespace cloze
