#include "kernels/column_sum.h"

#include "tests/kernels/device/device_testing.h"

using namespace cloze;
using namespace cloze::test;

namespace {

/// [rows, cols] random elements, `gap` of nothing behind each row.
Array with_gaps(DType dtype, std::int64_t rows, std::int64_t cols, std::int64_t gap) {
    Array array(dtype, rows, cols, cols + gap);
    const Array values = random_array(dtype, rows, cols, 1);
    for (std::int64_t i = 0; i < array.count(); ++i) array.set(i, values[i]);
    return array;
}

Array sum_on_host(const Array& x, const Array& before) {
    Array sum = before, scratch(before.dtype(), column_sum_scratch(x.rows(), x.cols()));
    column_sum({sum.tensor(), scratch.tensor(), x.tensor(), true}, {});
    return sum;
}

Array sum_on_device(const Array& host_x, const Array& before, bool accumulate = true) {
    const DeviceArray x(host_x), sum(before), scratch(DType::f32, column_sum_scratch(host_x.rows(), host_x.cols()));
    column_sum({sum.tensor(), scratch.tensor(), x.tensor(), accumulate}, {});
    scratch.fetch();
    return sum.fetch();
}

}  // namespace

TEST_CASE("column_sum on a device is as near to its definition as the plain loop, at every shape") {
    if (!device_or_skip()) return;
    for (const DType dtype : {DType::bf16, DType::f32}) {
        for (const auto& [rows, cols] : {std::pair{1, 8}, {7, 248}, {63, 256}, {64, 264}, {65, 1024}, {2113, 40}}) {
            for (const std::int64_t gap : {0, 16}) {
                INFO(name_of(dtype) << " " << rows << " x " << cols << ", gaps of " << gap);
                const Array x = with_gaps(dtype, rows, cols, gap), before = random_array(DType::f32, 1, cols, 2);
                check_as_near("sum", sum_on_device(x, before), sum_on_host(x, before),
                              sum_on_host(x.as(DType::f64), before.as(DType::f64)));
            }
        }
    }
}

TEST_CASE("column_sum on a device has the same bits under every schedule") {
    if (!device_or_skip()) return;
    for (const DType dtype : {DType::bf16, DType::f32}) {  // sums of so few bf16 are mostly exact, in any order
        const Array x = with_gaps(dtype, 130, 264, 8), before = random_array(DType::f32, 1, 264, 2);
        const Array first = sum_on_device(x, before);
        for_schedules(schedules(), [&] { CHECK(sum_on_device(x, before).same_bits(first)); });
    }
}

TEST_CASE("column_sum on a device overwrites when told, with zeros where there are no rows") {
    if (!device_or_skip()) return;
    const Array nothing = sum_on_device(Array(DType::f32, 0, 16), Array(DType::f32, 16), false);
    for (std::int64_t i = 0; i < 16; ++i) CHECK(nothing[i] == 0);
    Array ones(DType::bf16, 67, 16);
    const Array sum = sum_on_device(ones.fill(1), Array(DType::f32, 16), false);
    for (std::int64_t i = 0; i < 16; ++i) CHECK(sum[i] == 67);
}

TEST_CASE("column_sum on a device refuses what its kernels cannot move") {
    if (!device_or_skip()) return;
    const auto message = [](std::int64_t cols, std::int64_t gap, std::int64_t first) {
        const DeviceArray x(with_gaps(DType::f32, 2, cols + first, gap)), sum(DType::f32, cols),
            scratch(DType::f32, column_sum_scratch(2, cols));
        return error_of([&] {
            column_sum({sum.tensor(), scratch.tensor(), x.tensor().column_range(first, cols), false}, {});
        });
    };
    CHECK(message(8, 8, 8) == "");
    CHECK(message(12, 0, 0).find("usage: column_sum: x is f32 [2, 12]") == 0);
    CHECK(message(8, 3, 0).find("columns and row stride in multiples of 8") != std::string::npos);
    CHECK(message(8, 6, 2).find("not a multiple of 16") != std::string::npos);
}
