// Where in the source a collective stands, taken by a default argument. The emulator compares the sites of the lanes
// that meet and names them in its reports; on a device a Site is empty and costs nothing.
#pragma once

namespace cloze {

struct Site {
#ifdef CLOZE_EMULATED
    const char* file;
    int line;
    static Site here(const char* f = __builtin_FILE(), int l = __builtin_LINE()) {
        return {f, l};
    }
#else
    __device__ static constexpr Site here() {
        return {};
    }
#endif
};

}  // namespace cloze
