#include "kernels/rows.h"

#include <algorithm>

#include "tests/kernels/op_testing.h"

using namespace cloze;
using namespace cloze::test;

namespace {

constexpr std::int64_t kRows = 150, kCapacity = 130;

// Distinct rows in mixed order; what lies behind `used` is a valid index that must not be read as one.
Array distinct_index(std::int64_t capacity, std::int64_t rows) {
    Array index(DType::i32, capacity);
    for (std::int64_t i = 0; i < capacity; ++i) index.set(i, static_cast<double>((i * 7 + 3) % rows));
    return index;
}

Array gathered(const Array& x, const Array& index, std::int32_t used) {
    Array y(x.dtype(), index.cols(), x.cols());
    rows_gather({.y = y.tensor(), .x = x.tensor(), .index = index.tensor(), .used = &used}, {});
    CHECK(y.guards_hold());
    return y;
}

Array scattered(Array x, const Array& y, const Array& index, std::int32_t used, bool accumulate) {
    rows_scatter({x.tensor(), y.tensor(), index.tensor(), &used, accumulate}, {});
    CHECK(x.guards_hold());
    return x;
}

}  // namespace

TEST_CASE("rows_gather copies the named rows and clears the rest") {
    for (const DType dtype : {DType::f64, DType::f32, DType::bf16}) {
        for (const std::int32_t used : {0, 1, 64, 127, 130}) {
            for (const std::int64_t cols : {1, 13, 128}) {
                const Array x = random_array(dtype, kRows, cols, 4), index = distinct_index(kCapacity, kRows);
                const Array y = gathered(x, index, used);
                bool right = true;
                for (std::int64_t i = 0; i < y.count(); ++i) {
                    const std::int64_t row = i / cols;
                    const double expected = row < used ? x.get(static_cast<std::int64_t>(index[row]), i % cols) : 0.0;
                    right = right && y[i] == expected;
                }
                CHECK(right);
            }
        }
    }
}

TEST_CASE("rows_scatter is the transpose of rows_gather") {
    // <gather(x), y> = <x, scatter(y)> for any x and y.
    const Array x = random_array(DType::f64, kRows, 13, 5), y = random_array(DType::f64, kCapacity, 13, 6);
    const Array index = distinct_index(kCapacity, kRows);
    for (const std::int32_t used : {0, 1, 64, 127, 130}) {
        const Array back = scattered(Array(DType::f64, kRows, 13), y, index, used, false);
        CHECK(dot(gathered(x, index, used), y) == Approx(dot(x, back)).epsilon(1e-12));
    }
}

TEST_CASE("rows_scatter adds to the named rows and leaves the others") {
    for (const DType dtype : {DType::f64, DType::f32, DType::bf16}) {
        const Array x = random_array(dtype, kRows, 9, 7), y = random_array(dtype, kCapacity, 9, 8);
        const Array index = distinct_index(kCapacity, kRows);
        const std::int32_t used = 90;
        const Array added = scattered(x, y, index, used, true);
        Array expected = x.as(DType::f64);
        for (std::int64_t i = 0; i < used; ++i) {
            const auto row = static_cast<std::int64_t>(index[i]);
            for (std::int64_t c = 0; c < 9; ++c) expected.set(row, c, expected.get(row, c) + y.get(i, c));
        }
        CHECK(distance(added, expected) <= rounding_of(dtype));
    }
}

TEST_CASE("rows ops have the same bits at any number of threads and accept nothing to do") {
    const Array x = random_array(DType::f32, kRows, 20, 9), y = random_array(DType::f32, kCapacity, 20, 10);
    const Array index = distinct_index(kCapacity, kRows);
    check_repeatable([&] {
        return std::vector<Array>{gathered(x, index, 100), scattered(x, y, index, 100, true),
                                  scattered(x, y, index, 100, false)};
    });
    const Array none(DType::f32, 0, 20), no_index(DType::i32, 0);
    CHECK(gathered(x, no_index, 0).count() == 0);
    CHECK(scattered(x, none, no_index, 0, true).same_bits(x));
}

TEST_CASE("rows ops refuse what their contract excludes") {
    const Array x(DType::f32, 8, 4), y(DType::f32, 3, 4), index(DType::i32, 3), wrong(DType::u64, 3);
    const std::int32_t used = 4;
    CHECK(error_of([&] {
              rows_gather({y.tensor(), x.tensor(), index.tensor(), &used}, {});
          }) == "usage: rows_gather: used is 4, but there are 3 indices");
    CHECK(error_of([&] {
              rows_gather({y.tensor(), x.tensor(), index.tensor(), nullptr}, {});
          }).find("rows_gather: `used` is missing") != std::string::npos);
    CHECK(error_of([&] {
              rows_gather({y.tensor(), x.tensor(), wrong.tensor(), &used}, {});
          }).find("index must be i32 [1, 3]") != std::string::npos);
    CHECK(error_of([&] {
              rows_scatter({x.tensor(), x.tensor().row_range(1, 3), index.tensor(), &used, true}, {});
          }).find("x shares memory with y") != std::string::npos);
    CHECK(error_of([&] {
              rows_gather({y.tensor(), on_device(x.tensor()), index.tensor(), &used}, {});
          }).find("one place") != std::string::npos);
}

TEST_CASE("rows costs count each byte once") {
    CHECK(rows_gather_cost(10, 4, DType::bf16).bytes == 2 * 40 * 2 + 40);
    CHECK(rows_scatter_cost(10, 100, 4, DType::f32).bytes == 110 * 16 + 40);
}
