#include "kernels/rows.h"

#include "tests/kernels/device/device_testing.h"

using namespace cloze;
using namespace cloze::test;

namespace {

constexpr std::int64_t kRows = 29;

struct Case {
    DType dtype;
    std::int64_t capacity, cols;
    std::int32_t used;
    Array x, y, index;

    Case(DType type, std::int64_t rows_of_y, std::int64_t columns, std::int32_t count)
        : dtype(type),
          capacity(rows_of_y),
          cols(columns),
          used(count),
          x(random_array(type, kRows, columns, 1)),
          y(random_array(type, rows_of_y, columns, 2)),
          index(DType::i32, rows_of_y) {
        // Distinct rows in mixed order; behind `used` no rows at all, which must not be read as such.
        for (std::int64_t i = 0; i < capacity; ++i) {
            index.set(i, i < used ? static_cast<double>((i * 7 + 3) % kRows) : 1e9);
        }
    }
};

/// Gathered, scattered into nothing, scattered onto x.
struct Result {
    Array gathered, scattered, added;
    bool same_bits(const Result& other) const {
        return gathered.same_bits(other.gathered) && scattered.same_bits(other.scattered) &&
               added.same_bits(other.added);
    }
};

Result run_on_host(const Case& c) {
    Result out{Array(c.dtype, c.capacity, c.cols), Array(c.dtype, kRows, c.cols), c.x};
    rows_gather({out.gathered.tensor(), c.x.tensor(), c.index.tensor(), &c.used}, {});
    rows_scatter({out.scattered.tensor(), c.y.tensor(), c.index.tensor(), &c.used, false}, {});
    rows_scatter({out.added.tensor(), c.y.tensor(), c.index.tensor(), &c.used, true}, {});
    return out;
}

Result run_on_device(const Case& c) {
    const DeviceArray x(c.x), y(c.y), index(c.index), gathered(c.dtype, c.capacity, c.cols),
        scattered(c.dtype, kRows, c.cols), added(c.x);
    const DeviceVector<std::int32_t> used(std::vector<std::int32_t>{c.used});
    rows_gather({gathered.tensor(), x.tensor(), index.tensor(), used.data()}, {});
    rows_scatter({scattered.tensor(), y.tensor(), index.tensor(), used.data(), false}, {});
    rows_scatter({added.tensor(), y.tensor(), index.tensor(), used.data(), true}, {});
    return {gathered.fetch(), scattered.fetch(), added.fetch()};
}

}  // namespace

TEST_CASE("rows on a device move the same bits as the plain loop, at every shape") {
    if (!device_or_skip()) return;
    for (const DType dtype : {DType::bf16, DType::f32}) {
        for (const auto& [capacity, cols] : {std::pair{0, 8}, {1, 8}, {7, 248}, {8, 256}, {9, 264}, {23, 1032}}) {
            for (const std::int32_t used : {0, 1, capacity - 1, capacity}) {
                if (used < 0 || used > capacity) continue;
                INFO(name_of(dtype) << " " << used << " of " << capacity << " x " << cols);
                const Case c(dtype, capacity, cols, used);
                CHECK(run_on_device(c).same_bits(run_on_host(c)));
            }
        }
    }
}

TEST_CASE("rows on a device have the same bits under every schedule") {
    if (!device_or_skip()) return;
    const Case c(DType::bf16, 19, 264, 17);
    const Result expected = run_on_host(c);
    for_schedules(schedules(), [&] { CHECK(run_on_device(c).same_bits(expected)); });
}

TEST_CASE("rows on a device refuse what their kernels cannot move") {
    if (!device_or_skip()) return;
    const auto message = [](DType dtype, std::int64_t cols) {
        const DeviceArray x(dtype, 4, cols), y(dtype, 2, cols);
        const DeviceVector<std::int32_t> index(std::vector<std::int32_t>{3, 1}), used(std::vector<std::int32_t>{2});
        const Tensor indices{index.data(), 1, 2, 2, DType::i32, Place::device};
        const std::string gather = error_of([&] { rows_gather({y.tensor(), x.tensor(), indices, used.data()}, {}); });
        const std::string scatter = error_of([&] {
            rows_scatter({x.tensor(), y.tensor(), indices, used.data(), false}, {});
        });
        CHECK(gather.empty() == scatter.empty());
        return gather;
    };
    CHECK(message(DType::f32, 8) == "");
    CHECK(message(DType::f32, 12).find("usage: rows_gather: x is f32 [4, 12]") == 0);
    CHECK(message(DType::f64, 8).find("devices compute in f32 and bf16") != std::string::npos);
}
