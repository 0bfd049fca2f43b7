// Arenas: what is measured is what is bound, and misuse is named.
#include "engine/device/arena.h"

#include <catch2/catch.hpp>

namespace cloze {
namespace {

using Catch::Contains;
using Catch::Equals;

struct Parts {
    Tensor weight, empty, index;
};

Parts lay_out(Arena& arena) {
    return {.weight = arena.tensor("weight", DType::f32, 3, 5),
            .empty = arena.tensor("empty", DType::f64, 0, 7),
            .index = arena.tensor("index", DType::i32, 1, 65)};
}

TEST_CASE("an arena measures shapes without addresses, then binds the same requests") {
    Arena arena("activations");
    const Parts measured = lay_out(arena);
    CHECK(measured.weight.address == nullptr);
    CHECK(measured.weight.rows == 3);
    CHECK(measured.weight.stride == 5);
    CHECK(arena.bytes() == 256 + 0 + 512);
    REQUIRE(arena.report().size() == 3);
    CHECK(arena.report()[2].name == "index");
    CHECK(arena.report()[2].bytes == 512);

    arena.bind();
    const Parts bound = lay_out(arena);
    CHECK(reinterpret_cast<std::uintptr_t>(bound.weight.address) % kArenaAlignment == 0);
    CHECK(static_cast<char*>(bound.index.address) == static_cast<char*>(bound.weight.address) + 256);
    for (int i = 0; i < 65; ++i) CHECK(bound.index.data<std::int32_t>()[i] == 0);
}

TEST_CASE("binding an arena again starts over and keeps the contents") {
    Arena arena("weights");
    lay_out(arena);
    arena.bind();
    const Parts first = lay_out(arena);
    first.weight.data<float>()[14] = 2.5f;
    arena.bind();
    const Parts second = lay_out(arena);
    CHECK(second.weight.address == first.weight.address);
    CHECK(second.weight.data<float>()[14] == 2.5f);
}

TEST_CASE("moving an arena keeps the addresses of its tensors") {
    Arena arena("weights");
    lay_out(arena);
    arena.bind();
    const Parts before = lay_out(arena);
    Arena moved = std::move(arena);
    moved.bind();
    CHECK(lay_out(moved).weight.address == before.weight.address);
}

TEST_CASE("an arena of nothing binds") {
    Arena arena("nothing");
    arena.bind();
    CHECK(arena.bytes() == 0);
}

TEST_CASE("an arena names the request that was not measured") {
    Arena arena("activations");
    lay_out(arena);
    arena.bind();
    CHECK_THROWS_WITH(arena.tensor("weight", DType::f32, 3, 6),
                      Equals("activations: asked for weight f32 [3, 6] where weight f32 [3, 5] was measured"));
    lay_out(arena);
    CHECK_THROWS_WITH(arena.tensor("more", DType::f32, 1, 1),
                      Equals("activations: more was not measured before the arena was bound"));
    Arena wrong("activations");
    CHECK_THROWS_WITH(wrong.tensor("weight", DType::f32, -1, 6), Contains("weight of [-1, 6] is not a possible size"));
}

TEST_CASE("too little memory is named with the largest tensor and the remedy") {
    Arena arena("activations", "lower --micro-batch-tokens");
    arena.tensor("small", DType::f32, 1, 1);
    arena.tensor("layer.0.logits", DType::f32, std::int64_t{1} << 30, std::int64_t{1} << 20);
    CHECK_THROWS_WITH(arena.bind(), Contains("activations (largest: layer.0.logits f32 [1073741824, 1048576], 4.00 PiB)"
                                             " needs 4.00 PiB, but this machine has ") &&
                                        Contains("; lower --micro-batch-tokens"));
    try {
        arena.bind();
    } catch (const Error& error) {
        CHECK(error.fault() == Fault::io);  // exit code 4: the machine, not a missing device
    }
}

TEST_CASE("bytes read like a person writes them") {
    CHECK(describe_bytes(17) == "17 bytes");
    CHECK(describe_bytes(12 * 1024) == "12.0 KiB");
    CHECK(describe_bytes((std::int64_t{3} << 30) / 2) == "1.50 GiB");
}

}  // namespace
}  // namespace cloze
