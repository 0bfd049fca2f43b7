// Casts, constants and sums of buffers on a device: the same bits as the plain loop.
#include "kernels/cast.h"

#include "tests/kernels/device/device_testing.h"

using namespace cloze;
using namespace cloze::test;

namespace {

/// [rows, cols] random elements, `gap` of nothing behind each row.
Array with_gaps(DType dtype, std::int64_t rows, std::int64_t cols, std::int64_t gap, std::uint64_t seed) {
    Array array(dtype, rows, cols, cols + gap);
    const Array values = random_array(dtype, rows, cols, seed, -100, 100);
    for (std::int64_t i = 0; i < array.count(); ++i) array.set(i, values[i]);
    return array;
}

struct Case {
    Array x, y;  // x is cast to the type of y; term is added to y
    Array term;
};

struct Result {
    Array cast, filled, added;
    bool same_bits(const Result& other) const {
        return cast.same_bits(other.cast) && filled.same_bits(other.filled) && added.same_bits(other.added);
    }
};

Case case_of(DType from, DType to, std::int64_t rows, std::int64_t cols, std::int64_t x_gap, std::int64_t y_gap) {
    return {with_gaps(from, rows, cols, x_gap, 1), with_gaps(to, rows, cols, y_gap, 2),
            with_gaps(to, rows, cols, 3 * x_gap, 3)};
}

Result run_on_host(const Case& c) {
    Result out{c.y, c.y, c.y};
    cast({.y = out.cast.tensor(), .x = c.x.tensor()}, {});
    fill({.y = out.filled.tensor(), .value = 0.1}, {});
    add({.y = out.added.tensor(), .x = c.term.tensor()}, {});
    return out;
}

Result run_on_device(const Case& c) {
    const DeviceArray x(c.x), term(c.term), converted(c.y), filled(c.y), added(c.y);
    cast({.y = converted.tensor(), .x = x.tensor()}, {});
    fill({.y = filled.tensor(), .value = 0.1}, {});
    add({.y = added.tensor(), .x = term.tensor()}, {});
    return {converted.fetch(), filled.fetch(), added.fetch()};
}

}  // namespace

TEST_CASE("cast, fill and add on a device give the same bits as the plain loop, at every shape") {
    if (!device_or_skip()) return;
    for (const DType from : {DType::bf16, DType::f32}) {
        for (const DType to : {DType::bf16, DType::f32}) {
            for (const auto& [rows, cols] : {std::pair{0, 8}, {1, 8}, {1, 2040}, {1, 2056}, {7, 248}, {31, 72}}) {
                for (const auto& [x_gap, y_gap] : {std::pair{0, 0}, {8, 0}, {0, 16}, {8, 16}}) {
                    INFO(name_of(from) << " to " << name_of(to) << " " << rows << " x " << cols << ", gaps " << x_gap
                                       << " and " << y_gap);
                    const Case c = case_of(from, to, rows, cols, x_gap, y_gap);
                    CHECK(run_on_device(c).same_bits(run_on_host(c)));
                }
            }
        }
    }
}

TEST_CASE("cast, fill and add on a device have the same bits under every schedule") {
    if (!device_or_skip()) return;
    const Case c = case_of(DType::f32, DType::bf16, 11, 264, 8, 16);
    const Result expected = run_on_host(c);
    for_schedules(schedules(), [&] { CHECK(run_on_device(c).same_bits(expected)); });
}

TEST_CASE("cast on a device rounds ties to even and keeps what is not finite") {
    if (!device_or_skip()) return;
    Array x(DType::f32, 8);
    const double values[] = {1 + 0x1p-8, 1 + 3 * 0x1p-8, -(1 + 0x1p-8), INFINITY,
                             -INFINITY,  3.4e38,         -0.0,          std::nan("")};
    for (std::int64_t i = 0; i < 8; ++i) x.set(i, values[i]);
    const DeviceArray from(x), to(DType::bf16, 8);
    cast({.y = to.tensor(), .x = from.tensor()}, {});
    const Array y = to.fetch();
    const double expected[] = {1, 1 + 0x1p-6, -1, INFINITY, -INFINITY, INFINITY, 0};
    for (std::int64_t i = 0; i < 7; ++i) CHECK(y[i] == expected[i]);
    CHECK(std::signbit(y[6]));
    CHECK(std::isnan(y[7]));
}

TEST_CASE("cast, fill and add on a device refuse what their kernels cannot move") {
    if (!device_or_skip()) return;
    const auto message = [](DType dtype, std::int64_t cols, std::int64_t gap) {
        const DeviceArray x(with_gaps(dtype, 2, cols, gap, 1)), y(dtype, 2, cols);
        const std::string text = error_of([&] { cast({.y = y.tensor(), .x = x.tensor()}, {}); });
        CHECK(error_of([&] { add({.y = y.tensor(), .x = x.tensor()}, {}); }).empty() == text.empty());
        CHECK(error_of([&] { fill({.y = x.tensor(), .value = 1}, {}); }).empty() == text.empty());
        return text;
    };
    CHECK(message(DType::f32, 8, 8) == "");
    CHECK(message(DType::f32, 12, 0).find("usage: cast: y is f32 [2, 12]") == 0);
    CHECK(message(DType::f32, 8, 4).find("columns and row stride in multiples of 8") != std::string::npos);
    CHECK(message(DType::f64, 8, 0).find("devices compute in f32 and bf16") != std::string::npos);
}
