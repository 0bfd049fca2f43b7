// Attention on a device, forward and backward, against its definition: ragged batches, every visibility, both head
// sizes; its dropout against the mapping; where sequences lie and how schedules fall must not matter. Each case runs by
// every path that the device has (kernels/attention_path.h).
#include "kernels/attention.h"

#include <cstdlib>
#include <memory>

#include "kernels/attention_path.h"
#include "tests/kernels/device/device_testing.h"
#include "tests/kernels/plain_attention.h"

using namespace cloze;
using namespace cloze::test;

namespace {

using Case = AttentionCase;

std::vector<AttentionPath> paths() {
    std::vector<AttentionPath> all{AttentionPath::portable};
    const AttentionPath best = attention_path(current_device().compute_capability);
    if (best != AttentionPath::portable) all.push_back(best);
    return all;
}

/// device_or_skip(), and a test case runs once by each path.
bool path_or_skip() {
    if (!device_or_skip()) return false;
    force_attention_path(GENERATE(from_range(paths())));
    return true;
}

/// Contents on rows of sequences; the others hold NaN, which must not matter.
Array rows_of(const Case& c, std::int64_t cols, std::uint64_t seed, double largest) {
    Array array = random_array(DType::bf16, c.tokens(), cols, seed, -largest, largest);
    for (std::int64_t row = 0; row < c.tokens(); ++row) {
        for (std::int64_t i = 0; !c.used(row) && i < cols; ++i) array.set(row, i, NAN);
    }
    return array;
}

std::string name_of(const Case& c) {
    std::string lengths;
    for (const std::int32_t length : c.lengths) lengths.append(std::to_string(length)).append(" ");
    return text("path ", static_cast<int>(chosen_attention_path()), ", lengths ", lengths, ", ", c.heads, " heads of ",
                c.head_dim, ", visible ", static_cast<int>(c.visible), ", dropout ", c.dropout, ", ", c.before,
                " rows before, ", c.after, " after");
}

struct HostMemory {
    using Buffer = Array;
    static const StepState* place(const StepState& state) { return &state; }
    static Array fetch(const Array& array) { return array; }
};

struct DeviceMemory {
    using Buffer = DeviceArray;
    static const StepState* place(const StepState& state) { return on_device(state); }
    static Array fetch(const DeviceArray& array) { return array.fetch(); }
};

template <typename Memory>
AttentionDropout dropout_of(const Case& c, const typename Memory::Buffer& samples) {
    if (c.dropout == 0) return {};
    return {.probability = c.dropout,
            .layer = kAttentionLayer,
            .state = Memory::place(kAttentionState),
            .sequence_sample = samples.tensor()};
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

/// The gradient of queries, keys or values.
Array part_of(const Array& dqkv, int part) {
    Array columns(dqkv.dtype(), dqkv.rows(), dqkv.cols() / 3);
    for (std::int64_t row = 0; row < columns.rows(); ++row) {
        for (std::int64_t c = 0; c < columns.cols(); ++c) columns.set(row, c, dqkv.get(row, part * columns.cols() + c));
    }
    return columns;
}

void check_near(const Case& c) {
    INFO(name_of(c));
    const Array qkv = rows_of(c, 3 * c.hidden(), 1, 2);
    const Forward got = run_forward<DeviceMemory>(c, qkv, DType::bf16),
                  plain = run_forward<HostMemory>(c, qkv, DType::bf16),
                  exact = run_forward<HostMemory>(c, qkv, DType::f64);
    check_as_near("y", got.y, plain.y, exact.y);
    check_log_sum_exp(got.log_sum_exp, plain.log_sum_exp, exact.log_sum_exp);
    check_zero_outside("y", c, got.y);
    const Array dy = rows_of(c, c.hidden(), 2, 1);
    const Array dqkv = run_backward<DeviceMemory>(c, qkv, dy, exact, DType::bf16),
                plain_dqkv = run_backward<HostMemory>(c, qkv, dy, exact, DType::bf16),
                exact_dqkv = run_backward<HostMemory>(c, qkv, dy, exact, DType::f64);
    check_as_near("dqkv", dqkv, plain_dqkv, exact_dqkv);
    // One by one against the plain formulas, where what enters products is rounded, as tensor cores ask.
    const Array rounded = plain_attention(c, qkv, dy, {.factors = DType::bf16}).dqkv.as(DType::bf16);
    for (const int part : {0, 1, 2}) {
        const char* const names[] = {"dq", "dk", "dv"};
        check_as_near(names[part], part_of(dqkv, part), part_of(rounded, part), part_of(exact_dqkv, part));
    }
    check_zero_outside("dqkv", c, dqkv);
}

}  // namespace

TEST_CASE("attention on a device is as near to its definition as the plain loop, at ragged lengths") {
    if (!path_or_skip()) return;
    check_near({.lengths = {1, 2, 0, 63, 64, 65, 100, 0, 0}, .heads = 2, .before = 2, .after = 5});
    check_near({.lengths = {127, 128, 129}, .dropout = 0.1});
    check_near({.lengths = {16, 300, 1, 40}, .head_dim = 32, .dropout = 0.1, .after = 1});
    check_near({.lengths = {1, 31, 33, 16}, .heads = 3, .head_dim = 32});
    check_near({.lengths = {70}, .heads = 3, .dropout = 0.7, .before = 1});
}

TEST_CASE("attention on a device is as near to its definition as the plain loop, at long lengths") {
    if (std::getenv("CLOZE_TEST_LONG") == nullptr || !path_or_skip()) return;
    check_near({.lengths = {512, 130, 2048, 7}, .dropout = 0.1, .after = 9});
    check_near({.lengths = {384, 2048, 512}, .heads = 2, .head_dim = 32, .visible = Visible::past});
    check_near({.lengths = {2100}, .visible = Visible::strict_future, .dropout = 0.1, .before = 3});
}

TEST_CASE("attention on a device sees what it should") {
    if (!path_or_skip()) return;
    for (const Visible visible : kEveryVisible) {
        check_near({.lengths = {1, 130, 64, 2, 200}, .visible = visible, .dropout = 0.1});
        check_near({.lengths = {70, 1, 129}, .head_dim = 32, .visible = visible, .after = 2});
    }
}

TEST_CASE("attention on a device takes many short sequences and unused ones between") {
    if (!path_or_skip()) return;
    Case c{.lengths = {}, .head_dim = 32, .dropout = 0.1, .after = 1};
    for (std::int32_t i = 0; i < 70; ++i) c.lengths.push_back(i % 5 == 3 ? 0 : i % 4 + 1);
    check_near(c);
}

TEST_CASE("attention on a device has the same bits under every schedule") {
    if (!path_or_skip()) return;
    for (const Visible visible : {Visible::all, Visible::past, Visible::strict_future}) {
        const Case c{.lengths = {150, 3, 65, 0},
                     .heads = 1,
                     .head_dim = visible == Visible::past ? 32 : 64,
                     .visible = visible,
                     .dropout = 0.1,
                     .after = 3};
        const Array qkv = rows_of(c, 3 * c.hidden(), 1, 2), dy = rows_of(c, c.hidden(), 2, 1);
        const Forward first = run_forward<DeviceMemory>(c, qkv, DType::bf16);
        const Array dqkv = run_backward<DeviceMemory>(c, qkv, dy, first, DType::bf16);
        for_schedules(schedules(), [&] {
            CHECK(run_forward<DeviceMemory>(c, qkv, DType::bf16).same_bits(first));
            CHECK(run_backward<DeviceMemory>(c, qkv, dy, first, DType::bf16).same_bits(dqkv));
        });
    }
}

TEST_CASE("attention on a device gives a sequence the same bits wherever it is packed") {
    if (!path_or_skip()) return;
    const Case alone{.lengths = {150}, .after = 0}, packed{.lengths = {9, 150, 200}, .before = 1, .after = 2};
    const std::int64_t first = 10;
    const Array qkv = rows_of(alone, 192, 1, 2), dy = rows_of(alone, 64, 2, 1);
    Array both = rows_of(packed, 192, 3, 300), both_dy = rows_of(packed, 64, 4, 1);
    for (std::int64_t i = 0; i < qkv.count(); ++i) both.set(first * 192 + i, qkv[i]);
    for (std::int64_t i = 0; i < dy.count(); ++i) both_dy.set(first * 64 + i, dy[i]);
    const Forward expected = run_forward<DeviceMemory>(alone, qkv, DType::bf16),
                  got = run_forward<DeviceMemory>(packed, both, DType::bf16);
    const Array dqkv = run_backward<DeviceMemory>(alone, qkv, dy, expected, DType::bf16),
                both_dqkv = run_backward<DeviceMemory>(packed, both, both_dy, got, DType::bf16);
    bool same = true;
    for (std::int64_t i = 0; i < expected.y.count(); ++i) same = same && got.y[first * 64 + i] == expected.y[i];
    for (std::int64_t i = 0; i < dqkv.count(); ++i) same = same && both_dqkv[first * 192 + i] == dqkv[i];
    CHECK(same);
}

TEST_CASE("attention on a device drops what the mapping names, forward and backward, at its keep rate") {
    if (!path_or_skip()) return;
    // With queries of 0 all keys are equally likely. With values that are the identity over 64 keys, y shows what is
    // kept of these; with such dy over 64 queries, dv shows it too.
    const Case c{.lengths = {3, 130}, .heads = 2, .dropout = 0.1};
    const Array zero = Array(DType::bf16, c.tokens(), 3 * c.hidden()).fill(0);
    const DropoutRate rate = attention_dropout_rate(c.dropout);
    const DropoutKey key{kAttentionState.dropout_key, kAttentionLayer, DropoutSite::attention_probabilities};
    const auto is_kept = [&](std::uint32_t head, std::uint32_t i, std::uint32_t j) {
        const PhiloxBits bits =
            attention_dropout_bits(key, (std::uint64_t{1} << 33) + 7, head, i / 16, j / 64, i % 8, j % 8);
        return attention_dropout_value(bits, i % 16 / 8, j % 64 / 8) >= rate.threshold;
    };
    std::int64_t kept = 0, wrong = 0;
    for (const std::int64_t first : {0, 64}) {
        Array qkv = zero, dy = Array(DType::bf16, c.tokens(), c.hidden()).fill(0);
        for (std::int64_t n = 0; n < 2 * 64; ++n) {
            qkv.set(3 + first + n % 64, 2 * c.hidden() + n, 1);
            dy.set(3 + first + n % 64, n, 1);
        }
        const Forward forward = run_forward<DeviceMemory>(c, qkv, DType::bf16);
        const Array dqkv = run_backward<DeviceMemory>(c, qkv, dy, forward, DType::bf16);
        for (std::int64_t n = 0; n < 2 * 64; ++n) {
            const auto head = static_cast<std::uint32_t>(n / 64);
            for (std::int64_t other = 0; other < 130; ++other) {
                const auto inner = static_cast<std::uint32_t>(first + n % 64),
                           outer = static_cast<std::uint32_t>(other);
                const bool by_key = forward.y.get(3 + other, n) != 0,
                           by_query = dqkv.get(3 + other, 2 * c.hidden() + n) != 0;
                wrong += by_key != is_kept(head, outer, inner);
                wrong += by_query != is_kept(head, inner, outer);
                kept += by_key;
            }
        }
    }
    CHECK(wrong == 0);
    const double total = 2 * 128 * 130, expected = 1 / rate.keep_scale();
    CHECK(std::abs(static_cast<double>(kept) - expected * total) < 4 * std::sqrt(total * expected * (1 - expected)));
}

TEST_CASE("attention on a device survives scores far outside the range of exp") {
    if (!path_or_skip()) return;
    const Case c{.lengths = {70}};
    const Array qkv = rows_of(c, 3 * c.hidden(), 1, 300), dy = rows_of(c, c.hidden(), 2, 1);
    const Forward got = run_forward<DeviceMemory>(c, qkv, DType::bf16),
                  exact = run_forward<HostMemory>(c, qkv, DType::f64);
    CHECK(distance(got.y, exact.y) <= 0x1p-7);  // a probability of 1 may be 1 - 2^-8: its exponent is rounded at 1e5
    CHECK(distance(comparable(got.log_sum_exp), comparable(exact.log_sum_exp)) <= 0x1p-20);
    const Array dqkv = run_backward<DeviceMemory>(c, qkv, dy, got, DType::bf16);
    bool finite = true;
    for (std::int64_t i = 0; i < dqkv.count(); ++i) finite = finite && std::isfinite(dqkv[i]);
    CHECK(finite);
}

TEST_CASE("attention on a device follows scores that grow from key to key") {
    if (!path_or_skip()) return;
    // Keys of 64 grow or shrink by steps, so that rows leave what they summed behind, some of them and not others.
    for (const bool grow : {true, false}) {
        const Case c{.lengths = {5, 330}, .heads = 1, .dropout = 0.1};
        Array qkv = rows_of(c, 3 * c.hidden(), 1, 2);
        for (std::int64_t row = 0; row < 330; ++row) {
            for (std::int64_t i = 0; i < 64; ++i) {
                const double step = static_cast<double>(grow ? row / 64 : 5 - row / 64);
                qkv.set(5 + row, 64 + i, qkv.get(5 + row, 64 + i) * (1 + 6 * step));
            }
        }
        INFO(name_of(c) << ", growing " << grow);
        const Forward got = run_forward<DeviceMemory>(c, qkv, DType::bf16),
                      plain = run_forward<HostMemory>(c, qkv, DType::bf16),
                      exact = run_forward<HostMemory>(c, qkv, DType::f64);
        check_as_near("y", got.y, plain.y, exact.y);
        check_log_sum_exp(got.log_sum_exp, plain.log_sum_exp, exact.log_sum_exp);
    }
}

TEST_CASE("attention on a device keeps NaN where it arises") {
    if (!path_or_skip()) return;
    const Case c{.lengths = {5, 6}, .head_dim = 32};
    Array qkv = rows_of(c, 3 * c.hidden(), 1, 1);
    qkv.set(2, 3, NAN);  // a query of the first sequence
    const Forward got = run_forward<DeviceMemory>(c, qkv, DType::bf16);
    for (std::int64_t row = 0; row < c.tokens(); ++row) CHECK(std::isnan(got.y.get(row, 0)) == (row == 2));
    qkv.set(7, 2 * c.hidden() + 1, NAN);  // a value of the second
    const Forward both = run_forward<DeviceMemory>(c, qkv, DType::bf16);
    for (std::int64_t row = 0; row < c.tokens(); ++row) {
        CHECK(std::isnan(both.y.get(row, 1)) == (row == 2 || (row >= 5 && row < 11)));
    }
}

TEST_CASE("attention on a device of no tokens or no sequences writes zeros") {
    if (!path_or_skip()) return;
    check_near({.lengths = {}, .heads = 2, .dropout = 0.1, .after = 3});
    check_near({.lengths = {0, 0}, .heads = 2, .dropout = 0.1, .before = 1, .after = 1});
    check_near({.lengths = {}, .heads = 2});
}

TEST_CASE("attention on a device refuses what its kernels cannot take, before any launch") {
    if (!path_or_skip()) return;
    const auto forward_message = [](DType dtype, std::int64_t heads, std::int64_t head_dim, std::int64_t skipped) {
        const std::int64_t hidden = heads * head_dim;
        const DeviceArray qkv(dtype, 5, 3 * hidden), y(dtype, 4, hidden),
            log_sum_exp(statistics_dtype(dtype), heads, 4), offset(Case{.lengths = {4}}.offset());
        Tensor shifted = qkv.tensor().row_range(0, 4);
        shifted.address = static_cast<char*>(shifted.address) + skipped;
        return error_of([&] {
            attention_forward({.y = y.tensor(),
                               .log_sum_exp = log_sum_exp.tensor(),
                               .qkv = shifted,
                               .offset = offset.tensor(),
                               .heads = heads,
                               .visible = Visible::all},
                              {});
        });
    };
    CHECK(forward_message(DType::f32, 1, 64, 0) ==
          "usage: attention_forward: y is f32 [4, 64] on the device; devices compute attention in bf16");
    CHECK(forward_message(DType::f64, 1, 64, 0).find("devices compute attention in bf16") != std::string::npos);
    CHECK(forward_message(DType::bf16, 2, 48, 0) ==
          "usage: attention_forward: 2 heads of y, which is bf16 [4, 96] on the device, have 48 columns each; devices "
          "have heads of 32 "
          "and 64");
    CHECK(forward_message(DType::bf16, 1, 32, 8) ==
          "usage: attention_forward: qkv starts at an address that is not a multiple of 16; devices need that");

    const auto backward_message = [](std::int64_t scratch_skipped, std::int64_t scratch_missing) {
        const DeviceArray qkv(DType::bf16, 4, 96), y(DType::bf16, 4, 32), log_sum_exp(DType::f32, 1, 4),
            offset(Case{.lengths = {4}}.offset()), dqkv(DType::bf16, 4, 96), dy(DType::bf16, 4, 32),
            scratch(DType::f32, attention_backward_scratch(4, 1, 32) + 1);
        Tensor part =
            scratch.tensor().column_range(scratch_skipped, attention_backward_scratch(4, 1, 32) - scratch_missing);
        return error_of([&] {
            attention_backward({.dqkv = dqkv.tensor(),
                                .scratch = part,
                                .dy = dy.tensor(),
                                .y = y.tensor(),
                                .log_sum_exp = log_sum_exp.tensor(),
                                .qkv = qkv.tensor(),
                                .offset = offset.tensor(),
                                .heads = 1,
                                .visible = Visible::all},
                               {});
        });
    };
    CHECK(backward_message(0, 1) ==
          "usage: attention_backward: scratch must be f32 [1, 132] without gaps between rows, but it is f32 [1, 131] "
          "on the "
          "device");
    CHECK(backward_message(1, 0) ==
          "usage: attention_backward: scratch starts at an address that is not a multiple of 16; devices need that");
}
