// Buffers, copies, streams, events and what a device says of itself.
#include <cstring>
#include <numeric>

#include "kernels/cast.h"
#include "kernels/core/device_info.h"
#include "kernels/core/graph.h"
#include "kernels/core/launch_log.h"
#include "kernels/core/named_range.h"
#include "kernels/core/stream.h"
#include "tests/kernels/device/device_testing.h"

using namespace cloze;
using namespace cloze::test;

TEST_CASE("a device tells what it can do, and one that does not exist is refused") {
    if (!device_or_skip()) return;
    REQUIRE(device_count() >= 1);
    const DeviceInfo info = use_device(0);
    CHECK(!info.name.empty());
    CHECK(info.compute_capability >= kOldestComputeCapability);
    CHECK(info.multiprocessors > 0);
    CHECK(info.shared_bytes_per_block >= 100 * 1024);
    CHECK(info.memory_bytes > 0);
    CHECK(error_of([] { use_device(device_count()); }).find("does not exist") != std::string::npos);
}

TEST_CASE("a device that is too old, and a machine that has none, are told in one line") {
    const DeviceInfo old = {"Tesla V100", 70, 80, 96 * 1024, std::int64_t{1} << 34};
    CHECK(error_of([&] { require_usable(1, old); }) ==
          "device: device 1 (Tesla V100) has compute capability 7.0; Cloze needs 8.0 (A100) or newer");
    if (device_count() > 0) return;
    const std::string message = error_of([] { use_device(0); });
    CHECK(message.find("device: no NVIDIA ") == 0);
    CHECK(message.find("use --device cpu") != std::string::npos);
}

TEST_CASE("bytes travel to the device, on it and back") {
    if (!device_or_skip()) return;
    const OwnedStream stream;
    std::vector<int> numbers(1000), back(1000);
    std::iota(numbers.begin(), numbers.end(), 1);
    const DeviceBuffer first(4000), second(4000);
    const PinnedBuffer pinned(4000);
    std::memcpy(pinned.address(), numbers.data(), 4000);
    copy_to_device(first.address(), pinned.address(), 4000, stream);
    copy_on_device(second.address(), first.address(), 4000, stream);
    fill_bytes(second.address(), 0, 8, stream);
    copy_to_host(back.data(), second.address(), 4000, stream);
    wait(stream);
    CHECK(back[0] == 0);
    CHECK(back[1] == 0);
    CHECK(std::equal(back.begin() + 2, back.end(), numbers.begin() + 2));
}

TEST_CASE("events order streams and measure time") {
    if (!device_or_skip()) return;
    const OwnedStream one, other;
    Event start, end;
    start.record(one);
    end.record(one);
    end.hold(other);
    end.wait();
    wait(other);
    CHECK(end.seconds_since(start) >= 0);
}

TEST_CASE("a checked buffer is full of NaN and tells when something wrote around it") {
    if (!device_or_skip()) return;
    set_checked_memory(true);
    const DeviceBuffer buffer(64);
    set_checked_memory(false);
    std::vector<float> values(16);
    copy_to_host(values.data(), buffer.address(), 64, {});
    wait(Stream{});
    for (const float value : values) CHECK(value != value);
    CHECK(buffer.canaries_hold({}));
    for (const std::int64_t at : {-256, -1, 64, 64 + 255}) {
        set_checked_memory(true);
        DeviceBuffer other(64);
        set_checked_memory(false);
        fill_bytes(static_cast<char*>(other.address()) + at, 0, 1, {});
        const DeviceBuffer moved = std::move(other);
        CHECK(!moved.canaries_hold({}));
    }
    CHECK(buffer.canaries_hold({}));
    const DeviceBuffer unchecked(64);
    CHECK(unchecked.canaries_hold({}));
}

TEST_CASE("a buffer is seen as a tensor on the device, if it is large enough") {
    if (!device_or_skip()) return;
    DeviceBuffer buffer(64);
    const Tensor tensor = buffer.tensor(DType::bf16, 4, 8);
    CHECK(describe(tensor) == "bf16 [4, 8] on the device");
    CHECK(error_of([&] { buffer.tensor(DType::f32, 4, 8); }).find("does not fit into 64 bytes") != std::string::npos);
    const DeviceBuffer moved = std::move(buffer);
    CHECK(moved.address() == tensor.address);
    CHECK(buffer.address() == nullptr);
}

TEST_CASE("a graph does its work again at each launch, on what the addresses then hold") {
    if (!device_or_skip()) return;
    const OwnedStream stream;
    const DeviceBuffer first(64), second(64);
    const auto work = [&] { copy_on_device(second.address(), first.address(), 64, stream); };
    const Graph graph(stream, work);
    for (const std::uint8_t value : {1, 2}) {
        fill_bytes(first.address(), value, 64, stream);
        graph.launch(stream);
        std::vector<std::uint8_t> back(64);
        copy_to_host(back.data(), second.address(), 64, stream);
        wait(stream);
        CHECK(back == std::vector<std::uint8_t>(64, value));
    }
}

TEST_CASE("an error while a graph is recorded reaches the caller, and the stream works on") {
    if (!device_or_skip()) return;
    const OwnedStream stream;
    const DeviceBuffer buffer(64);
    const auto broken = [&] {
        fill_bytes(buffer.address(), 1, 64, stream);
        throw Error(Fault::usage, "broken");
    };
    CHECK(error_of([&] { Graph(stream, broken).launch(stream); }) == "usage: broken");
    fill_bytes(buffer.address(), 2, 64, stream);
    wait(stream);
}

TEST_CASE("a log notes each launch of its thread while it lives") {
    if (!device_or_skip()) return;
    const OwnedStream stream;
    const DeviceArray x(DType::f32, 8, 64);
    const auto launches = [&] {
        fill({.y = x.tensor(), .value = 1}, stream);
        fill({.y = x.tensor(), .value = 2}, stream);
        LaunchLog::note("end", stream);
    };
    launches();
    const LaunchLog log;
    {
        const NamedRange range("fills");
        launches();
    }
    CHECK(std::string(NamedRange::current()).empty());
    const auto entries = log.entries();
    REQUIRE(entries.size() == 2);
    for (const LaunchLog::Entry& entry : entries) {
        CHECK(entry.op == "fill");
        CHECK(entry.range == "fills");
        CHECK(entry.seconds >= 0);
    }
    CHECK(entries[0].start == 0);
    CHECK(entries[1].start == Approx(entries[0].seconds));
}
