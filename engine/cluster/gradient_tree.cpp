#include "engine/cluster/gradient_tree.h"

#include <bit>
#include <string>

#include "kernels/cast.h"

namespace cloze {

GradientTree::GradientTree(Arena& arena, std::int64_t elements, DType dtype, std::int64_t virtual_ranks)
    : virtual_ranks_(virtual_ranks) {
    require(virtual_ranks >= 1 && std::has_single_bit(static_cast<std::uint64_t>(virtual_ranks)),
            "virtual ranks: ", virtual_ranks, " is not a power of two");
    const int buffers = std::bit_width(static_cast<std::uint64_t>(virtual_ranks));
    for (int i = 0; i < buffers; ++i) {
        buffers_.push_back(arena.tensor("gradient." + std::to_string(i), dtype, 1, elements));
    }
}

Tensor GradientTree::next() const {
    require(merged_ < virtual_ranks_, "gradient tree: all ", virtual_ranks_, " virtual ranks are merged already");
    return buffers_[depth_];
}

void GradientTree::merge(Stream stream) {
    ++depth_;
    ++merged_;
    // After the n-th merge as many pairs of equal sums exist as n has trailing zero bits.
    for (std::int64_t n = merged_; n % 2 == 0; n /= 2) {
        add({.y = buffers_[depth_ - 2], .x = buffers_[depth_ - 1]}, stream);
        --depth_;
    }
}

Tensor GradientTree::take() {
    require(merged_ == virtual_ranks_ && depth_ == 1, "gradient tree: ", merged_, " of ", virtual_ranks_,
            " virtual ranks are merged");
    restart();
    return buffers_[0];
}

void GradientTree::restart() {
    merged_ = 0;
    depth_ = 0;
}

}  // namespace cloze
