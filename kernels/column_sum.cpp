#include "kernels/column_sum.h"

#include "kernels/core/contract.h"
#include "kernels/core/device_body.h"
#include "kernels/core/lanes.h"

namespace cloze {

namespace {

Place check(const ColumnSum& a) {
    constexpr const char* op = "column_sum";
    const DType statistics = statistics_dtype(a.x.dtype);
    require_tensor({op, "x", a.x, a.x.rows, a.x.cols, a.x.dtype, false, false});
    require_tensor({op, "sum", a.sum, 1, a.x.cols, statistics});
    require_tensor({op, "scratch", a.scratch, 1, column_sum_scratch(a.x.rows, a.x.cols), statistics});
    require_apart(op, {"sum", a.sum}, {{"x", a.x}, {"scratch", a.scratch}});
    require_apart(op, {"scratch", a.scratch}, {{"x", a.x}});
    const Place place = common_place(op, {{"x", a.x}, {"sum", a.sum}, {"scratch", a.scratch}});
    if (place == Place::device) require_vectors(op, {{"x", a.x}});
    return place;
}

template <typename T>
void run(const ColumnSum& a) {
    using A = Arithmetic<T>;
    const T* x = data_or_null<T>(a.x);
    column_sums(
        a.sum.data<A>(), data_or_null<A>(a.scratch), a.x.rows, a.x.cols, a.accumulate,
        [=, stride = a.x.stride](std::int64_t row, std::int64_t c) { return static_cast<A>(x[row * stride + c]); });
}

}  // namespace

void column_sum(const ColumnSum& arguments, [[maybe_unused]] Stream stream) {
    if (check(arguments) == Place::device) {
        if constexpr (kHasDevice) return device_code::column_sum(arguments, stream);
        fail_without_device("column_sum");
    }
    visit_float(arguments.x.dtype, [&]<typename T>() { run<T>(arguments); });
}

std::int64_t column_sum_scratch(std::int64_t rows, std::int64_t cols) {
    return chunk_partials(rows, cols);
}

Cost column_sum_cost(std::int64_t rows, std::int64_t cols, DType dtype) {
    return {rows * cols * size_of(dtype) + cols * size_of(statistics_dtype(dtype)), rows * cols};
}

}  // namespace cloze
