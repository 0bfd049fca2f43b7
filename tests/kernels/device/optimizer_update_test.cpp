#include "kernels/optimizer_update.h"

#include "tests/kernels/device/segment_testing.h"

using namespace cloze;
using namespace cloze::test;

namespace {

struct Recipe {
    OptimizerKind kind = OptimizerKind::adamw;
    double beta1 = 0.9, beta2 = 0.999, epsilon = 1e-6, weight_decay = 0.01;
    double gradient_scale = 1;
    bool bias_correction = true;
};

constexpr OptimizerKind kKinds[] = {OptimizerKind::adamw, OptimizerKind::lamb};

/// Flat buffers; `working` has no shape where no copy is wanted.
struct Buffers {
    Array weight, working, m, v, gradient;

    bool same_bits(const Buffers& other) const {
        return weight.same_bits(other.weight) && working.same_bits(other.working) && m.same_bits(other.m) &&
               v.same_bits(other.v) && gradient.same_bits(other.gradient);
    }
    Buffers as(DType dtype) const { return {weight.as(dtype), working, m.as(dtype), v.as(dtype), gradient.as(dtype)}; }
};

/// In f32; between the segments too, so that what is written there shows.
Buffers start(const SegmentLayout& layout, DType working = DType::bf16) {
    const std::int64_t n = layout.elements;
    return {random_array(DType::f32, 1, n, 1), random_array(working, 1, n, 5),
            random_array(DType::f32, 1, n, 2, -0.1, 0.1), random_array(DType::f32, 1, n, 3, 0, 0.01),
            random_array(DType::f32, 1, n, 4, -0.2, 0.2)};
}

StepState state_of(const Recipe& recipe, int update) {
    StepState state;
    state.learning_rate = 0.01;
    state.gradient_scale = recipe.gradient_scale;
    if (recipe.bias_correction) {
        state.bias_correction1 = 1 - std::pow(recipe.beta1, update);
        state.bias_correction2 = 1 - std::pow(recipe.beta2, update);
    }
    return state;
}

OptimizerUpdate arguments_of(const Recipe& recipe, std::int64_t segment_count) {
    return {.weight = {},
            .working = {},
            .m = {},
            .v = {},
            .scratch = {},
            .gradient = {},
            .state = nullptr,
            .segments = nullptr,
            .segment_count = segment_count,
            .kind = recipe.kind,
            .beta1 = recipe.beta1,
            .beta2 = recipe.beta2,
            .epsilon = recipe.epsilon,
            .weight_decay = recipe.weight_decay};
}

Array scratch_of(const Recipe& recipe, const SegmentLayout& layout) {
    const std::int64_t count = optimizer_update_scratch(recipe.kind, layout.elements, layout.count());
    return count == 0 ? Array() : Array(DType::f64, count);
}

void run_on_host(Buffers& b, const SegmentLayout& layout, const Recipe& recipe, const StepState& state) {
    const Array scratch = scratch_of(recipe, layout);
    OptimizerUpdate a = arguments_of(recipe, layout.count());
    a.weight = b.weight.tensor(), a.working = b.working.tensor(), a.m = b.m.tensor(), a.v = b.v.tensor();
    a.gradient = b.gradient.tensor(), a.scratch = scratch.tensor();
    a.state = &state;
    a.segments = layout.segments.data();
    optimizer_update(a, {});
}

/// The buffers on the device.
struct DeviceBuffers {
    DeviceArray weight, working, m, v, gradient;

