#include "kernels/cross_entropy.h"

#include <limits>

#include "tests/kernels/device/device_testing.h"

using namespace cloze;
using namespace cloze::test;

namespace {

struct Case {
    DType dtype;
    std::int64_t capacity, classes, width;
    std::int32_t used;
    bool gradient = true;
    double scale = 0.25;
};

/// Unused rows and padding columns hold NaN, which must not matter.
Array logits_of(const Case& c) {
    Array logits = random_array(c.dtype, c.capacity, c.width, 1, -4, 4);
    for (std::int64_t r = 0; r < c.capacity; ++r) {
        for (std::int64_t col = r < c.used ? c.classes : 0; col < c.width; ++col) logits.set(r, col, std::nan(""));
    }
    return logits;
}

Array labels_of(const Case& c) {
    return random_ids(c.capacity, static_cast<std::int32_t>(c.classes), 2);
}

struct Result {
    Array loss, correct, logits;
    bool same_bits(const Result& other) const {
        return loss.same_bits(other.loss) && correct.same_bits(other.correct) && logits.same_bits(other.logits);
    }
};

Result run_on_host(const Case& c, const Array& logits, const Array& label, DType dtype) {
    Result out{Array(statistics_dtype(dtype), c.capacity), Array(DType::i32, c.capacity), logits.as(dtype)};
    cross_entropy({out.loss.tensor(), out.correct.tensor(), out.logits.tensor(), label.tensor(), &c.used, &c.scale,
                   c.classes, c.gradient},
                  {});
    return out;
}

Result run_on_device(const Case& c, const Array& host_logits, const Array& host_label) {
    const DeviceArray logits(host_logits), label(host_label), loss(DType::f32, c.capacity),
        correct(DType::i32, c.capacity);
    const DeviceVector<std::int32_t> used(std::vector<std::int32_t>{c.used});
    const DeviceVector<double> scale(std::vector<double>{c.scale});
    cross_entropy({loss.tensor(), correct.tensor(), logits.tensor(), label.tensor(), used.data(),
                   c.gradient ? scale.data() : nullptr, c.classes, c.gradient},
                  {});
    return {loss.fetch(), correct.fetch(), logits.fetch()};
}

void check_case(const Case& c) {
    INFO(name_of(c.dtype) << " " << c.used << " of " << c.capacity << " x " << c.classes << " of " << c.width);
    const Array logits = logits_of(c), label = labels_of(c);
    const Result got = run_on_device(c, logits, label), plain = run_on_host(c, logits, label, c.dtype),
                 exact = run_on_host(c, logits, label, DType::f64);
    check_as_near("loss", got.loss, plain.loss, exact.loss);
    CHECK(got.correct.same_bits(exact.correct));
    if (c.gradient) {
        check_as_near("gradient", got.logits, plain.logits, exact.logits);
    } else {
        CHECK(got.logits.same_bits(logits));
    }
}

}  // namespace

TEST_CASE("cross_entropy on a device is as near to its definition as the plain loop, at every shape") {
    if (!device_or_skip()) return;
    for (const DType dtype : {DType::bf16, DType::f32}) {
        check_case({dtype, 3, 1, 1, 2});
        check_case({dtype, 3, 2, 2, 3});
        check_case({dtype, 2, 2, 8, 2});
        check_case({dtype, 4, 31, 37, 3});
        check_case({dtype, 2, 4095, 4095, 1});
        check_case({dtype, 2, 4096, 4104, 2});
        check_case({dtype, 3, 4097, 4104, 2, false});
        check_case({dtype, 2, 30522, 30528, 1});
        check_case({dtype, 1, 30522, 30522, 1});
    }
    check_case({DType::f32, 1, 60001, 60008, 1});   // read twice: more than any shared memory holds
    check_case({DType::bf16, 1, 40001, 40008, 1});  // more than is copied at once
    check_case({DType::bf16, 1, 50001, 50008, 1});  // read twice
}

TEST_CASE("cross_entropy on a device counts the first of equal maxima, and keeps what is not finite") {
    if (!device_or_skip()) return;
    const Case c{DType::f32, 5, 20, 24, 5};
    Array logits(DType::f32, 5, 24), label(DType::i32, 5);
    logits.fill(-1);
    const std::int64_t labels[] = {3, 9, 9, 2, 4};
    for (std::int64_t r = 0; r < 5; ++r) {
        label.set(r, static_cast<double>(labels[r]));
        for (std::int64_t col = 20; col < 24; ++col) logits.set(r, col, 1e9);
    }
    for (const std::int64_t col : {3, 9}) logits.set(0, col, 5), logits.set(1, col, 5);
    logits.set(2, 9, 1e30);
    logits.set(3, 7, std::nan(""));
    logits.set(4, 4, std::nan(""));
    const Result got = run_on_device(c, logits, label), exact = run_on_host(c, logits, label, DType::f64);
    CHECK(got.correct[0] == 1);
    CHECK(got.correct[1] == 0);
    CHECK(got.correct[2] == 1);
    CHECK(got.correct[4] == 0);
    CHECK(got.correct.same_bits(exact.correct));
    CHECK(got.loss[0] == Approx(exact.loss[0]));
    CHECK(got.loss[2] == 0);
    CHECK(std::isnan(got.loss[3]));
    CHECK(std::isnan(got.loss[4]));
    for (std::int64_t r = 0; r < 5; ++r) {
        for (std::int64_t col = 20; col < 24; ++col) CHECK(got.logits.get(r, col) == 0);
    }
}

