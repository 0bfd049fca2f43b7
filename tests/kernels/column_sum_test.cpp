#include "kernels/column_sum.h"

#include "tests/kernels/op_testing.h"

using namespace cloze;
using namespace cloze::test;

namespace {

Array sum_of(const Array& x, bool accumulate = false, double before = 0) {
    const DType statistics = statistics_dtype(x.dtype());
    Array sum(statistics, x.cols()), scratch(statistics, column_sum_scratch(x.rows(), x.cols()));
    if (accumulate) sum.fill(before);
    column_sum({.sum = sum.tensor(), .scratch = scratch.tensor(), .x = x.tensor(), .accumulate = accumulate}, {});
    CHECK(sum.guards_hold());
    CHECK(scratch.guards_hold());
    return sum;
}

}  // namespace

TEST_CASE("column_sum equals the sum of the columns in every type") {
    for (const DType dtype : {DType::f64, DType::f32, DType::bf16}) {
        for (const auto& [rows, cols] : {std::pair{0, 5}, {1, 1}, {3, 7}, {64, 16}, {65, 257}, {131, 768}}) {
            const Array x = random_array(dtype, rows, cols, 1);
            Array expected(DType::f64, cols);
            expected.fill(0);
            for (std::int64_t i = 0; i < x.count(); ++i) expected.set(i % cols, expected[i % cols] + x[i]);
            INFO(name_of(dtype) << " " << rows << " x " << cols);
            CHECK(distance(sum_of(x), expected) < (dtype == DType::f64 ? 1e-14 : 5e-6));
            for (std::int64_t c = 0; c < cols; ++c) expected.set(c, expected[c] + 3);
            CHECK(distance(sum_of(x, true, 3), expected) < (dtype == DType::f64 ? 1e-14 : 5e-6));
        }
    }
}

TEST_CASE("column_sum reads a view with gaps between rows") {
    const Array wide = random_array(DType::f32, 70, 30, 2);
    Array narrow(DType::f32, 70, 11);
    for (std::int64_t r = 0; r < 70; ++r)
        for (std::int64_t c = 0; c < 11; ++c) narrow.set(r, c, wide.get(r, c + 9));
    Array sum(DType::f32, 11), scratch(DType::f32, column_sum_scratch(70, 11));
    column_sum({sum.tensor(), scratch.tensor(), wide.tensor().column_range(9, 11), false}, {});
    CHECK(sum.same_bits(sum_of(narrow)));
}

TEST_CASE("column_sum has the same bits at any number of threads") {
    const Array x = random_array(DType::f32, 300, 77, 3);
    check_repeatable([&] { return std::vector<Array>{sum_of(x)}; });
}

TEST_CASE("column_sum refuses what its contract excludes") {
    const Array x(DType::bf16, 4, 6), sum(DType::f32, 6), scratch(DType::f32, column_sum_scratch(4, 6));
    const Array half(DType::bf16, 6), small(DType::f32, 5);
    CHECK(error_of([&] {
              column_sum({half.tensor(), scratch.tensor(), x.tensor(), false}, {});
          }) == "usage: column_sum: sum must be f32 [1, 6] without gaps between rows, but it is bf16 [1, 6]");
    CHECK(error_of([&] {
              column_sum({sum.tensor(), small.tensor(), x.tensor(), false}, {});
          }).find("column_sum: scratch must be f32 [1, 6]") != std::string::npos);
    CHECK(error_of([&] {
              column_sum({sum.tensor(), sum.tensor(), x.tensor(), false}, {});
          }).find("sum shares memory with scratch") != std::string::npos);
    CHECK(error_of([&] {
              column_sum({sum.tensor(), scratch.tensor(), on_device(x.tensor()), false}, {});
          }).find("all arguments must lie in one place") != std::string::npos);
}

TEST_CASE("column_sum's cost counts each byte once") {
    CHECK(column_sum_cost(10, 8, DType::bf16).bytes == 10 * 8 * 2 + 8 * 4);
    CHECK(column_sum_cost(10, 8, DType::bf16).flops == 80);
}