    explicit DeviceBuffers(const Buffers& b)
        : weight(b.weight), working(b.working), m(b.m), v(b.v), gradient(b.gradient) {}
    Buffers fetch() const { return {weight.fetch(), working.fetch(), m.fetch(), v.fetch(), gradient.fetch()}; }
};

void run_on_device(const DeviceBuffers& b, const SegmentLayout& layout, const Recipe& recipe, const StepState* state) {
    const DeviceArray scratch(scratch_of(recipe, layout));
    const DeviceVector<Segment> segments(layout.segments);
    OptimizerUpdate a = arguments_of(recipe, layout.count());
    a.weight = b.weight.tensor(), a.working = b.working.tensor(), a.m = b.m.tensor(), a.v = b.v.tensor();
    a.gradient = b.gradient.tensor(), a.scratch = scratch.tensor();
    a.state = state;
    a.segments = segments.data();
    optimizer_update(a, {});
    scratch.fetch();
}

void run_on_device(Buffers& b, const SegmentLayout& layout, const Recipe& recipe, const StepState& host_state) {
    const DeviceBuffers buffers(b);
    const DeviceVector<StepState> state(std::vector<StepState>{host_state});
    run_on_device(buffers, layout, recipe, state.data());
    b = buffers.fetch();
}

/// The copy is the new weight, rounded; whatever lies between the segments is as before, and so is the gradient.
void check_copy_and_gaps(const Buffers& got, const Buffers& before, const SegmentLayout& layout) {
    CHECK(got.gradient.same_bits(before.gradient));
    bool copied = true, kept = true;
    for (std::int64_t i = 0; i < layout.elements; ++i) {
        const bool has_copy = got.working.count() > 0;
        if (layout.covers(i)) {
            copied = copied && (!has_copy || got.working[i] == stored_as(got.working.dtype(), got.weight[i]));
        } else {
            kept = kept && got.weight[i] == before.weight[i] && got.m[i] == before.m[i] && got.v[i] == before.v[i] &&
                   (!has_copy || got.working[i] == before.working[i]);
        }
    }
    CHECK(copied);
    CHECK(kept);
}

void check_near(const SegmentLayout& layout, const Recipe& recipe, const Buffers& from, int updates) {
    INFO((recipe.kind == OptimizerKind::lamb ? "LAMB, " : "AdamW, ")
         << layout.name << ", decay " << recipe.weight_decay << ", factor " << recipe.gradient_scale
         << (recipe.bias_correction ? ", corrected" : ""));
    Buffers got = from, plain = from, exact = from.as(DType::f64);
    for (int update = 1; update <= updates; ++update) {
        const StepState state = state_of(recipe, update);
        run_on_device(got, layout, recipe, state);
        run_on_host(plain, layout, recipe, state);
        run_on_host(exact, layout, recipe, state);
        check_copy_and_gaps(got, from, layout);
    }
    check_as_near("weight", got.weight, plain.weight, exact.weight);
    check_as_near("m", got.m, plain.m, exact.m);
    check_as_near("v", got.v, plain.v, exact.v);
}

SegmentLayout small_layout() {
    return lay_out("a few", {0, 1, 7, 64, 65, 3000, 2}, 1, 3);
}

}  // namespace

TEST_CASE("AdamW and LAMB on a device are as near to their definition as the plain loop, however segments lie") {
    if (!device_or_skip()) return;
    for (const OptimizerKind kind : kKinds) {
        for (const SegmentLayout& layout : segment_layouts()) {
            check_near(layout, {.kind = kind, .gradient_scale = 0.3}, start(layout), 1);
        }
    }
}

TEST_CASE("AdamW and LAMB on a device take several steps as the plain loop, by every recipe and copy") {
    if (!device_or_skip()) return;
    const SegmentLayout layout = small_layout();
    for (const OptimizerKind kind : kKinds) {
        check_near(layout, {.kind = kind}, start(layout), 5);
        check_near(layout, {.kind = kind, .bias_correction = false}, start(layout), 5);
        check_near(layout, {.kind = kind, .weight_decay = 0}, start(layout), 3);
        check_near(layout, {.kind = kind, .weight_decay = 0.5, .gradient_scale = 1e-3}, start(layout, DType::f32), 3);
        Buffers without = start(layout);
        without.working = {};
        check_near(layout, {.kind = kind}, without, 3);
    }
}

TEST_CASE("AdamW and LAMB on a device have the same bits under every schedule") {
    if (!device_or_skip()) return;
    const SegmentLayout layout = lay_out("", {0, 1, 7, 64, 65, 5000, 16385}, 1, 3);
    for (const OptimizerKind kind : kKinds) {
        const Recipe recipe{.kind = kind};
        Buffers first = start(layout);
        run_on_device(first, layout, recipe, state_of(recipe, 1));
        for_schedules(schedules(), [&] {
            Buffers again = start(layout);
            run_on_device(again, layout, recipe, state_of(recipe, 1));
            CHECK(again.same_bits(first));
        });
    }
}

TEST_CASE("a segment's decay on a device is its own") {
    if (!device_or_skip()) return;
    const SegmentLayout layout = small_layout();
    for (const OptimizerKind kind : kKinds) {
        Buffers with = start(layout), without = start(layout);
        run_on_device(with, layout, {.kind = kind, .weight_decay = 0.5}, state_of({}, 1));
        run_on_device(without, layout, {.kind = kind, .weight_decay = 0}, state_of({}, 1));
        for (const Segment& segment : layout.segments) {
            if (segment.count == 1) continue;  // LAMB moves it by its own size, whatever the direction's
            for (std::int64_t i = segment.offset; i < segment.offset + segment.count; ++i) {
                REQUIRE((with.weight[i] == without.weight[i]) == (segment.decay == 0));
            }
        }
    }
}

