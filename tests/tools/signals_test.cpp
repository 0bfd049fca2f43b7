#include <algorithm>
#include <catch2/catch.hpp>
#include <chrono>
#include <csignal>
#include <thread>

#include "tests/tools/workshop.h"

namespace cloze::test {

namespace fs = std::filesystem;

namespace {

constexpr int kSteps = 120;

std::vector<std::string> long_run(const Workshop& shop, const std::string& output) {
    return shop.pretrain(output, kSteps, {"--log-every", "1"});
}

std::map<std::string, std::string> final_checkpoint(const Workshop& shop, const std::string& output) {
    return contents_of(fs::path(shop.path(output)) / "checkpoint-00000120");
}

}  // namespace

TEST_CASE("a signal saves, leaves with 75, and the same command ends with the bytes of an undisturbed run") {
    Workshop shop;
    shop.with_dataset();
    require_success(cloze(long_run(shop, "undisturbed")));
    for (const int signal : {SIGTERM, SIGUSR1, SIGHUP}) {
        const std::string output = "run-" + std::to_string(signal);
        int stops = 0;
        for (const std::string moment : {"step 1/120 ", "step 40/120 ", "step 90/120 "}) {
            Program program(long_run(shop, output));
            if (!program.printed(moment)) break;
            program.send(signal);
            const Ended stopped = program.wait();
            if (stopped.exit_code == 0) break;  // it was done before the signal came
            require_complaint(stopped, 75, {"cloze pretrain: stopped by SIG", "saved in", "same command again"});
            ++stops;
        }
        CHECK(stops >= 1);
        const Ended last = cloze(long_run(shop, output));
        require_success(last);
        CHECK(final_checkpoint(shop, output) == final_checkpoint(shop, "undisturbed"));
    }
}

TEST_CASE("Ctrl-C is answered at once, and again") {
    Workshop shop;
    shop.with_dataset();
    // Steps long enough that the second signal comes within the first's.
    std::vector<std::string> arguments = shop.pretrain("run", 300, {"--log-every", "1"});
    *std::next(std::find(arguments.begin(), arguments.end(), "--global-batch-size")) = "20000";
    Program program(arguments);
    REQUIRE(program.printed("step 1/"));
    std::this_thread::sleep_for(std::chrono::milliseconds(100));  // the next step has begun
    program.send(SIGINT);
    std::this_thread::sleep_for(std::chrono::milliseconds(50));  // two at once would be one
    program.send(SIGINT);
    const Ended stopped = program.wait();
    INFO("signal " << stopped.signal << ", standard error: " << stopped.err << "standard output: " << stopped.out);
    CHECK(stopped.exit_code == 75);
    CHECK(stopped.err.find("stopping after this step") != std::string::npos);
    CHECK(stopped.err.find("still finishing the step") != std::string::npos);
    CHECK(stopped.err.find("same command again") != std::string::npos);
}

TEST_CASE("a run under nohup outlives its terminal") {
    Workshop shop;
    shop.with_dataset();
    Program program(long_run(shop, "run"), {.ignore_hangup = true});
    REQUIRE(program.printed("step 2/"));
    program.send(SIGHUP);
    CHECK(program.wait().exit_code == 0);
}

TEST_CASE("killed in the middle of a run, the same command continues from the last checkpoint") {
    Workshop shop;
    shop.with_dataset();
    require_success(cloze(long_run(shop, "undisturbed")));
    {
        Program program(shop.pretrain("run", kSteps, {"--log-every", "1", "--save-every", "5"}));
        REQUIRE(program.printed("saved "));
        program.send(SIGKILL);
        CHECK(program.wait().signal == SIGKILL);
    }
    const Ended last = cloze(long_run(shop, "run"));
    require_success(last);
    CHECK(last.out.find("continuing at step ") != std::string::npos);
    CHECK(final_checkpoint(shop, "run") == final_checkpoint(shop, "undisturbed"));
}

}  // namespace cloze::test
