// AdamW and LAMB against a straightforward computation in double, and everything that must stay as it is.
#include "kernels/optimizer_update.h"

#include "tests/kernels/op_testing.h"

using namespace cloze;
using namespace cloze::test;

namespace {

const std::vector<Segment> kSegments = {{0, 130, 1}, {256, 7, 0}, {384, 16385, 1}, {17000, 0, 1}, {17000, 17000, 1}};
constexpr std::int64_t kElements = 34100;

struct Recipe {
    OptimizerKind kind = OptimizerKind::adamw;
    double beta1 = 0.9, beta2 = 0.999, epsilon = 1e-6, weight_decay = 0.01;
    double gradient_scale = 1;
    bool bias_correction = true;
};

struct Buffers {
    Array weight, working, m, v, gradient;
};

Buffers start(DType dtype, DType working = DType::bf16) {
    Buffers b{random_array(dtype, 1, kElements, 1), Array(working, kElements),
              random_array(dtype, 1, kElements, 2, -0.1, 0.1), random_array(dtype, 1, kElements, 3, 0, 0.01),
              random_array(dtype, 1, kElements, 4, -0.2, 0.2)};
    for (std::int64_t i = 0; i < kElements; ++i) b.working.set(i, -7);
    return b;
}

StepState state_of(const Recipe& recipe, int updates) {
    StepState state;
    state.learning_rate = 0.01;
    state.gradient_scale = recipe.gradient_scale;
    if (recipe.bias_correction) {
        state.bias_correction1 = 1 - std::pow(recipe.beta1, updates);
        state.bias_correction2 = 1 - std::pow(recipe.beta2, updates);
    }
    return state;
}

void run(Buffers& b, const Recipe& recipe, const StepState& state, bool working = true) {
    const auto count = static_cast<std::int64_t>(kSegments.size());
    const std::int64_t scratch_count = optimizer_update_scratch(recipe.kind, kElements, count);
    const Array scratch = scratch_count == 0 ? Array() : Array(DType::f64, scratch_count);
    optimizer_update({.weight = b.weight.tensor(),
                      .working = working ? b.working.tensor() : Tensor{},
                      .m = b.m.tensor(),
                      .v = b.v.tensor(),
                      .scratch = scratch.tensor(),
                      .gradient = b.gradient.tensor(),
                      .state = &state,
                      .segments = kSegments.data(),
                      .segment_count = count,
                      .kind = recipe.kind,
                      .beta1 = recipe.beta1,
                      .beta2 = recipe.beta2,
                      .epsilon = recipe.epsilon,
                      .weight_decay = recipe.weight_decay},
                     {});
    const std::vector<const Array*> arrays = {&b.weight, &b.working, &b.m, &b.v, &b.gradient, &scratch};
    for (const Array* array : arrays) {
        REQUIRE((array->tensor().address == nullptr || array->guards_hold()));
    }
}

/// One segment by the formulas of the header, in double.
void plain_segment(Buffers& b, const Recipe& recipe, const StepState& state, const Segment& segment) {
    const double decay = segment.decay != 0 ? recipe.weight_decay : 0;
    double weight_square = 0, direction_square = 0;
    std::vector<double> direction;
    for (std::int64_t i = segment.offset; i < segment.offset + segment.count; ++i) {
        const double g = b.gradient[i] * state.gradient_scale;
        b.m.set(i, recipe.beta1 * b.m[i] + (1 - recipe.beta1) * g);
        b.v.set(i, recipe.beta2 * b.v[i] + (1 - recipe.beta2) * g * g);
        const double u =
            b.m[i] / state.bias_correction1 / (std::sqrt(b.v[i] / state.bias_correction2) + recipe.epsilon) +
            decay * b.weight[i];
        direction.push_back(u);
        weight_square += b.weight[i] * b.weight[i];
        direction_square += u * u;
    }
    const bool trusted =
        recipe.kind == OptimizerKind::lamb && segment.decay != 0 && weight_square > 0 && direction_square > 0;
    const double ratio = trusted ? std::sqrt(weight_square / direction_square) : 1;
    for (std::int64_t i = 0; i < segment.count; ++i) {
        const std::int64_t at = segment.offset + i;
        b.weight.set(at, b.weight[at] - state.learning_rate * ratio * direction[static_cast<std::size_t>(i)]);
    }
}

Buffers widened(const Buffers& b) {
    return {b.weight.as(DType::f64), b.working, b.m.as(DType::f64), b.v.as(DType::f64), b.gradient.as(DType::f64)};
}

void compare(DType dtype, const Recipe& recipe, double tolerance) {
    Buffers b = start(dtype);
    Buffers expected = widened(b);
    for (int update = 1; update <= 3; ++update) {
        const StepState state = state_of(recipe, update);
        run(b, recipe, state);
        for (const Segment& segment : kSegments) plain_segment(expected, recipe, state, segment);
    }
    CHECK(distance(b.weight, expected.weight) <= tolerance);
    CHECK(distance(b.m, expected.m) <= tolerance);
    CHECK(distance(b.v, expected.v) <= tolerance);
    // The working copy is the new weight, rounded; gaps stay.
    Array rounded(DType::bf16, 1);
    bool equal = true;
    std::vector<bool> covered(static_cast<std::size_t>(kElements), false);
    for (const Segment& segment : kSegments) {
        for (std::int64_t i = segment.offset; i < segment.offset + segment.count; ++i) {
            covered[static_cast<std::size_t>(i)] = true;
            rounded.set(0, b.weight[i]);
            equal = equal && b.working[i] == rounded[0];
        }
    }
    for (std::int64_t i = 0; i < kElements; ++i)
        equal = equal && (covered[static_cast<std::size_t>(i)] || b.working[i] == -7);
    CHECK(equal);
}

}  // namespace

