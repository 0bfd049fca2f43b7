// The program `cloze`: runs a subcommand and turns what went wrong into one line and an exit code. The only place that
// ends the process. The codes are in docs/command_line.md.
#include <algorithm>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <new>
#include <string>
#include <system_error>
#include <vector>

#include "engine/files/system_calls.h"
#include "tools/command_line.h"

namespace cloze {
namespace {

constexpr int kInternalError = 1;
constexpr int kMachineFailed = 4;

int exit_code(Fault fault) {
    switch (fault) {
        case Fault::internal: return kInternalError;
        case Fault::usage: return 2;
        case Fault::input: return 3;
        case Fault::io: return kMachineFailed;
        case Fault::diverged: return 5;
        case Fault::device: return 6;
        case Fault::interrupted: return 75;  // EX_TEMPFAIL of sysexits.h: run the same command again
    }
    return kInternalError;
}

int complain(const std::string& name, std::string message, int code) {
    std::replace(message.begin(), message.end(), '\n', ' ');
    std::fprintf(stderr, "%s: %s\n", name.c_str(), message.c_str());
    return code;
}

int run(CommandLine& command_line, const std::vector<std::string>& arguments) {
    command_line.run(arguments);
    if (std::fflush(stdout) != 0 || std::ferror(stdout) != 0) {
        fail(Fault::io, "cannot write to standard output; is the disk full?");
    }
    return 0;
}

}  // namespace
}  // namespace cloze

int main(int argc, char** argv) {
    using namespace cloze;
    // A file that grows past a limit of the shell is then a failed write with a message, not a death.
    std::signal(SIGXFSZ, SIG_IGN);
    std::string name = "cloze";
    try {
        CommandLine command_line;
        try {
            return run(command_line, std::vector<std::string>(argv + 1, argv + argc));
        } catch (...) {
            name = command_line.name();
            throw;
        }
    } catch (const Error& error) {
        return complain(name, error.what(), exit_code(error.fault()));
    } catch (const std::bad_alloc&) {
        return complain(name, "out of memory; close other programs, or ask for less (--help)", kMachineFailed);
    } catch (const std::filesystem::filesystem_error& error) {
        return complain(name, error.what(), kMachineFailed);
    } catch (const std::system_error& error) {
        return complain(name, error.what(), kMachineFailed);
    } catch (const std::exception& error) {
        return complain(name, std::string("internal error: ") + error.what() + "; please report it", kInternalError);
    }
}
