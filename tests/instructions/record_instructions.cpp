// Records on this machine's GPU what every instruction of kernels/device/ computes:
//
//   record_instructions FILE
//
// tests/gpu.sh calls it; the file belongs into tests/instructions/. Exit code 0, or 1 with the reason.
#include <cstdio>
#include <exception>

#include "tests/instructions/recording.h"

int main(int count, char** arguments) {
    using namespace cloze::instructions;
    if (count != 2) {
        std::fprintf(stderr, "usage: record_instructions FILE\n");
        return 1;
    }
    try {
        const Recordings recordings = record_all();
        write_recordings(arguments[1], recordings);
        std::printf("%zu instructions of %s in %s\n", recordings.recordings.size(), recordings.device.c_str(),
                    arguments[1]);
    } catch (const std::exception& error) {
        std::fprintf(stderr, "record_instructions: %s\n", error.what());
        return 1;
    }
    return 0;
}