TEST_CASE("AdamW and LAMB equal a straightforward computation") {
    for (const OptimizerKind kind : {OptimizerKind::adamw, OptimizerKind::lamb}) {
        for (const bool bias_correction : {true, false}) {
            const Recipe recipe{.kind = kind, .gradient_scale = 0.3, .bias_correction = bias_correction};
            compare(DType::f64, recipe, 1e-14);
            compare(DType::f32, recipe, 2e-6);
        }
    }
}

TEST_CASE("AdamW takes one known step") {
    // The first step with bias correction moves each weight by the learning rate against the gradient's sign.
    Buffers b = start(DType::f64);
    b.m.fill(0);
    b.v.fill(0);
    const Array before = b.weight;
    const Recipe recipe{.epsilon = 0, .weight_decay = 0};
    run(b, recipe, state_of(recipe, 1));
    for (std::int64_t i = 256; i < 263; ++i)
        CHECK(b.weight[i] == Approx(before[i] - std::copysign(0.01, b.gradient[i])));
}

TEST_CASE("weight decay does not touch segments without decay") {
    for (const OptimizerKind kind : {OptimizerKind::adamw, OptimizerKind::lamb}) {
        Buffers with = start(DType::f32), without = start(DType::f32);
        const Recipe decaying{.kind = kind, .weight_decay = 0.5}, plain{.kind = kind, .weight_decay = 0};
        run(with, decaying, state_of(decaying, 1));
        run(without, plain, state_of(plain, 1));
        for (std::int64_t i = 256; i < 263; ++i) CHECK(with.weight[i] == without.weight[i]);
        CHECK(with.weight[0] != without.weight[0]);
    }
}

TEST_CASE("LAMB's ratio is 1 where the weight or the direction is zero") {
    const Recipe lamb{.kind = OptimizerKind::lamb}, adamw{};
    SECTION("weights of zero move as under AdamW") {
        Buffers a = start(DType::f64), b = start(DType::f64);
        a.weight.fill(0);
        b.weight.fill(0);
        run(a, lamb, state_of(lamb, 1));
        run(b, adamw, state_of(adamw, 1));
        CHECK(a.weight.same_bits(b.weight));
    }
    SECTION("a direction of zero moves nothing") {
        const Recipe resting{.kind = OptimizerKind::lamb, .weight_decay = 0};
        Buffers a = start(DType::f64);
        a.m.fill(0);
        a.v.fill(0);
        a.gradient.fill(0);
        const Array before = a.weight;
        run(a, resting, state_of(resting, 1));
        CHECK(a.weight.same_bits(before));
    }
}

TEST_CASE("LAMB moves a tensor by the learning rate times its own norm") {
    Buffers b = start(DType::f64);
    const Array before = b.weight;
    const Recipe lamb{.kind = OptimizerKind::lamb};
    run(b, lamb, state_of(lamb, 5));
    double moved = 0, norm = 0;
    for (std::int64_t i = 384; i < 384 + 16385; ++i) {
        moved += (b.weight[i] - before[i]) * (b.weight[i] - before[i]);
        norm += before[i] * before[i];
    }
    CHECK(std::sqrt(moved) == Approx(0.01 * std::sqrt(norm)));
}

