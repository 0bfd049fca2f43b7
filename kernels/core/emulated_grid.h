// How launch() reaches the emulator: declared here, defined under tests/emulator.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/core/stream.h"

namespace cloze::emulated {

/// A launch: call(arguments) is the kernel on one thread.
struct GridRun {
    const char* op;
    const char* file;
    int line;
    Stream stream;
    std::int64_t blocks_x;
    std::int64_t blocks_y;
    int threads;
    int shared_bytes;
    int cluster;
    bool programmatic;  // each thread waits for the kernel before, see kernels/device/previous_kernel.h
    void (*call)(const void* arguments);
    const void* arguments;
    std::size_t arguments_bytes;
};

/// Runs every block to its end. Throws Fault::device with what a device would do wrong, or what a checker found.
void run_grid(const GridRun& run);

}  // namespace cloze::emulated
