#include "kernels/core/contract.h"
#include "tests/kernels/op_testing.h"

using namespace cloze;
using namespace cloze::test;

TEST_CASE("a contract refuses tensors in two places and names both") {
    const Array a(DType::f32, 2, 3), b(DType::f32, 2, 3);
    const Tensor here = a.tensor(), there = on_device(b.tensor()), absent;
    CHECK(common_place("op", {{"a", here}, {"none", absent}}) == Place::host);
    CHECK(common_place("op", {{"none", absent}, {"b", there}}) == Place::device);
    CHECK(error_of([&] {
              common_place("op", {{"a", here}, {"b", there}});
          }) == "usage: op: a is f32 [2, 3], but b is f32 [2, 3] on the device; all arguments must lie in one place");
    CHECK(error_of([&] { fail_without_device("op"); }).rfind("device: op: ", 0) == 0);
}

TEST_CASE("a contract refuses shared memory except where it is said") {
    const Array a(DType::f32, 4, 3), b(DType::f32, 4, 3);
    const Tensor whole = a.tensor(), part = whole.row_range(1, 2), other = b.tensor(), empty = whole.row_range(4, 0);
    CHECK(overlaps(whole, part));
    CHECK_FALSE(overlaps(whole, other));
    CHECK_FALSE(overlaps(whole, empty));
    CHECK_FALSE(overlaps(whole.row_range(0, 2), whole.row_range(2, 2)));
    CHECK(error_of([&] {
              require_apart("op", {"y", whole}, {{"z", other}, {"x", part}});
          }) == "usage: op: y shares memory with x; give it a buffer of its own");
    CHECK(error_of([&] { require_same_or_apart("op", {"y", whole}, {"x", whole}); }).empty());
    CHECK(error_of([&] { require_same_or_apart("op", {"y", whole}, {"x", other}); }).empty());
    CHECK(error_of([&] {
              require_same_or_apart("op", {"y", part}, {"x", whole});
          }) == "usage: op: y may be x or lie apart from it, but they overlap in part");
}

TEST_CASE("a guarded array notices writes around and between its rows") {
    Array array(DType::f32, 3, 4, 6);
    array.fill(1);
    CHECK(array.guards_hold());
    array.data<float>()[4] = 0;
    CHECK_FALSE(array.guards_hold());
    Array flat(DType::bf16, 5);
    flat.data<bf16>()[5] = bf16(1.0f);
    CHECK_FALSE(flat.guards_hold());
}
