// --threads of commands that start threads themselves. Header only.
#pragma once

#include <algorithm>
#include <thread>

namespace cloze {

/// 0 means every core this process may use.
inline int thread_count(int asked) {
    return asked > 0 ? asked : std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
}

}  // namespace cloze
