// --threads of commands that start threads themselves. Header only.
#pragma once

#include <algorithm>
#include <sched.h>
#include <thread>

namespace cloze {

/// 0 means every core this process may use: those of its affinity, where a scheduler has given it a few of many.
inline int thread_count(int asked) {
    if (asked > 0) return asked;
    cpu_set_t cores;
    if (sched_getaffinity(0, sizeof(cores), &cores) == 0) return CPU_COUNT(&cores);
    return std::max(1, static_cast<int>(std::thread::hardware_concurrency()));  // more cores than the set can name
}

}  // namespace cloze