TEST_CASE("a skipped step changes nothing") {
    for (const OptimizerKind kind : {OptimizerKind::adamw, OptimizerKind::lamb}) {
        Buffers b = start(DType::f32);
        const Buffers before = b;
        const Recipe recipe{.kind = kind};
        StepState state = state_of(recipe, 1);
        state.skip = 1;
        run(b, recipe, state);
        CHECK(b.weight.same_bits(before.weight));
        CHECK(b.working.same_bits(before.working));
        CHECK(b.m.same_bits(before.m));
        CHECK(b.v.same_bits(before.v));
    }
}

TEST_CASE("the gaps between segments stay as they are, and the gradient too") {
    Buffers b = start(DType::f32);
    const Buffers before = b;
    const Recipe recipe{};
    run(b, recipe, state_of(recipe, 1), false);
    CHECK(b.gradient.same_bits(before.gradient));
    CHECK(b.working.same_bits(before.working));
    for (const std::int64_t i :
         {std::int64_t{130}, std::int64_t{255}, std::int64_t{263}, std::int64_t{16999}, kElements - 1}) {
        CHECK(b.weight[i] == before.weight[i]);
        CHECK(b.m[i] == before.m[i]);
        CHECK(b.v[i] == before.v[i]);
    }
}

TEST_CASE("optimizer_update gives the same bits at any number of threads and twice") {
    for (const OptimizerKind kind : {OptimizerKind::adamw, OptimizerKind::lamb}) {
        const Recipe recipe{.kind = kind};
        check_repeatable([&] {
            Buffers b = start(DType::f32);
            run(b, recipe, state_of(recipe, 1));
            return std::vector<Array>{b.weight, b.working, b.m, b.v};
        });
    }
}

TEST_CASE("optimizer_update names what is wrong with its arguments") {
    Buffers b = start(DType::f32);
    StepState state;
    const Segment segment{0, 20000, 1};
    const OptimizerUpdate good{.weight = b.weight.tensor(),
                               .working = {},
                               .m = b.m.tensor(),
                               .v = b.v.tensor(),
                               .scratch = {},
                               .gradient = b.gradient.tensor(),
                               .state = &state,
                               .segments = &segment,
                               .segment_count = 1,
                               .kind = OptimizerKind::adamw,
                               .beta1 = 0.9,
                               .beta2 = 0.999,
                               .epsilon = 1e-6,
                               .weight_decay = 0};
    const auto message = [&](const std::function<void(OptimizerUpdate&)>& spoil) {
        OptimizerUpdate a = good;
        spoil(a);
        return error_of([&] { optimizer_update(a, {}); });
    };
    CHECK(message([](auto&) {}).empty());
    CHECK(message([](auto& a) { a.kind = OptimizerKind::lamb; }) ==
          "usage: optimizer_update: scratch must be f64 [1, 9] without gaps between rows, but it is absent");
    CHECK(message([](auto& a) { a.v.cols = 3; }) ==
          "usage: optimizer_update: v must be f32 [1, 34100] without gaps between rows, but it is f32 [1, 3]");
    constexpr std::int64_t most = std::numeric_limits<std::int64_t>::max();
    const Segment outside{34000, 101, 1}, endless{1, most, 1};
    CHECK(message([&](auto& a) { a.segments = &outside; }) ==
          "usage: optimizer_update: segment 0 is 101 elements from 34000 on, of 34100");
    CHECK(message([&](auto& a) { a.segments = &endless; }) ==
          "usage: optimizer_update: segment 0 is 9223372036854775807 elements from 1 on, of 34100");
    CHECK(message([&](auto& a) { a.weight.cols = most; }) ==
          "usage: optimizer_update: weight is f32 [1, 9223372036854775807], which is not a possible size");
    CHECK(message([&](auto& a) { a.v = a.m; }) ==
          "usage: optimizer_update: m shares memory with v; give it a buffer of its own");
    CHECK(message([](auto& a) { a.beta2 = 1; }) == "usage: optimizer_update: beta1 0.9 and beta2 1 must lie in [0, 1)");
    CHECK(message([](auto& a) { a.epsilon = -1; }) ==
          "usage: optimizer_update: epsilon -1 and weight_decay 0 must not be negative");
    CHECK(message([](auto& a) { a.state = nullptr; }) == "usage: optimizer_update: needs the address of a StepState");
    CHECK(message([](auto& a) { a.weight.cols = 100; }).rfind("usage: optimizer_update: m must be f32 [1, 100]", 0) ==
          0);
}

TEST_CASE("scratch of LAMB holds two sums for each chunk in each segment, and a rate for each segment") {
    CHECK(optimizer_update_scratch(OptimizerKind::adamw, kElements, 5) == 0);
    CHECK(optimizer_update_scratch(OptimizerKind::lamb, kElements, 5) == 2 * (3 + 5) + 5);
}
