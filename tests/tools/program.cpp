#include "tests/tools/program.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <pty.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

namespace cloze::test {
namespace {

namespace fs = std::filesystem;

void redirect(const fs::path& file, int flags, int descriptor) {
    const int opened = ::open(file.c_str(), flags, 0600);
    if (opened < 0 || ::dup2(opened, descriptor) < 0) ::_exit(kCannotStart);
    ::close(opened);
}

void limit_files(std::int64_t bytes) {
    const auto limit = static_cast<rlim_t>(bytes);
    const rlimit limits{.rlim_cur = limit, .rlim_max = limit};
    if (::setrlimit(RLIMIT_FSIZE, &limits) != 0) ::_exit(kCannotStart);
}

void become_nobody() {
    constexpr unsigned kNobody = 65534;
    if (::setgroups(0, nullptr) != 0 || ::setgid(kNobody) != 0 || ::setuid(kNobody) != 0) ::_exit(kCannotStart);
}

}  // namespace

Program::Program(const std::vector<std::string>& arguments, const Surroundings& surroundings)
    : output_(surroundings.output_file.empty() ? folder_.path() / "out" : surroundings.output_file) {
    write_file(folder_.path() / "in", surroundings.input);
    write_file(folder_.path() / "err", "");
    if (surroundings.output_file.empty()) write_file(output_, "");
    winsize size{};
    size.ws_col = static_cast<unsigned short>(surroundings.terminal_columns);
    size.ws_row = 24;
    process_ = surroundings.terminal_columns > 0 ? ::forkpty(&terminal_, nullptr, nullptr, &size) : ::fork();
    REQUIRE(process_ >= 0);
    if (process_ == 0) run_child(arguments, surroundings);
}

void Program::run_child(const std::vector<std::string>& arguments, const Surroundings& surroundings) {
    redirect(folder_.path() / "in", O_RDONLY, STDIN_FILENO);
    if (surroundings.terminal_columns == 0) {
        redirect(output_, O_WRONLY, STDOUT_FILENO);
        redirect(folder_.path() / "err", O_WRONLY, STDERR_FILENO);
    }
    if (surroundings.most_file_bytes > 0) limit_files(surroundings.most_file_bytes);
    if (surroundings.ignore_hangup) std::signal(SIGHUP, SIG_IGN);
    if (surroundings.as_nobody && ::geteuid() == 0) become_nobody();
    ::unsetenv("CI");
    ::unsetenv("NO_COLOR");
    ::setenv("TERM", "xterm", 1);
    ::setenv("LC_ALL", "C.UTF-8", 1);
    ::setenv("OMP_WAIT_POLICY", "passive", 1);
    for (const auto& [name, value] : surroundings.environment) ::setenv(name.c_str(), value.c_str(), 1);
    std::vector<std::string> words = {CLOZE_EXECUTABLE};
    words.insert(words.end(), arguments.begin(), arguments.end());
    std::vector<char*> pointers;
    for (std::string& word : words) pointers.push_back(word.data());
    pointers.push_back(nullptr);
    ::execv(CLOZE_EXECUTABLE, pointers.data());
    ::_exit(kCannotStart);
}

Program::~Program() {
    if (!ended_) {
        ::kill(process_, SIGKILL);
        ::waitpid(process_, &status_, 0);
    }
    if (terminal_ >= 0) ::close(terminal_);
}

void Program::send(int signal) const {
    REQUIRE(::kill(process_, signal) == 0);
}

bool Program::has_ended() {
    if (!ended_) ended_ = ::waitpid(process_, &status_, WNOHANG) == process_;
    return ended_;
}

/// Takes what the terminal has, for at most a few milliseconds.
void Program::read_terminal() {
    pollfd waiting{.fd = terminal_, .events = POLLIN, .revents = 0};
    std::vector<char> buffer(1 << 16);
    while (::poll(&waiting, 1, 5) > 0) {
        const ssize_t count = ::read(terminal_, buffer.data(), buffer.size());
        if (count <= 0) return;
        shown_.append(buffer.data(), static_cast<std::size_t>(count));
    }
}

bool Program::printed(const std::string& text) {
    for (int attempt = 0; attempt < 12000; ++attempt) {
        const bool last = has_ended();
        if (terminal_ >= 0) read_terminal();
        const std::string so_far = terminal_ >= 0 ? shown_ : read_file(output_);
        if (so_far.find(text) != std::string::npos) return true;
        if (last) return false;
        std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    return false;
}

Ended Program::wait() {
    if (terminal_ >= 0) {
        while (!has_ended()) read_terminal();
        read_terminal();
    } else if (!ended_) {
        REQUIRE(::waitpid(process_, &status_, 0) == process_);
        ended_ = true;
    }
    const bool of_file = terminal_ < 0 && fs::is_regular_file(output_);
    Ended result;
    if (WIFEXITED(status_)) result.exit_code = WEXITSTATUS(status_);
    if (WIFSIGNALED(status_)) result.signal = WTERMSIG(status_);
    result.out = of_file ? read_file(output_) : shown_;
    result.err = read_file(folder_.path() / "err");
    return result;
}

Ended cloze(const std::vector<std::string>& arguments, const Surroundings& surroundings) {
    Program program(arguments, surroundings);
    return program.wait();
}

void require_complaint(const Ended& ended, int exit_code, const std::vector<std::string>& parts) {
    INFO("standard error: " << ended.err << "standard output: " << ended.out);
    CHECK(ended.exit_code == exit_code);
    CHECK(std::count(ended.err.begin(), ended.err.end(), '\n') == 1);
    CHECK(ended.err.starts_with("cloze"));
    for (const std::string& part : parts) {
        INFO("looking for: " << part);
        CHECK(ended.err.find(part) != std::string::npos);
    }
}

void require_success(const Ended& ended) {
    INFO("standard error: " << ended.err << "standard output: " << ended.out);
    REQUIRE(ended.signal == 0);
    REQUIRE(ended.exit_code == 0);
}

}  // namespace cloze::test
