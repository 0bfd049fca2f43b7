// A few threads for work that is cut into numbered pieces. Not OpenMP: this also runs beside training, on a thread of
// its own, where OpenMP would start a second team. Tested through what uses it.
#pragma once

#include <atomic>
#include <cstdint>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

namespace cloze {

/// Calls body(i) for i in [0, count) on `threads` threads, the caller's being one. The first exception is rethrown
/// after all have stopped.
template <typename Body>
void for_each_on_threads(std::int64_t count, int threads, const Body& body) {
    std::atomic<std::int64_t> next{0};
    std::atomic<bool> stop{false};
    std::exception_ptr failure;
    std::mutex failure_guard;
    const auto work = [&] {
        try {
            for (std::int64_t i = next++; i < count && !stop; i = next++) body(i);
        } catch (...) {
            const std::lock_guard lock(failure_guard);
            if (!failure) failure = std::current_exception();
            stop = true;
        }
    };
    {
        std::vector<std::jthread> helpers;
        for (int i = 1; i < threads && i < count; ++i) helpers.emplace_back(work);
        work();
    }
    if (failure) std::rethrow_exception(failure);
}

}  // namespace cloze
