#include "kernels/attention.h"

#include <cstdlib>
#include <memory>

#include "tests/kernels/device/device_testing.h"

using namespace cloze;
using namespace cloze::test;

namespace {

constexpr Visible kEveryVisible[] = {Visible::all, Visible::past, Visible::future, Visible::strict_past,
                                     Visible::strict_future};

struct Case {
    std::vector<std::int32_t> lengths;
    std::int64_t heads = 1;
    std::int64_t head_dim = 64;
    Visible visible = Visible::all;
    double dropout = 0;
    std::int64_t before = 0;  // rows ahead of the first sequence
    std::int64_t after = 0;   // rows behind the last
    double size = 2;          // of queries, keys and values

    std::int64_t hidden() const { return heads * head_dim; }
    std::int64_t sequences() const { return static_cast<std::int64_t>(lengths.size()); }
    std::int64_t tokens() const {
        std::int64_t sum = before + after;
        for (const std::int32_t length : lengths) sum += length;
        return sum;
    }
    bool used(std::int64_t row) const { return row >= before && row < tokens() - after; }
    Array offset() const {
        Array offset(DType::i32, sequences() + 1);
        double row = static_cast<double>(before);
        for (std::int64_t s = 0; s <= sequences(); ++s) {
            offset.set(s, row);
            if (s < sequences()) row += lengths[static_cast<std::size_t>(s)];
        }
        return offset;
    }
    Array samples() const {
        Array samples(DType::u64, sequences());
        for (std::int64_t s = 0; s < sequences(); ++s) samples.set(s, static_cast<double>(s) * 7 + 0x1p33);
        return samples;
    }
    /// Contents on rows of sequences; the others hold NaN, which must not matter.
    Array rows(std::int64_t cols, std::uint64_t seed, double largest) const {
        Array array = random_array(DType::bf16, tokens(), cols, seed, -largest, largest);
        for (std::int64_t row = 0; row < tokens(); ++row) {
            for (std::int64_t c = 0; !used(row) && c < cols; ++c) array.set(row, c, NAN);
        }
        return array;
    }
};

std::string name_of(const Case& c) {
    std::string lengths;
    for (const std::int32_t length : c.lengths) lengths.append(std::to_string(length)).append(" ");
    return text("lengths ", lengths, ", ", c.heads, " heads of ", c.head_dim, ", visible ", static_cast<int>(c.visible),
                ", dropout ", c.dropout, ", ", c.before, " rows before, ", c.after, " after");
}

struct HostMemory {
    using Buffer = Array;
    static const StepState* place(const StepState& state) { return &state; }
    static Array fetch(const Array& array) { return array; }
};

struct DeviceMemory {
    using Buffer = DeviceArray;
    static const StepState* place(const StepState& state) {
        static std::unique_ptr<DeviceVector<StepState>> copy;
        copy = std::make_unique<DeviceVector<StepState>>(std::vector{state});
        return copy->data();
    }
    static Array fetch(const DeviceArray& array) { return array.fetch(); }
};

const StepState kState{.step = 5, .dropout_key = {0x1234567u, 0x89abcdefu}};

template <typename Memory>
AttentionDropout dropout_of(const Case& c, const typename Memory::Buffer& samples) {
    if (c.dropout == 0) return {};
    return {.probability = c.dropout, .layer = 3, .state = Memory::place(kState), .sequence_sample = samples.tensor()};
}

struct Forward {
    Array y, log_sum_exp;
    bool same_bits(const Forward& other) const {
        return y.same_bits(other.y) && log_sum_exp.same_bits(other.log_sum_exp);
    }
};

template <typename Memory>
Forward run_forward(const Case& c, const Array& input, DType dtype) {
    using Buffer = typename Memory::Buffer;
    const Buffer qkv(input.as(dtype)), y(Array(dtype, c.tokens(), c.hidden())),
        log_sum_exp(Array(statistics_dtype(dtype), c.heads, c.tokens())), offset(c.offset()), samples(c.samples());
    attention_forward({.y = y.tensor(),
                       .log_sum_exp = log_sum_exp.tensor(),
                       .qkv = qkv.tensor(),
                       .offset = offset.tensor(),
                       .heads = c.heads,
                       .visible = c.visible,
                       .dropout = dropout_of<Memory>(c, samples)},
                      {});
    return {Memory::fetch(y), Memory::fetch(log_sum_exp)};
}

/// From what the exact forward gave, rounded: so all backwards start from the same.
template <typename Memory>
Array run_backward(const Case& c, const Array& input, const Array& dout, const Forward& forward, DType dtype) {
    using Buffer = typename Memory::Buffer;
    const DType statistics = statistics_dtype(dtype);
    const Buffer qkv(input.as(dtype)), dy(dout.as(dtype)), y(forward.y.as(DType::bf16).as(dtype)),
        log_sum_exp(forward.log_sum_exp.as(DType::f32).as(statistics)), dqkv(Array(dtype, c.tokens(), 3 * c.hidden())),
        scratch(Array(statistics, attention_backward_scratch(c.tokens(), c.heads, c.head_dim))), offset(c.offset()),
        samples(c.samples());
    attention_backward({.dqkv = dqkv.tensor(),
                        .scratch = scratch.tensor(),
                        .dy = dy.tensor(),
                        .y = y.tensor(),
                        .log_sum_exp = log_sum_exp.tensor(),
                        .qkv = qkv.tensor(),
                        .offset = offset.tensor(),
                        .heads = c.heads,
                        .visible = c.visible,
                        .dropout = dropout_of<Memory>(c, samples)},
                       {});
    Memory::fetch(scratch);
    return Memory::fetch(dqkv);
}

/// -infinity, which says that a query sees nothing, as a number far from all others.
Array comparable(Array log_sum_exp) {
    for (std::int64_t i = 0; i < log_sum_exp.count(); ++i) {
        if (log_sum_exp[i] == -INFINITY) log_sum_exp.set(i, -1e6);
    }
    return log_sum_exp;
}

/// As check_as_near, and besides what sums of fast_exp2 may be off.
void check_log_sum_exp(const Array& device, const Array& plain, const Array& exact) {
    const double own = distance(comparable(device), comparable(exact));
    const double allowed = 2 * distance(comparable(plain), comparable(exact)) + 0x1p-21;
    INFO("log_sum_exp: " << own << " from the definition");
    CHECK(own <= allowed);
}

void check_zero_outside(const char* what, const Case& c, const Array& array) {
    INFO(what << " outside every sequence");
    bool zero = true;
    for (std::int64_t row = 0; row < c.tokens(); ++row) {
        for (std::int64_t i = 0; !c.used(row) && i < array.cols(); ++i) zero = zero && array.get(row, i) == 0;
    }
    CHECK(zero);
}

void check_near(const Case& c) {
    INFO(name_of(c));
    const Array qkv = c.rows(3 * c.hidden(), 1, c.size);
    const Forward got = run_forward<DeviceMemory>(c, qkv, DType::bf16),
                  plain = run_forward<HostMemory>(c, qkv, DType::bf16),
                  exact = run_forward<HostMemory>(c, qkv, DType::f64);
    check_as_near("y", got.y, plain.y, exact.y);
    check_log_sum_exp(got.log_sum_exp, plain.log_sum_exp, exact.log_sum_exp);
    check_zero_outside("y", c, got.y);
    const Array dy = c.rows(c.hidden(), 2, 1);
    const Array dqkv = run_backward<DeviceMemory>(c, qkv, dy, exact, DType::bf16);
    check_as_near("dqkv", dqkv, run_backward<HostMemory>(c, qkv, dy, exact, DType::bf16),
                  run_backward<HostMemory>(c, qkv, dy, exact, DType::f64));
    check_zero_outside("dqkv", c, dqkv);
}

}  // namespace