TEST_CASE("cross_entropy on a device finds an equal maximum before the label in any thread's columns") {
    if (!device_or_skip()) return;
    // In one vector, in neighbours, far apart, in one thread's vectors, and behind the last whole vector.
    const std::pair<std::int64_t, std::int64_t> pairs[] = {{2, 5},       {7, 8},       {11, 5000},  {3847, 7688},
                                                           {8, 8 + 480}, {8999, 9001}, {9000, 9002}};
    for (const std::int64_t width : {9008, 9003}) {
        const Case c{DType::bf16, 14, 9003, width, 14};
        Array logits = logits_of(c), label(DType::i32, c.capacity);
        for (std::int64_t r = 0; r < c.capacity; ++r) {
            const auto [before, behind] = pairs[r / 2];
            logits.set(r, before, 5), logits.set(r, behind, 5);
            label.set(r, static_cast<double>(r % 2 == 0 ? before : behind));
        }
        const Result got = run_on_device(c, logits, label);
        for (std::int64_t r = 0; r < c.capacity; ++r) {
            INFO("row " << r << ", width " << width);
            CHECK(got.correct[r] == (r % 2 == 0 ? 1 : 0));
        }
    }
}

TEST_CASE("cross_entropy on a device gives classes of minus infinity no share, whole threads of them too") {
    if (!device_or_skip()) return;
    for (const DType dtype : {DType::bf16, DType::f32}) {
        const Case c{dtype, 2, 8203, 8208, 2};
        Array logits = logits_of(c);
        for (std::int64_t col = 0; col < c.classes; ++col) {
            if (col / 8 % 480 < 300 || col >= 8201) logits.set(0, col, -std::numeric_limits<double>::infinity());
        }
        Array label(DType::i32, 2);
        label.fill(3000);
        const Result got = run_on_device(c, logits, label), plain = run_on_host(c, logits, label, dtype),
                     exact = run_on_host(c, logits, label, DType::f64);
        check_as_near("loss", got.loss, plain.loss, exact.loss);
        check_as_near("gradient", got.logits, plain.logits, exact.logits);
        CHECK(got.logits.get(0, 0) == 0);
    }
}

TEST_CASE("cross_entropy on a device gives the same bits wherever the logits start") {
    if (!device_or_skip()) return;
    const Case c{DType::bf16, 2, 1021, 1024, 2};
    const Array logits = logits_of(c), label = labels_of(c);
    const Result expected = run_on_device(c, logits, label);
    Array shifted(DType::bf16, 1, logits.count() + 1);
    for (std::int64_t i = 0; i < logits.count(); ++i) shifted.set(i + 1, logits[i]);
    const DeviceArray buffer(shifted), labels(label), loss(DType::f32, c.capacity), correct(DType::i32, c.capacity);
    const DeviceVector<std::int32_t> used(std::vector<std::int32_t>{c.used});
    const DeviceVector<double> scale(std::vector<double>{c.scale});
    const Tensor behind_one = buffer.tensor().column_range(1, logits.count());
    const Tensor view{behind_one.address, c.capacity, c.width, c.width, DType::bf16, Place::device};
    cross_entropy({loss.tensor(), correct.tensor(), view, labels.tensor(), used.data(), scale.data(), c.classes, true},
                  {});
    CHECK(loss.fetch().same_bits(expected.loss));
    CHECK(correct.fetch().same_bits(expected.correct));
    const Array gradient = buffer.fetch();
    for (std::int64_t i = 0; i < logits.count(); ++i) REQUIRE(gradient[i + 1] == expected.logits[i]);
}

TEST_CASE("cross_entropy on a device has the same bits under every schedule") {
    if (!device_or_skip()) return;
    const Case c{DType::bf16, 3, 1021, 1024, 2};
    const Array logits = logits_of(c), label = labels_of(c);
    const Result first = run_on_device(c, logits, label);
    for_schedules(schedules(), [&] { CHECK(run_on_device(c, logits, label).same_bits(first)); });
}

TEST_CASE("cross_entropy on a device accepts no rows and refuses f64") {
    if (!device_or_skip()) return;
    const Case none{DType::f32, 0, 5, 8, 0};
    CHECK(run_on_device(none, logits_of(none), labels_of(none)).loss.count() == 0);
    const DeviceArray logits(DType::f64, 2, 8), label(DType::i32, 2), loss(DType::f64, 2), correct(DType::i32, 2);
    const DeviceVector<std::int32_t> used(std::vector<std::int32_t>{2});
    CHECK(error_of([&] {
              cross_entropy(
                  {loss.tensor(), correct.tensor(), logits.tensor(), label.tensor(), used.data(), nullptr, 5, false},
                  {});
          }) == "usage: cross_entropy: logits is f64 [2, 8] on the device; devices compute in f32 and bf16");
}
