// Products of register blocks against a triple loop, and the aligned buffer they work in.
#include "kernels/core/host_matrix.h"

#include "tests/kernels/op_testing.h"

using namespace cloze;
using namespace cloze::test;

namespace {

template <typename T>
void check_product(std::int64_t rows, std::int64_t cols, std::int64_t depth, bool transposed, bool accumulate) {
    const DType dtype = dtype_of<T>();
    const std::int64_t sum_stride = cols + host::kBlockCols<T>, right_stride = cols + 3;
    Array sums(dtype, rows, cols, sum_stride);
    const Array left = transposed ? random_array(dtype, depth, rows, 1) : random_array(dtype, rows, depth, 1);
    Array right(dtype, depth, cols, right_stride);
    const Array values = random_array(dtype, depth, cols, 2), before = random_array(dtype, rows, cols, 3);
    for (std::int64_t i = 0; i < right.count(); ++i) right.set(i, values[i]);
    if (accumulate)
        for (std::int64_t i = 0; i < sums.count(); ++i) sums.set(i, before[i]);
    const host::Left<T> operand =
        transposed ? host::Left<T>{left.tensor().data<T>(), 1, rows} : host::Left<T>{left.tensor().data<T>(), depth, 1};
    host::multiply(sums.data<T>(), sum_stride, operand, right.data<T>(), right_stride, rows, cols, depth, accumulate);
    REQUIRE(sums.guards_hold());
    for (std::int64_t r = 0; r < rows; ++r) {
        for (std::int64_t c = 0; c < cols; ++c) {
            double expected = accumulate ? before.get(r, c) : 0;
            for (std::int64_t p = 0; p < depth; ++p)
                expected += (transposed ? left.get(p, r) : left.get(r, p)) * right.get(p, c);
            REQUIRE(std::abs(sums.get(r, c) - expected) <= rounding_of(dtype) * 4 * static_cast<double>(depth + 1));
        }
    }
}

}  // namespace

TEST_CASE("a product of register blocks equals the triple loop") {
    for (const std::int64_t depth : {0, 1, 7, 64, 129}) {
        for (const bool transposed : {false, true}) {
            for (const bool accumulate : {false, true}) {
                check_product<float>(8, 48, depth, transposed, accumulate);
                check_product<double>(4, 24, depth, transposed, accumulate);
                check_product<float>(0, 16, depth, transposed, accumulate);
                check_product<double>(4, 0, depth, transposed, accumulate);
            }
        }
    }
}

TEST_CASE("the largest value of a row is found in every lane") {
    for (std::int64_t place = 0; place < 48; ++place) {
        std::vector<float> row(48, -3.0f);
        row[static_cast<std::size_t>(place)] = -2.0f;
        REQUIRE(host::row_maximum(row.data(), 48, -INFINITY) == -2.0f);
    }
    CHECK(host::row_maximum<double>(nullptr, 0, -5.0) == -5.0);
}

TEST_CASE("a scratch buffer is aligned to a cache line and grows") {
    host::Buffer<float> buffer;
    float* small = buffer.at_least(3);
    CHECK(reinterpret_cast<std::uintptr_t>(small) % 64 == 0);
    CHECK(buffer.at_least(2) == small);
    float* large = buffer.at_least(1000);
    CHECK(reinterpret_cast<std::uintptr_t>(large) % 64 == 0);
    large[999] = 1;
}
