// Streams and memory as an embedding program lends them: whose stream the work goes to, and what is waited for before
// memory goes.
#include "tests/emulator/streams.h"

#include <catch2/catch.hpp>

#include "engine/model/batch_tensors.h"
#include "kernels/core/error.h"
#include "tests/train/device_run.h"

using namespace cloze;
using namespace cloze::test;
using emulated::stream_counts;

namespace {

/// What happened to memory during `body`, which leaves nothing in the default stream.
template <typename Body>
std::int64_t early_releases_of(const Body& body) {
    wait(Stream{});
    const std::int64_t before = stream_counts().early_releases;
    body();
    return stream_counts().early_releases - before;
}

}  // namespace

TEST_CASE("the emulator tells memory that goes before its work was waited for") {
    const OwnedStream stream, other;
    const DeviceBuffer buffer(8);
    CHECK(early_releases_of([&] {
              const PinnedBuffer pinned(8);
              copy_to_device(buffer.address(), pinned.address(), 8, stream);
          }) == 1);
    CHECK(!emulated::all_waited_for());
    wait(other);
    CHECK(!emulated::all_waited_for());
    Event event;
    event.record(stream);
    event.hold(other);
    wait(other);  // and so for what the event stands behind
    CHECK(emulated::all_waited_for());
}

TEST_CASE("the emulator refuses a stream that is gone") {
    Stream gone;
    {
        const OwnedStream stream;
        gone = stream;
    }
    const DeviceBuffer buffer(8);
    CHECK_THROWS_AS(fill_bytes(buffer.address(), 0, 8, gone), Error);
    CHECK_THROWS_AS(wait(gone), Error);
}

TEST_CASE("a caller's stream gets the work and lives on") {
    const OwnedStream own;
    {
        Device device(0, own);
        Trainer trainer(device_config(), device_options(1), &device);
        start(trainer);
        BatchStream stream(tiny_sampler(), tiny_stream_settings(1), kTinyLimits);
        const std::int64_t all = stream_counts().given, here = emulated::given_to(own);
        const std::int64_t copies = emulated::given_to(device.copies());
        trainer.step(stream.next());
        CHECK(emulated::given_to(own) - here > 20);
        CHECK(emulated::given_to(device.copies()) - copies == 1);  // the micro-batch
        CHECK(stream_counts().given - all == emulated::given_to(own) - here + 1);
    }
    const DeviceBuffer buffer(8);
    fill_bytes(buffer.address(), 0, 8, own);
    wait(own);
}

TEST_CASE("a trainer that goes with steps unfinished waits for them before its memory goes") {
    const OwnedStream own;
    Device device(0, own);
    for (const int steps : {0, 1, 2}) {
        INFO(steps << " steps");
        CHECK(early_releases_of([&] {
                  Trainer trainer(device_config(), device_options(1), &device);
                  start(trainer);
                  BatchStream stream(tiny_sampler(), tiny_stream_settings(1), kTinyLimits);
                  for (int i = 0; i < steps; ++i) trainer.begin(stream.next());
              }) == 0);
    }
}

TEST_CASE("a step that ends by an error leaves nothing under way when the trainer goes") {
    const OwnedStream own;
    Device device(0, own);
    CHECK(early_releases_of([&] {
              Trainer trainer(device_config(), device_options(2), &device);
              start(trainer);
              BatchStream stream(tiny_sampler(), tiny_stream_settings(2), kTinyLimits);
              StepBatches batches = stream.next();
              batches.micro[1].capacity.tokens += 1;  // refused when the first one is under way
              CHECK_THROWS_AS(trainer.begin(batches), Error);
              CHECK(!emulated::all_waited_for());
          }) == 0);
}

TEST_CASE("a model, a feed and a device wait for their work before their memory goes") {
    const OwnedStream own;
    Device device(0, own);
    BatchStream stream(tiny_sampler(), tiny_stream_settings(1), kTinyLimits);
    const Batch batch = stream.next().micro.front();
    CHECK(early_releases_of([&] {
              PretrainingModel model(device_config(), device_options(1).model, &device);
              model.put(batch);
          }) == 0);
    CHECK(early_releases_of([&] {
              BatchFeed feed(kTinyCapacity, device);
              feed.put(batch);
              CHECK(!emulated::all_waited_for());
          }) == 0);
    const DeviceBuffer buffer(8);
    CHECK(early_releases_of([&] {
              const Device other(0, own);
              fill_bytes(buffer.address(), 0, 8, own);
          }) == 0);
    CHECK(emulated::all_waited_for());
}
