#include "kernels/attention.h"
#include "kernels/bias_tanh.h"
#include "kernels/core/contract.h"
#include "kernels/cross_entropy.h"
#include "kernels/embedding.h"
#include "kernels/layer_norm.h"
#include "kernels/norm.h"
#include "kernels/optimizer_update.h"
#include "kernels/rows.h"
#include "tests/kernels/op_testing.h"

using namespace cloze;
using namespace cloze::test;

TEST_CASE("a contract refuses tensors in two places and names both") {
    const Array a(DType::f32, 2, 3), b(DType::f32, 2, 3);
    const Tensor here = a.tensor(), there = on_device(b.tensor()), absent;
    CHECK(common_place("op", {{"a", here}, {"none", absent}}) == Place::host);
    CHECK(common_place("op", {{"none", absent}, {"b", there}}) == Place::device);
    CHECK(error_of([&] {
              common_place("op", {{"a", here}, {"b", there}});
          }) == "usage: op: a is f32 [2, 3], but b is f32 [2, 3] on the device; all arguments must lie in one place");
    CHECK(error_of([&] { fail_without_device("op"); }).rfind("device: op: ", 0) == 0);
}

TEST_CASE("a contract refuses shared memory except where it is said") {
    const Array a(DType::f32, 4, 3), b(DType::f32, 4, 3);
    const Tensor whole = a.tensor(), part = whole.row_range(1, 2), other = b.tensor(), empty = whole.row_range(4, 0);
    CHECK(overlaps(whole, part));
    CHECK_FALSE(overlaps(whole, other));
    CHECK_FALSE(overlaps(whole, empty));
    CHECK_FALSE(overlaps(whole.row_range(0, 2), whole.row_range(2, 2)));
    CHECK(error_of([&] {
              require_apart("op", {"y", whole}, {{"z", other}, {"x", part}});
          }) == "usage: op: y shares memory with x; give it a buffer of its own");
    CHECK(error_of([&] { require_same_or_apart("op", {"y", whole}, {"x", whole}); }).empty());
    CHECK(error_of([&] { require_same_or_apart("op", {"y", whole}, {"x", other}); }).empty());
    CHECK(error_of([&] {
              require_same_or_apart("op", {"y", part}, {"x", whole});
          }) == "usage: op: y may be x or lie apart from it, but they overlap in part");
}

TEST_CASE("every op refuses integers where a floating type belongs, naming itself and the argument") {
    const Array integers(DType::i32, 2, 4), floats(DType::f32, 1, 4);
    const Tensor ids = integers.tensor(), weight = floats.tensor(), absent;
    const auto refusal = [](const char* op, const char* argument) {
        return text("usage: ", op, ": ", argument, " is i32, but must be f64, f32 or bf16");
    };
    CHECK(error_of([&] { require_floating("op", {"x", ids}); }) == refusal("op", "x"));
    CHECK(
        error_of([&] {
            attention_forward(
                {.y = ids, .log_sum_exp = absent, .qkv = absent, .offset = absent, .heads = 1, .visible = Visible::all},
                {});
        }) == refusal("attention_forward", "y"));
    CHECK(error_of([&] { bias_tanh_forward({.y = absent, .x = ids, .bias = absent}, {}); }) ==
          refusal("bias_tanh_forward", "x"));
    BiasTanhBackward tanh_backward{};
    tanh_backward.y = ids;
    CHECK(error_of([&] { bias_tanh_backward(tanh_backward, {}); }) == refusal("bias_tanh_backward", "y"));
    CrossEntropy cross{};
    cross.logits = ids;
    CHECK(error_of([&] { cross_entropy(cross, {}); }) == refusal("cross_entropy", "logits"));
    EmbeddingForward embedding{};
    embedding.y = ids;
    CHECK(error_of([&] { embedding_forward(embedding, {}); }) == refusal("embedding_forward", "y"));
    EmbeddingBackward embedding_gradient{};
    embedding_gradient.dy = ids;
    CHECK(error_of([&] { embedding_backward(embedding_gradient, {}); }) == refusal("embedding_backward", "dy"));
    LayerNormForward norm{};
    norm.x = ids;
    CHECK(error_of([&] { layer_norm_forward(norm, {}); }) == refusal("layer_norm_forward", "x"));
    LayerNormBackward norm_gradient{};
    norm_gradient.dy = ids;
    CHECK(error_of([&] { layer_norm_backward(norm_gradient, {}); }) == refusal("layer_norm_backward", "dy"));
    RowsGather gather{};
    gather.y = ids;
    CHECK(error_of([&] { rows_gather(gather, {}); }) == refusal("rows_gather", "y"));
    RowsScatter scatter{};
    scatter.y = ids;
    CHECK(error_of([&] { rows_scatter(scatter, {}); }) == refusal("rows_scatter", "y"));
    StepState state;
    GradientNorm gradient{};
    gradient.gradient = ids;
    gradient.state = &state;
    CHECK(error_of([&] { gradient_norm(gradient, {}); }) == refusal("gradient_norm", "gradient"));
    OptimizerUpdate update{};
    update.weight = weight;
    update.working = ids;
    CHECK(error_of([&] { optimizer_update(update, {}); }) == refusal("optimizer_update", "working"));
}

TEST_CASE("a guarded array notices writes around and between its rows") {
    Array array(DType::f32, 3, 4, 6);
    array.fill(1);
    CHECK(array.guards_hold());
    array.data<float>()[4] = 0;
    CHECK_FALSE(array.guards_hold());
    Array flat(DType::bf16, 5);
    flat.data<bf16>()[5] = bf16(1.0f);
    CHECK_FALSE(flat.guards_hold());
}
