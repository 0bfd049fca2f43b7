// Runs the built program as a user would: arguments, standard input, environment, limits, a terminal, signals.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <sys/types.h>
#include <utility>
#include <vector>

#include "tests/support.h"

namespace cloze::test {

/// Exit code when the program itself could not be started.
inline constexpr int kCannotStart = 126;

struct Ended {
    int exit_code = -1;  // -1: a signal ended it
    int signal = 0;
    std::string out, err;  // on a terminal `out` holds both
};

struct Surroundings {
    std::string input = {};  // standard input
    std::vector<std::pair<std::string, std::string>> environment = {};
    std::int64_t most_file_bytes = 0;        // as ulimit -f; 0: no limit
    int terminal_columns = 0;                // 0: output goes to files
    std::filesystem::path output_file = {};  // standard output goes here
    bool ignore_hangup = false;              // as nohup does
    bool as_nobody = false;                  // where the tests run as root, whom no permission stops
};

class Program {
public:
    explicit Program(const std::vector<std::string>& arguments, const Surroundings& surroundings = {});
    /// Kills it if it still runs.
    ~Program();
    Program(const Program&) = delete;
    Program& operator=(const Program&) = delete;

    void send(int signal) const;
    /// Waits until standard output holds `text`; false when the program ended, or after a minute, without it.
    bool printed(const std::string& text);
    Ended wait();

private:
    void run_child(const std::vector<std::string>& arguments, const Surroundings& surroundings);
    void read_terminal();
    bool has_ended();

    TemporaryFolder folder_;
    std::filesystem::path output_;
    pid_t process_ = -1;
    int terminal_ = -1;
    bool ended_ = false;
    int status_ = 0;
    std::string shown_;  // on the terminal
};

/// Starts the program and waits for its end.
Ended cloze(const std::vector<std::string>& arguments, const Surroundings& surroundings = {});

/// Fails the test unless the program ended with `exit_code` and said one line on standard error, which begins with its
/// name and holds every one of `parts`.
void require_complaint(const Ended& ended, int exit_code, const std::vector<std::string>& parts);
/// Fails the test, showing what was said, unless the program ended well.
void require_success(const Ended& ended);

}  // namespace cloze::test
