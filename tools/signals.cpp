#include "tools/signals.h"

#include <array>
#include <atomic>
#include <csignal>
#include <cstring>
#include <unistd.h>

namespace cloze {
namespace {

constexpr std::array kStopping = {SIGTERM, SIGINT, SIGHUP, SIGUSR1};

// Atomic, since any thread may be the one that takes the signal.
std::atomic<int> last_signal = 0;
std::atomic<bool> interrupted = false;
static_assert(std::atomic<int>::is_always_lock_free && std::atomic<bool>::is_always_lock_free, "safe in a handler");
const char* answer = "";
const char* answer_again = "";
std::array<struct sigaction, kStopping.size()> previous;
struct sigaction previous_pipe;

void say(const char* text) {
    [[maybe_unused]] const auto written = ::write(STDERR_FILENO, text, std::strlen(text));
}

/// Only what is safe inside a handler. The words are for the person who pressed Ctrl-C; schedulers get the exit code.
void on_signal(int number) {
    last_signal = number;
    if (number != SIGINT) return;
    say(interrupted ? answer_again : answer);
    interrupted = true;
}

}  // namespace

StopSignals::StopSignals(const char* first, const char* later) {
    last_signal = 0;
    interrupted = false;
    answer = first;
    answer_again = later;
    struct sigaction action {};
    action.sa_handler = on_signal;
    sigemptyset(&action.sa_mask);
    action.sa_flags = SA_RESTART;
    for (std::size_t i = 0; i < kStopping.size(); ++i) {
        sigaction(kStopping[i], nullptr, &previous[i]);
        if (previous[i].sa_handler != SIG_IGN) sigaction(kStopping[i], &action, nullptr);
    }
    struct sigaction ignore {};
    ignore.sa_handler = SIG_IGN;
    sigaction(SIGPIPE, &ignore, &previous_pipe);
}

StopSignals::~StopSignals() {
    // On the way out with its own exit code: one more Ctrl-C must not take that, and the message, away.
    if (requested()) return;
    for (std::size_t i = 0; i < kStopping.size(); ++i) sigaction(kStopping[i], &previous[i], nullptr);
    sigaction(SIGPIPE, &previous_pipe, nullptr);
}

bool StopSignals::requested() {
    return last_signal != 0;
}

const char* StopSignals::name() {
    switch (last_signal) {
        case SIGTERM: return "SIGTERM";
        case SIGINT: return "SIGINT";
        case SIGHUP: return "SIGHUP";
        case SIGUSR1: return "SIGUSR1";
        default: return "none";
    }
}

}  // namespace cloze
