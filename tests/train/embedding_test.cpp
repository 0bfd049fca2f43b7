// What docs/embedding.md promises to the program around the library: its process stays as it was, and several trainers
// live side by side.
#include <catch2/catch.hpp>
#include <cfenv>
#include <clocale>
#include <csignal>
#include <cstdio>
#include <fcntl.h>
#include <thread>
#include <unistd.h>

#include "engine/data/dataset.h"
#include "engine/model/initialization.h"
#include "engine/train/checkpoint.h"
#include "kernels/core/parallel.h"
#include "tests/support.h"
#include "tests/train/tiny_run.h"

using namespace cloze;
using namespace cloze::test;
namespace fs = std::filesystem;

namespace {

std::int64_t entries_of(const char* folder) {
    return std::distance(fs::directory_iterator(folder), fs::directory_iterator());
}

std::int64_t threads_here() {
    return entries_of("/proc/self/task");
}

/// What belongs to a process, and so to its program.
struct Process {
    std::vector<std::pair<void (*)(int), int>> signal_actions;  // handler and flags of each signal
    std::vector<int> blocked_signals;
    std::vector<std::string> environment;
    std::string locale, folder;
    std::int64_t open_files;
    int rounding;
    bool subnormals;

    bool operator==(const Process&) const = default;
};

Process process_now() {
    Process now{};
    now.locale = std::setlocale(LC_ALL, nullptr);
    now.folder = fs::current_path();
    now.open_files = entries_of("/proc/self/fd");
    now.rounding = std::fegetround();
    sigset_t blocked;
    pthread_sigmask(SIG_BLOCK, nullptr, &blocked);
    for (int number = 1; number < NSIG; ++number) {
        struct sigaction action = {};
        if (sigaction(number, nullptr, &action) != 0) continue;
        now.signal_actions.emplace_back(action.sa_handler, action.sa_flags);
        if (sigismember(&blocked, number) == 1) now.blocked_signals.push_back(number);
    }
    for (char** entry = environ; *entry != nullptr; ++entry) now.environment.emplace_back(*entry);
    volatile float smallest = std::numeric_limits<float>::min();
    now.subnormals = smallest / 2 != 0;
    return now;
}

/// What is written to the standard streams while it lives.
class StandardStreams {
public:
    explicit StandardStreams(const fs::path& file) : file_(file) {
        std::fflush(nullptr);
        const int caught = open(file.c_str(), O_CREAT | O_WRONLY | O_TRUNC, 0600);
        for (const int stream : {0, 1}) {
            kept_[stream] = dup(stream + 1);
            dup2(caught, stream + 1);
        }
        close(caught);
    }
    ~StandardStreams() { release(); }
    std::string release() {
        std::fflush(nullptr);
        for (const int stream : {0, 1}) {
            if (kept_[stream] < 0) continue;
            dup2(kept_[stream], stream + 1);
            close(kept_[stream]);
            kept_[stream] = -1;
        }
        return read_file(file_);
    }

private:
    fs::path file_;
    int kept_[2];
};

/// A trainer and its samples.
struct Training {
    explicit Training(std::uint64_t seed) : trainer(tiny_config(), options_of(seed)) {
        initialize(trainer.weights(), 0.02, seed, Initialization::truncated_normal);
    }
    static TrainerOptions options_of(std::uint64_t seed) {
        TrainerOptions options = tiny_options(2, 1);
        options.seed = seed;
        return options;
    }
    void step() { trainer.step(stream.next()); }
    std::vector<float> weights() const { return values_of(trainer.weights()); }

    Trainer trainer;
    BatchStream stream{tiny_sampler(), tiny_stream_settings(2), kTinyLimits};
};

std::vector<float> trained_alone(std::uint64_t seed, int steps) {
    Training training(seed);
    for (int i = 0; i < steps; ++i) training.step();
    return training.weights();
}

/// Everything an embedding program does, and what goes wrong there. Returns the most threads that were seen.
std::int64_t embedded_work(const fs::path& folder) {
    std::int64_t most_threads = 0;
    Training training(1);
    for (int i = 0; i < 4; ++i) {
        training.step();
        most_threads = std::max(most_threads, threads_here());
    }
    std::string words = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n";
    for (std::int64_t i = 5; i < kTinyVocabulary; ++i) words += "word" + std::to_string(i) + "\n";
    const Vocabulary vocabulary = Vocabulary::parse(words, "tiny vocabulary");
    const fs::path checkpoint = save_checkpoint(folder, training.trainer, tiny_config(), {vocabulary, {}},
                                                {.step = training.trainer.progress().steps,
                                                 .updates = training.trainer.progress().updates,
                                                 .stream = training.stream.state(),
                                                 .recipe = Json::object(),
                                                 .matrix_library = "test"});
    load_checkpoint(checkpoint, training.trainer);

    training.trainer.weights().flat.data<float>()[0] = std::numeric_limits<float>::quiet_NaN();
    training.step();
    const auto refused = [](const auto& call) {
        try {
            call();
        } catch (const Error&) {
            return;
        }
        throw std::logic_error("not refused");
    };
    refused([&] { Dataset::open(folder / "nowhere"); });
    refused([&] { training.trainer.begin({}); });
    refused([&] { Trainer(tiny_config(), tiny_options(3, 2)); });
    refused([&] { training.trainer.finish(); });
    return std::max(most_threads, threads_here());
}

}  // namespace

TEST_CASE("the library leaves the process as it found it, starts no thread and prints nothing") {
    const TemporaryFolder folder;
    set_thread_count(1);
    trained_alone(1, 1);  // what a library of the system opens once
    StandardStreams streams(folder.path() / "printed");
    const std::int64_t threads = threads_here();
    const Process before = process_now();
    const std::int64_t most_threads = embedded_work(folder.path());
    const Process after = process_now();
    const std::string printed = streams.release();
    set_thread_count(0);
    CHECK(printed.empty());
    CHECK(most_threads <= threads);
    CHECK(after.signal_actions == before.signal_actions);
    CHECK(after.blocked_signals == before.blocked_signals);
    CHECK(after.environment == before.environment);
    CHECK(after.open_files == before.open_files);
    CHECK(after == before);
}

TEST_CASE("trainers that take turns in one process give the bits of each alone") {
    Training first(1), second(2);
    for (int i = 0; i < 4; ++i) {
        first.step();
        second.step();
    }
    CHECK(first.weights() == trained_alone(1, 4));
    CHECK(second.weights() == trained_alone(2, 4));
    CHECK(first.weights() != second.weights());
}

TEST_CASE("trainers in threads of the program's own give the bits of each alone") {
    std::vector<float> weights[3];
    {
        std::vector<std::jthread> threads;
        for (std::size_t i = 0; i < 3; ++i) {
            threads.emplace_back([&weights, i] { weights[i] = trained_alone(i, 4); });
        }
    }
    for (std::size_t i = 0; i < 3; ++i) CHECK(weights[i] == trained_alone(i, 4));
}
