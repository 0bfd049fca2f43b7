#include "engine/cluster/gradient_tree.h"

#include <catch2/catch.hpp>
#include <vector>

using namespace cloze;

namespace {

GradientTree bound_tree(Arena& arena, std::int64_t elements, std::int64_t ranks) {
    GradientTree(arena, elements, DType::f32, ranks);
    arena.bind();
    return GradientTree(arena, elements, DType::f32, ranks);
}

/// The definition: halves recursively.
float tree_sum(const std::vector<float>& values, std::size_t first, std::size_t count) {
    if (count == 1) return values[first];
    return tree_sum(values, first, count / 2) + tree_sum(values, first + count / 2, count / 2);
}

}  // namespace

TEST_CASE("the gradient tree adds in the fixed binary order, to the bit") {
    for (const std::int64_t ranks : {1, 2, 4, 8, 32}) {
        Arena arena("gradients");
        GradientTree tree = bound_tree(arena, 3, ranks);
        std::vector<float> values;
        for (std::int64_t i = 0; i < ranks; ++i)
            values.push_back(1.0f / static_cast<float>(3 * i + 1) + 1000.0f * (i % 3));
        for (int repeat = 0; repeat < 2; ++repeat) {  // empty again after take()
            for (const float value : values) {
                std::fill_n(tree.next().data<float>(), 3, value);
                tree.merge({});
            }
            const Tensor sum = tree.take();
            CHECK(sum.data<float>()[2] == tree_sum(values, 0, values.size()));
        }
    }
}

TEST_CASE("the gradient tree needs log2(V) + 1 buffers and a power of two") {
    Arena arena("gradients");
    GradientTree tree(arena, 64, DType::f32, 8);
    CHECK(arena.report().size() == 4);
    CHECK_THROWS_WITH(GradientTree(arena, 64, DType::f32, 6), Catch::Contains("6 is not a power of two"));
}

TEST_CASE("the gradient tree refuses to be taken early or filled too far") {
    Arena arena("gradients");
    GradientTree tree = bound_tree(arena, 1, 2);
    tree.merge({});
    CHECK_THROWS_AS(tree.take(), Error);
    tree.merge({});
    CHECK_THROWS_AS(tree.next(), Error);
}
