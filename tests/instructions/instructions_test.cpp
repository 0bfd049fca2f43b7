// The instructions of this build's device, against their bounds and against what GPUs recorded (*.bin beside this
// file).
#include <bit>
#include <cmath>

#include "tests/instructions/compare.h"
#include "tests/kernels/device/device_testing.h"
#include "tests/support.h"

using namespace cloze;
using namespace cloze::instructions;
using namespace cloze::test;

namespace fs = std::filesystem;

namespace {

// The emulator moves a result by the whole error that is allowed, and then rounds it; a GPU keeps the bound itself.
#ifdef CLOZE_EMULATED
constexpr double kOwnRounding = 0x1p-24;
#else
constexpr double kOwnRounding = 0;
#endif

using Lines = std::vector<std::string>;

std::vector<fs::path> recorded_files() {
    std::vector<fs::path> files;
    for (const auto& entry : fs::directory_iterator(CLOZE_INSTRUCTIONS)) {
        if (entry.path().extension() == ".bin") files.push_back(entry.path());
    }
    return files;
}

/// What this build's device computes: once for all cases.
const Recordings& here() {
    static const Recordings recordings = record_all();
    return recordings;
}

std::uint32_t far_from(std::uint32_t bits) {
    const float value = std::bit_cast<float>(bits);
    return std::isfinite(value) ? std::bit_cast<std::uint32_t>(2 * value + std::copysign(1.0f, value)) : 0;
}

}  // namespace

TEST_CASE("fast functions and matrix products keep their stated errors at all kinds of values") {
    if (!device_or_skip()) return;
    CHECK(broken_bounds(here(), kOwnRounding) == Lines{});
}

TEST_CASE("instructions do what a GPU recorded") {
    if (!device_or_skip()) return;
    const std::vector<fs::path> files = recorded_files();
    if (files.empty()) return skip("not recorded yet: bash tests/gpu.sh");
    for (const fs::path& file : files) {
        INFO(file.filename().string());
        const Recordings recorded = read_recordings(file);
        CHECK(differing_bits(recorded, here()) == Lines{});
        CHECK(broken_bounds(recorded, 0) == Lines{});
    }
}

TEST_CASE("every instruction that a recorded GPU has is recorded") {
    if (!device_or_skip()) return;
    std::size_t missing = 0;
    for (const fs::path& file : recorded_files()) missing += not_recorded(read_recordings(file), here()).size();
    if (missing > 0) skip(std::to_string(missing) + " instructions are not recorded yet: bash tests/gpu.sh");
}

TEST_CASE("a recording comes back from its file, and equals what was recorded") {
    if (!device_or_skip()) return;
    const TemporaryFolder folder;
    const fs::path file = folder.path() / "here.bin";
    write_recordings(file, here());
    CHECK(fs::file_size(file) < 1'500'000);
    const Recordings again = read_recordings(file);
    CHECK(again.device == here().device);
    CHECK(again.recordings.size() == every_instruction().size());
    CHECK(not_recorded(again, here()) == Lines{});
    CHECK(differing_bits(again, here()) == Lines{});
    CHECK(broken_bounds(again, kOwnRounding) == Lines{});
}

TEST_CASE("a recording with one wrong output, of other inputs or without an instruction is noticed") {
    if (!device_or_skip()) return;
    for (std::size_t i = 0; i < here().recordings.size(); ++i) {
        Recordings wrong = here();
        Recording& recording = wrong.recordings[i];
        INFO(recording.name);
        std::uint32_t& word = recording.words[recording.words.size() / 2];
        word = every_instruction()[i].outputs == Outputs::exact ? word ^ 1u : far_from(word);
        CHECK(differing_bits(wrong, here()).size() + broken_bounds(wrong, kOwnRounding).size() == 1);
        wrong = here();
        ++wrong.recordings[i].inputs_hash;
        CHECK(differing_bits(wrong, here()) == Lines{here().recordings[i].name + ": was recorded from other inputs"});
        wrong.recordings.erase(wrong.recordings.begin() + static_cast<std::ptrdiff_t>(i));
        CHECK(not_recorded(wrong, here()) == Lines{here().recordings[i].name});
        CHECK(differing_bits(wrong, here()) == Lines{});
    }
}

TEST_CASE("a file that is no whole recording is refused by name") {
    if (!device_or_skip()) return;
    const TemporaryFolder folder;
    const fs::path file = folder.path() / "damaged.bin";
    write_recordings(file, {"a device", 90, {{"an instruction", 1, {2, 3}}}});
    const std::string whole = read_file(file);
    const auto message = [&](const std::string& bytes) {
        write_file(file, bytes);
        return error_of([&] { read_recordings(file); });
    };
    CHECK(message(whole) == "");
    for (std::size_t size = 0; size < whole.size(); ++size) {
        CHECK(message(whole.substr(0, size)).find("damaged.bin ends too early") != std::string::npos);
    }
    CHECK(message(whole + "x").find("has bytes after its end") != std::string::npos);
    CHECK(message("x" + whole).find("is no recording") != std::string::npos);
    CHECK(message(whole.substr(0, 8) + "x" + whole.substr(9)).find("has another version") != std::string::npos);
}