TEST_CASE("attention on a device is as near to its definition as the plain loop, at ragged lengths") {
    if (!device_or_skip()) return;
    check_near({.lengths = {1, 2, 0, 63, 64, 65, 100, 0, 0}, .heads = 2, .before = 2, .after = 5});
    check_near({.lengths = {127, 128, 129}, .dropout = 0.1});
    check_near({.lengths = {300, 1, 40}, .head_dim = 32, .dropout = 0.1, .after = 1});
    check_near({.lengths = {1, 31, 33, 16}, .heads = 3, .head_dim = 32});
}

TEST_CASE("attention on a device sees what it should") {
    if (!device_or_skip()) return;
    for (const Visible visible : kEveryVisible) {
        check_near({.lengths = {1, 130, 64, 2, 200}, .visible = visible, .dropout = 0.1});
        check_near({.lengths = {70, 1, 129}, .head_dim = 32, .visible = visible, .after = 2});
    }
}

TEST_CASE("attention on a device has the same bits under every schedule") {
    if (!device_or_skip()) return;
    const Case c{.lengths = {130, 3, 65, 0}, .heads = 2, .visible = Visible::past, .dropout = 0.1, .after = 3};
    const Array qkv = c.rows(3 * c.hidden(), 1, 2);
    const Array dy = c.rows(c.hidden(), 2, 1);
    const Forward first = run_forward<DeviceMemory>(c, qkv, DType::bf16);
    const Array gradient = run_backward<DeviceMemory>(c, qkv, dy, first, DType::bf16);
    for_schedules(schedules(), [&] {
        CHECK(run_forward<DeviceMemory>(c, qkv, DType::bf16).same_bits(first));
        CHECK(run_backward<DeviceMemory>(c, qkv, dy, first, DType::bf16).same_bits(gradient));
    });
}

TEST_CASE("attention on a device survives scores far outside the range of exp") {
    if (!device_or_skip()) return;
    const Case c{.lengths = {70}, .size = 300};
    const Array qkv = c.rows(3 * c.hidden(), 1, c.size);
    const Forward got = run_forward<DeviceMemory>(c, qkv, DType::bf16),
                  exact = run_forward<HostMemory>(c, qkv, DType::f64);
    CHECK(distance(got.y, exact.y) <= 0x1p-7);  // a probability of 1 may be 1 - 2^-8: its exponent is rounded at 1e5
    CHECK(distance(got.log_sum_exp, exact.log_sum_exp) <= 0x1p-20);
}

TEST_CASE("attention on a device of no tokens or no sequences writes zeros") {
    if (!device_or_skip()) return;
    check_near({.lengths = {}, .heads = 2, .dropout = 0.1, .after = 3});
    check_near({.lengths = {0, 0}, .heads = 2, .dropout = 0.1, .before = 1, .after = 1});
    check_near({.lengths = {}, .heads = 2});
}