TEST_CASE("LAMB's ratio on a device is 1 without decay, and where the weight or the direction is zero") {
    if (!device_or_skip()) return;
    SegmentLayout layout = small_layout();
    const Recipe lamb{.kind = OptimizerKind::lamb}, adamw{};
    SECTION("without decay it is AdamW") {
        for (Segment& segment : layout.segments) segment.decay = 0;
        Buffers a = start(layout), b = start(layout);
        run_on_device(a, layout, lamb, state_of(lamb, 1));
        run_on_device(b, layout, adamw, state_of(adamw, 1));
        CHECK(a.same_bits(b));
    }
    SECTION("weights of zero move as under AdamW") {
        Buffers a = start(layout), b = start(layout);
        a.weight.fill(0);
        b.weight.fill(0);
        run_on_device(a, layout, lamb, state_of(lamb, 1));
        run_on_device(b, layout, adamw, state_of(adamw, 1));
        CHECK(a.same_bits(b));
    }
    SECTION("a direction of zero moves nothing") {
        Buffers a = start(layout);
        for (Array* array : {&a.m, &a.v, &a.gradient}) array->fill(0);
        const Array before = a.weight;
        run_on_device(a, layout, {.kind = OptimizerKind::lamb, .weight_decay = 0}, state_of(lamb, 1));
        CHECK(a.weight.same_bits(before));
    }
}

TEST_CASE("LAMB on a device moves a segment by the learning rate times its own norm") {
    if (!device_or_skip()) return;
    const SegmentLayout layout = awkward_layout();
    const Recipe lamb{.kind = OptimizerKind::lamb};
    Buffers b = start(layout);
    const Array before = b.weight;
    run_on_device(b, layout, lamb, state_of(lamb, 5));
    for (const Segment& segment : layout.segments) {
        if (segment.decay == 0 || segment.count == 0) continue;
        double moved = 0, norm = 0;
        for (std::int64_t i = segment.offset; i < segment.offset + segment.count; ++i) {
            moved += (b.weight[i] - before[i]) * (b.weight[i] - before[i]);
            norm += before[i] * before[i];
        }
        CHECK(std::sqrt(moved) == Approx(0.01 * std::sqrt(norm)).epsilon(1e-4));
    }
}

TEST_CASE("an epsilon of zero on a device leaves no NaN from beside a segment") {
    if (!device_or_skip()) return;
    const SegmentLayout layout = small_layout();
    for (const OptimizerKind kind : kKinds) check_near(layout, {.kind = kind, .epsilon = 0}, start(layout), 1);
}

TEST_CASE("gradients on a device may be huge or tiny") {
    if (!device_or_skip()) return;
    const SegmentLayout layout = small_layout();
    for (const OptimizerKind kind : kKinds) {
        for (const double size : {1e-42, 1e-30, 1e-10, 1e10, 1e25}) {
            INFO("gradients of " << size);
            const Recipe recipe{.kind = kind};
            Buffers got = start(layout);
            for (std::int64_t i = 0; i < layout.elements; ++i) {
                got.gradient.set(i, got.gradient[i] * size);
                got.m.set(i, 0);
                got.v.set(i, 0);
            }
            Buffers plain = got;
            run_on_device(got, layout, recipe, state_of(recipe, 1));
            run_on_host(plain, layout, recipe, state_of(recipe, 1));
            CHECK(worst_difference(got.weight, plain.weight) <= 1e-6);
            CHECK(worst_difference(got.v, plain.v) <= 1e-6 * size * size);  // from 1e20 on infinite on both
            CHECK(worst_difference(got.m, plain.m) <= 1e-6 * size);
        }
    }
}

