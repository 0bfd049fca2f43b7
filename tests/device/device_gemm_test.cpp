// Matrix products on a device against the host's, in every orientation the encoder uses, and plans that are kept.
// Runs on a GPU and, with the host's products standing in, on the emulator.
#include "engine/device/device.h"
#include "tests/kernels/device/device_testing.h"

using namespace cloze;
using namespace cloze::test;

namespace {

struct Case {
    std::int64_t m, n, k;
    bool transpose_a, transpose_b, accumulate, bias;
    DType in, out;
};

Array random_matrix(DType dtype, std::int64_t rows, std::int64_t cols, std::uint64_t seed) {
    Array array(dtype, rows, cols);
    RandomStream stream({.seed = seed, .purpose = RandomPurpose::initialization});
    for (std::int64_t r = 0; r < rows; ++r) {
        for (std::int64_t c = 0; c < cols; ++c) array.set(r, c, 2 * static_cast<double>(stream.uniform()) - 1);
    }
    return array;
}

/// Largest difference between device and host, in units of what k products of numbers up to 1 may round to.
double difference(Device& device, const Case& c) {
    const Array a = c.transpose_a ? random_matrix(c.in, c.k, c.m, 1) : random_matrix(c.in, c.m, c.k, 1);
    const Array b = c.transpose_b ? random_matrix(c.in, c.n, c.k, 2) : random_matrix(c.in, c.k, c.n, 2);
    const Array bias = c.bias ? random_matrix(c.in, 1, c.n, 3) : Array();
    const Array d = random_matrix(c.out, c.m, c.n, 4);
    const DeviceArray da(a), db(b), dd(d), dbias(bias);
    const auto product = [&](const Tensor& to, const Tensor& x, const Tensor& y, const Tensor& added) {
        return Gemm{.d = to,
                    .a = x,
                    .b = y,
                    .transpose_a = c.transpose_a,
                    .transpose_b = c.transpose_b,
                    .accumulate = c.accumulate,
                    .bias = added};
    };
    gemm(product(d.tensor(), a.tensor(), b.tensor(), bias.tensor()), {});
    gemm(product(dd.tensor(), da.tensor(), db.tensor(), dbias.tensor()), device.compute());
    wait(device.compute().stream);
    const double unit = std::sqrt(static_cast<double>(c.k)) * (c.out == DType::bf16 ? 0x1p-8 : 0x1p-22);
    return distance(dd.fetch(), d) / unit;
}

}  // namespace

TEST_CASE("products on a device equal the host's in every orientation") {
    if (!device_or_skip()) return;
    Device device(0);
    for (const bool accumulate : {false, true}) {
        for (const bool transpose_a : {false, true}) {
            for (const bool transpose_b : {false, true}) {
                for (const DType out : {DType::f32, DType::bf16}) {
                    const Case c{40, 64, 72, transpose_a, transpose_b, accumulate, false, DType::bf16, out};
                    INFO("accumulate " << accumulate << ", transposed " << transpose_a << transpose_b << ", "
                                       << name_of(out));
                    CHECK(difference(device, c) <= 1);
                }
            }
        }
    }
    CHECK(difference(device, {33, 8, 128, false, true, false, true, DType::bf16, DType::bf16}) <= 1);
    CHECK(difference(device, {200, 320, 64, false, true, false, true, DType::bf16, DType::bf16}) <= 1);
    CHECK(difference(device, {64, 8, 33, true, false, true, false, DType::bf16, DType::f32}) <= 1);
    CHECK(difference(device, {40, 64, 72, false, true, false, true, DType::f32, DType::f32}) <= 1);
}

TEST_CASE("tensors of another place than the product are refused") {
    if (!device_or_skip()) return;
    Device device(0);
    const Array a = random_matrix(DType::bf16, 8, 8, 1);
    const DeviceArray d(DType::bf16, 8, 8), on_device(a);
    CHECK(error_of([&] {
              gemm({.d = d.tensor(), .a = a.tensor(), .b = on_device.tensor()}, device.compute());
          }).find("all arguments must lie in one place") != std::string::npos);
    CHECK(error_of([&] {
              gemm({.d = d.tensor(), .a = on_device.tensor(), .b = on_device.tensor()}, {});
          }).find("was to be computed on the host") != std::string::npos);
}

TEST_CASE("kept plans give the same bits, and a line that is no plan is refused") {
    if (!device_or_skip()) return;
    Device first(0);
    const Array a = random_matrix(DType::bf16, 256, 512, 1), b = random_matrix(DType::bf16, 384, 512, 2);
    const DeviceArray da(a), db(b), one(DType::bf16, 256, 384), other(DType::bf16, 256, 384);
    const auto multiply = [&](Device& device, const DeviceArray& to) {
        gemm({.d = to.tensor(), .a = da.tensor(), .b = db.tensor(), .transpose_b = true}, device.compute());
        wait(device.compute().stream);
    };
    first.products().set_tuning(true);
    multiply(first, one);
    first.products().set_tuning(false);
    multiply(first, one);
    Device second(0);
    second.products().take_plans(first.products().plans());
    multiply(second, other);
    CHECK(second.products().plans() == first.products().plans());
    CHECK(distance(one.fetch(), other.fetch()) == 0);
    if (std::string(Device::kind()) == "cuda") {
        CHECK(first.products().plans().size() == 1);
        CHECK(error_of([&] { second.products().take_plans({"not a plan"}); }).find("is no plan") != std::string::npos);
    }
}
