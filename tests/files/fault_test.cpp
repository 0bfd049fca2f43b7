// A save under every single fault: each system call of it fails in turn, writes short, or is the last before a crash.
// The law: what was there before is there after, or the new folder is, whole; nothing in between ever has the final
// name; a failure is one clear Fault::io.
#include <algorithm>
#include <catch2/catch.hpp>
#include <chrono>
#include <cstdlib>
#include <signal.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

#include "engine/files/atomic_folder.h"
#include "engine/files/safetensors.h"
#include "tests/files/faulty_calls.h"
#include "tests/support.h"

using namespace cloze;
using cloze::test::FaultMode;
using cloze::test::FaultyCalls;
namespace fs = std::filesystem;

namespace {

constexpr const char* kManifest = "training_state.json";

constexpr std::int64_t kSeveralWrites = 300'000;  // elements; more than the buffer of an output file holds

/// A checkpoint: a tensor file of `count` elements and two small files.
void save(const fs::path& path, float value, std::int64_t count = 10) {
    const std::vector<float> weights(static_cast<std::size_t>(count), value);
    AtomicFolder folder(path);
    OutputFile file = folder.create("model.safetensors");
    write_safetensors(file, {tensor_to_store<float>("weights", {count}, weights)});
    folder.add(std::move(file));
    folder.add("config.json", "{\"value\": " + std::to_string(value) + "}\n");
    folder.add("vocab.txt", "");
    folder.commit(kManifest, {{"value", value}});
}

/// The value of a whole checkpoint; 0 when there is no folder of that name; -1 when it is not whole.
float saved(const fs::path& path) {
    if (!fs::exists(path)) return 0;
    try {
        const Manifest manifest = read_manifest(path, kManifest);
        verify_folder(path, manifest.files);
        const SafetensorsReader reader(path / "model.safetensors");
        float value = 0;
        const StoredTensor& weights = reader.require("weights");
        reader.copy_as_f32(weights, std::span(&value, 1), weights.count() - 1);
        return manifest.content["value"] == value && manifest.files.size() == 3 ? value : -1;
    } catch (const Error&) {
        return -1;
    }
}

bool has_temporary(const fs::path& folder) {
    return std::any_of(fs::directory_iterator(folder), fs::directory_iterator(),
                       [](const auto& entry) { return is_temporary_name(entry.path().filename().string()); });
}

struct Scenario {
    const char* name;
    bool replaces;  // a checkpoint of that name is there already
    bool exchange;  // the file system can swap names
};

struct OneFault {
    FaultMode mode;
    int error_number;
};

constexpr OneFault kFaults[] = {
    {FaultMode::fail, EIO},      {FaultMode::fail, ENOSPC},      {FaultMode::fail, EACCES},
    {FaultMode::short_write, 0}, {FaultMode::fill_disk, ENOSPC}, {FaultMode::crash_before, 0},
    {FaultMode::crash_after, 0},
};

/// One save with one fault. True when the fault was reached.
bool run(const Scenario& scenario, const OneFault& fault, int at) {
    const test::TemporaryFolder folder;
    const fs::path before = folder.path() / "checkpoint-1", path = folder.path() / "checkpoint-2";
    FaultyCalls calls({.at = at, .mode = fault.mode, .error_number = fault.error_number});
    calls.exchange_is_supported = scenario.exchange;
    {
        FaultyCalls quick;
        const SystemCallsReplacement replacement(quick);
        save(before, 1);
        if (scenario.replaces) save(path, 2);
    }
    std::string message;
    {
        const SystemCallsReplacement replacement(calls);
        try {
            save(path, 3, kSeveralWrites);
        } catch (const Error& error) {
            CHECK(error.fault() == Fault::io);
            message = error.what();
        }
    }
    INFO(scenario.name << ", mode " << int(fault.mode) << ", errno " << fault.error_number << ", call " << at << ": "
                       << message);
    const float old_value = scenario.replaces ? 2 : 0;
    const bool is_whole_at_once = !(scenario.replaces && !scenario.exchange);
    if (is_whole_at_once || !calls.crashed()) CHECK((saved(path) == old_value || saved(path) == 3));
    CHECK(saved(path) != -1);
    CHECK(saved(before) == 1);
    if (message.empty()) CHECK(saved(path) == 3);
    if (!message.empty() && !calls.crashed()) {
        CHECK_THAT(message, Catch::Matchers::Contains(folder.path().string()));
        if (fault.mode == FaultMode::fill_disk || fault.error_number == ENOSPC) {
            CHECK_THAT(message, Catch::Matchers::Contains("No space left on device; free space or choose another"));
        }
        if (saved(path) == 3) {
            CHECK_THAT(message, Catch::Matchers::Contains("is in place and whole"));
        } else {
            CHECK_THAT(message, Catch::Matchers::Contains("was changed"));
        }
    }
    if (calls.struck() || has_temporary(folder.path())) remove_leftovers(folder.path());
    CHECK_FALSE(has_temporary(folder.path()));
    CHECK((saved(path) == old_value || saved(path) == 3));
    CHECK(saved(before) == 1);
    return calls.struck();
}

}  // namespace

