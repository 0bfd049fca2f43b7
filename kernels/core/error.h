// Errors. `require` is for what a caller can get wrong, `fail` ends an operation with a message that says what to do
// next, `check` is for library status, `assert` only for our own mistakes. Nothing here ends the process:
// tools/main.cpp alone turns a Fault into an exit code (docs/command_line.md lists them). Tested by
// tests/kernels/core_test.cpp.
#pragma once

#include <sstream>
#include <stdexcept>
#include <string>

namespace cloze {

/// What kind of trouble an Error is; decides the exit code of the command line.
enum class Fault {
    usage,        // the call itself: unknown flag, impossible combination, contract of an op
    input,        // a file, a configuration or data that cannot be used as it is
    io,           // the machine failed: permissions, disk full, out of memory
    diverged,     // the numbers are no longer finite
    device,       // no GPU, unsuitable GPU, driver or library error
    interrupted,  // stopped by a signal after saving; the same command continues
    internal,     // our own mistake
};

/// The one exception type of the project. what() is complete: op or file, values, and the remedy.
class Error : public std::runtime_error {
public:
    Error(Fault fault, const std::string& message) : std::runtime_error(message), fault_(fault) {}
    Fault fault() const noexcept { return fault_; }

private:
    Fault fault_;
};

/// The call site, taken by a default argument instead of a macro.
struct Where {
    const char* file;
    int line;
    static constexpr Where here(const char* f = __builtin_FILE(), int l = __builtin_LINE()) { return {f, l}; }
};

/// Concatenates anything that can be streamed: text("rows ", 3, " of ", name).
template <typename... Parts>
std::string text(const Parts&... parts) {
    std::ostringstream out;
    (out << ... << parts);
    return out.str();
}

template <typename... Parts>
[[noreturn]] void fail(Fault fault, const Parts&... parts) {
    throw Error(fault, text(parts...));
}

/// Contract of a call: op name first, then the values, then the remedy.
template <typename... Parts>
void require(bool ok, const Parts&... parts) {
    if (!ok) [[unlikely]] {
        fail(Fault::usage, parts...);
    }
}

/// The same for what came from a user's file or configuration.
template <typename... Parts>
void require_input(bool ok, const Parts&... parts) {
    if (!ok) [[unlikely]] {
        fail(Fault::input, parts...);
    }
}

}  // namespace cloze
