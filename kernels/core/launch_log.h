// What a step's time goes into: while a LaunchLog lives, each launch and each product of this thread is noted, with an
// event before it. The time between two events is what the first of the two launches took, as long as the stream never
// runs dry: the host must be ahead of the device. Costs the device about a microsecond a launch, and recorded graphs
// are not looked into. Tested by tests/kernels/device/memory_test.cpp.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "kernels/core/stream.h"

namespace cloze {

class LaunchLog {
public:
    LaunchLog();
    ~LaunchLog();
    LaunchLog(const LaunchLog&) = delete;
    LaunchLog& operator=(const LaunchLog&) = delete;

    /// Called before a launch, with the op's name.
    static void note(const char* op, Stream stream) {
        if (current_ != nullptr) current_->add(op, stream);
    }

    struct Entry {
        std::string op;
        std::string range;  // of kernels/core/named_range.h
        double start;       // seconds from the first launch
        double seconds;
    };
    /// Every launch so far but the last, in order, whose end nobody noted: note() something behind it. Waits for them.
    std::vector<Entry> entries() const;

private:
    struct Noted {
        std::string op;
        std::string range;
        Event before;
    };

    void add(const char* op, Stream stream);

    static thread_local LaunchLog* current_;
    LaunchLog* outer_;
    std::vector<std::unique_ptr<Noted>> noted_;
};

}  // namespace cloze
