// Casts, constants and sums of buffers, with and without gaps between rows.
#include "kernels/cast.h"

#include "tests/kernels/op_testing.h"

using namespace cloze;
using namespace cloze::test;

namespace {

struct Shape {
    std::int64_t rows, cols;
};

constexpr Shape kShapes[] = {{0, 5}, {5, 0}, {1, 1}, {3, 7}, {1, 16383}, {1, 16385}, {130, 257}};
constexpr DType kTypes[] = {DType::f64, DType::f32, DType::bf16};

Array strided(DType dtype, const Shape& shape, std::int64_t gap, std::uint64_t seed) {
    Array array(dtype, shape.rows, shape.cols, shape.cols + gap);
    const Array values = random_array(dtype, shape.rows, shape.cols, seed, -100, 100);
    for (std::int64_t i = 0; i < array.count(); ++i) array.set(i, values[i]);
    return array;
}

}  // namespace

TEST_CASE("cast rounds each element to the nearest of the other type") {
    for (const Shape& shape : kShapes) {
        for (const DType from : kTypes) {
            for (const DType to : kTypes) {
                for (const std::int64_t gap : {0, 3}) {
                    const Array x = strided(from, shape, gap, 1);
                    Array y(to, shape.rows, shape.cols, shape.cols + 2 * gap);
                    cast({.y = y.tensor(), .x = x.tensor()}, {});
                    REQUIRE(y.guards_hold());
                    Array expected(to, 1, 1);
                    bool equal = true;
                    for (std::int64_t i = 0; i < x.count(); ++i) {
                        expected.set(0, x[i]);
                        equal = equal && y[i] == expected[0];
                    }
                    REQUIRE(equal);
                }
            }
        }
    }
}

TEST_CASE("cast to bf16 rounds ties to even and keeps what is not finite") {
    Array x(DType::f32, 6), y(DType::bf16, 6);
    const double values[] = {1 + 0x1p-8, 1 + 3 * 0x1p-8, -(1 + 0x1p-8), INFINITY, -INFINITY, std::nan("")};
    for (std::int64_t i = 0; i < 6; ++i) x.set(i, values[i]);
    cast({.y = y.tensor(), .x = x.tensor()}, {});
    CHECK(y[0] == 1);
    CHECK(y[1] == 1 + 0x1p-6);
    CHECK(y[2] == -1);
    CHECK(y[3] == INFINITY);
    CHECK(y[4] == -INFINITY);
    CHECK(std::isnan(y[5]));
}

TEST_CASE("fill writes every element and nothing between the rows") {
    for (const Shape& shape : kShapes) {
        for (const DType dtype : kTypes) {
            Array y(dtype, shape.rows, shape.cols, shape.cols + 3);
            fill({.y = y.tensor(), .value = 0.5}, {});
            REQUIRE(y.guards_hold());
            bool equal = true;
            for (std::int64_t i = 0; i < y.count(); ++i) equal = equal && y[i] == 0.5;
            REQUIRE(equal);
        }
    }
}

TEST_CASE("add adds element by element and rounds once") {
    for (const Shape& shape : kShapes) {
        for (const DType dtype : kTypes) {
            for (const std::int64_t gap : {0, 3}) {
                Array y = strided(dtype, shape, gap, 1);
                const Array before = y, x = strided(dtype, shape, 2 * gap, 2);
                add({.y = y.tensor(), .x = x.tensor()}, {});
                REQUIRE(y.guards_hold());
                Array expected(dtype, 1, 1);
                bool equal = true;
                for (std::int64_t i = 0; i < y.count(); ++i) {
                    expected.set(0, before[i] + x[i]);
                    equal = equal && y[i] == expected[0];
                }
                REQUIRE(equal);
            }
        }
    }
}

TEST_CASE("cast, fill and add name what is wrong with their arguments") {
    const Array x(DType::f32, 3, 4), y(DType::bf16, 3, 5), ids(DType::i32, 3, 4);
    CHECK(error_of([&] { cast({.y = y.tensor(), .x = x.tensor()}, {}); }) ==
          "usage: cast: y must be bf16 [3, 4], but it is bf16 [3, 5]");
    CHECK(error_of([&] { cast({.y = x.tensor(), .x = ids.tensor()}, {}); }) ==
          "usage: cast: x is i32, but must be f64, f32 or bf16");
    CHECK(error_of([&] { cast({.y = x.tensor(), .x = x.tensor()}, {}); }) ==
          "usage: cast: y shares memory with x; give it a buffer of its own");
    CHECK(error_of([&] { fill({.y = ids.tensor(), .value = 1}, {}); }) ==
          "usage: fill: y is i32, but must be f64, f32 or bf16");
    CHECK(error_of([&] { add({.y = y.tensor(), .x = x.tensor()}, {}); }) ==
          "usage: add: x must be bf16 [3, 5], but it is f32 [3, 4]");
    const Array same(DType::f32, 3, 4);
    CHECK(error_of([&] {
              add({.y = on_device(x.tensor()), .x = same.tensor()}, {});
          }).find("all arguments must lie in one place") != std::string::npos);
}

TEST_CASE("a cast moves what it reads and what it writes") {
    CHECK(cast_cost(10, DType::f32, DType::bf16).bytes == 60);
}