TEST_CASE("a NaN in one segment on a device stays in it") {
    if (!device_or_skip()) return;
    const SegmentLayout layout = small_layout();
    for (const OptimizerKind kind : kKinds) {
        const Recipe recipe{.kind = kind};
        Buffers good = start(layout), bad = start(layout);
        const Segment& spoiled = layout.segments[4];
        bad.gradient.set(spoiled.offset, std::nan(""));
        run_on_device(good, layout, recipe, state_of(recipe, 1));
        run_on_device(bad, layout, recipe, state_of(recipe, 1));
        CHECK(std::isnan(bad.weight[spoiled.offset]));
        CHECK(std::isnan(bad.working[spoiled.offset]));
        for (std::int64_t i = 0; i < layout.elements; ++i) {
            if (i >= spoiled.offset && i < spoiled.offset + spoiled.count) continue;
            REQUIRE(good.weight[i] == bad.weight[i]);
            REQUIRE(good.m[i] == bad.m[i]);
        }
    }
}

TEST_CASE("a skipped step on a device changes nothing") {
    if (!device_or_skip()) return;
    const SegmentLayout layout = small_layout();
    for (const OptimizerKind kind : kKinds) {
        Buffers b = start(layout);
        StepState state = state_of({}, 1);
        state.skip = 1;
        run_on_device(b, layout, {.kind = kind}, state);
        CHECK(b.same_bits(start(layout)));
    }
}

TEST_CASE("the update on a device obeys the state that gradient_norm has left there") {
    if (!device_or_skip()) return;
    const SegmentLayout layout = small_layout();
    const auto step = [&](Buffers& b, OptimizerKind kind) {
        const DeviceBuffers buffers(b);
        const DeviceArray square(DType::f64, layout.count()),
            scratch(DType::f64, gradient_norm_scratch(layout.elements, layout.count()));
        const DeviceVector<Segment> segments(layout.segments);
        const DeviceVector<StepState> state(std::vector<StepState>{state_of({}, 1)});
        gradient_norm({.state = state.data(),
                       .segment_square = square.tensor(),
                       .scratch = scratch.tensor(),
                       .gradient = buffers.gradient.tensor(),
                       .segments = segments.data(),
                       .segment_count = layout.count(),
                       .max_norm = 0.5},
                      {});
        run_on_device(buffers, layout, {.kind = kind}, state.data());
        b = buffers.fetch();
        return state.values()[0];
    };
    for (const OptimizerKind kind : kKinds) {
        Buffers clipped = start(layout), expected = start(layout), skipped = start(layout);
        const StepState state = step(clipped, kind);
        CHECK(state.gradient_scale < 0.5);
        run_on_device(expected, layout, {.kind = kind}, state);
        CHECK(clipped.same_bits(expected));
        skipped.gradient.set(layout.segments.back().offset, INFINITY);
        const Buffers before = skipped;
        CHECK(step(skipped, kind).skip == 1);
        CHECK(skipped.same_bits(before));
    }
}

TEST_CASE("the update on a device accepts no elements, and refuses what its kernels cannot move") {
    if (!device_or_skip()) return;
    const DeviceVector<StepState> state(std::vector<StepState>(1));
    const DeviceVector<Segment> segments(std::vector<Segment>{{0, 0, 1}});
    const auto message = [&](DType dtype, DType working, std::int64_t cols, std::int64_t skipped) {
        const DeviceArray weight(dtype, cols + 8), copy(working, cols + 8), m(dtype, cols), v(dtype, cols),
            gradient(dtype, cols), scratch(DType::f64, optimizer_update_scratch(OptimizerKind::lamb, cols, 1));
        const auto view = [&](const DeviceArray& array) {
            Tensor tensor = array.tensor();
            tensor.address = static_cast<char*>(tensor.address) + skipped;
            tensor.cols = tensor.stride = cols;
            return tensor;
        };
        OptimizerUpdate a = arguments_of({.kind = OptimizerKind::lamb}, 1);
        a.weight = view(weight), a.working = view(copy), a.m = m.tensor(), a.v = v.tensor();
        a.gradient = gradient.tensor(), a.scratch = scratch.tensor();
        a.state = state.data();
        a.segments = segments.data();
        return error_of([&] { optimizer_update(a, {}); });
    };
    CHECK(message(DType::f32, DType::bf16, 0, 0) == "");
    CHECK(message(DType::f32, DType::bf16, 8, 0) == "");
    CHECK(message(DType::f32, DType::bf16, 12, 0).find("usage: optimizer_update: weight is f32 [1, 12]") == 0);
    CHECK(message(DType::f64, DType::bf16, 8, 0).find("devices compute in f32 and bf16") != std::string::npos);
    CHECK(message(DType::f32, DType::f64, 8, 0).find("working is f64") != std::string::npos);
    CHECK(message(DType::f32, DType::f32, 8, 8).find("not a multiple of 16") != std::string::npos);
}