TEST_CASE("a save under a fault at every call leaves the old checkpoint or the new one, whole", "[files]") {
    const Scenario scenario = GENERATE(Scenario{"new name", false, true}, Scenario{"replaced by exchange", true, true},
                                       Scenario{"replaced without exchange", true, false});
    int runs = 0;
    for (const OneFault& fault : kFaults) {
        int at = 0;
        while (run(scenario, fault, at)) ++at;
        CHECK(at >= 30);
        runs += at;
    }
    INFO(scenario.name << ": " << runs << " faults");
    CHECK(runs > 200);
}

TEST_CASE("a disk that fills up during a save is told in one line, and the folder is gone again", "[files]") {
    const test::TemporaryFolder folder;
    save(folder.path() / "checkpoint-1", 1);
    FaultyCalls calls({.at = 8, .mode = FaultMode::fill_disk});
    std::string message;
    {
        const SystemCallsReplacement replacement(calls);
        try {
            save(folder.path() / "checkpoint-2", 2, kSeveralWrites);
        } catch (const Error& error) {
            message = error.what();
        }
    }
    CHECK(calls.struck());
    CHECK_THAT(message, Catch::Matchers::StartsWith("cannot write " + (folder.path() / "checkpoint-2.tmp-").string()));
    CHECK_THAT(message, Catch::Matchers::EndsWith("No space left on device; free space or choose another --output; "
                                                  "nothing at " +
                                                  (folder.path() / "checkpoint-2").string() + " was changed"));
    CHECK_FALSE(has_temporary(folder.path()));
    CHECK(saved(folder.path() / "checkpoint-1") == 1);
}

TEST_CASE("every byte of a save is on the disk before the rename that publishes it", "[files]") {
    const test::TemporaryFolder folder;
    const fs::path path = folder.path() / "checkpoint-1";
    FaultyCalls calls;
    {
        const SystemCallsReplacement replacement(calls);
        save(path, 1, kSeveralWrites);
        save(path, 2, kSeveralWrites);
    }
    std::vector<std::string> unsynced;  // files and folders with contents that a power failure would lose
    int published = 0;
    for (const std::string& call : calls.trace()) {
        const std::string verb = call.substr(0, call.find(' '));
        const std::string name = call.substr(std::min(call.size(), verb.size() + 1));
        if (verb == "write") unsynced.push_back(name);
        if (verb == "write") unsynced.push_back(fs::path(name).parent_path());
        if (verb == "sync") std::erase(unsynced, name);
        if (verb != "exchange" && verb != "rename") continue;
        INFO(call);
        CHECK(unsynced.empty());
        ++published;
        unsynced.push_back(folder.path());  // the name itself
    }
    CHECK(published == 2);
    CHECK(unsynced.empty());
}

TEST_CASE("a process killed while saving leaves whole checkpoints", "[files]") {
    const test::TemporaryFolder folder;
    const fs::path path = folder.path() / "checkpoint";
    save(path, 1);
    const int kills = std::getenv("CLOZE_TEST_LONG") != nullptr ? 1000 : 20;
    for (int kill_number = 0; kill_number < kills; ++kill_number) {
        const pid_t child = fork();
        REQUIRE(child >= 0);
        if (child == 0) {
            for (int i = 2;; ++i) save(path, static_cast<float>(i), kSeveralWrites);
        }
        std::this_thread::sleep_for(std::chrono::microseconds(500 + 2311 * kill_number % 20000));
        kill(child, SIGKILL);
        int status = 0;
        REQUIRE(waitpid(child, &status, 0) == child);
        REQUIRE(WIFSIGNALED(status));
        CHECK(saved(path) >= 1);
        remove_leftovers(folder.path());
        CHECK_FALSE(has_temporary(folder.path()));
        CHECK(saved(path) >= 1);
    }
}
