// Threads that work on a sequence of items and give the results back in the order in which the items came. With one
// thread the work is done in take(), by the caller. Tested through tests/data/prepare_test.cpp.
#pragma once

#include <condition_variable>
#include <deque>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

namespace cloze {

template <typename Item, typename Result>
class OrderedThreads {
public:
    using Work = std::function<Result(const Item& item, int thread)>;

    OrderedThreads(int threads, Work work)
        : work_(std::move(work)), wanted_threads_(threads == 1 ? 0 : threads), limit_(2 * std::size_t(threads)) {}
    ~OrderedThreads() {
        {
            const std::lock_guard lock(guard_);
            stop_ = true;
        }
        changed_.notify_all();
    }
    OrderedThreads(const OrderedThreads&) = delete;
    OrderedThreads& operator=(const OrderedThreads&) = delete;

    /// put() and take() are for one thread, which takes before it puts when full.
    bool full() const { return jobs_.size() >= limit_; }
    bool empty() const { return jobs_.empty(); }

    void put(Item item) {
        while (std::ssize(threads_) < wanted_threads_) {
            const int thread = static_cast<int>(std::ssize(threads_));
            threads_.emplace_back([this, thread] { run(thread); });
        }
        {
            const std::lock_guard lock(guard_);
            jobs_.push_back(std::make_shared<Job>());
            jobs_.back()->item = std::move(item);
            waiting_.push_back(jobs_.back());
        }
        changed_.notify_all();
    }

    /// The oldest item's result, or its exception.
    Result take() {
        std::shared_ptr<Job> job;
        {
            std::unique_lock lock(guard_);
            job = jobs_.front();
            jobs_.pop_front();
            if (wanted_threads_ == 0) {
                waiting_.pop_front();
            } else {
                changed_.wait(lock, [&] { return job->done; });
            }
        }
        if (wanted_threads_ == 0) return work_(job->item, 0);
        if (job->failure) std::rethrow_exception(job->failure);
        return std::move(job->result);
    }

private:
    struct Job {
        Item item;
        Result result;
        std::exception_ptr failure;
        bool done = false;
    };

    void run(int thread) {
        std::unique_lock lock(guard_);
        for (;;) {
            changed_.wait(lock, [&] { return stop_ || !waiting_.empty(); });
            if (stop_) return;
            const std::shared_ptr<Job> job = waiting_.front();
            waiting_.pop_front();
            lock.unlock();
            try {
                job->result = work_(job->item, thread);
            } catch (...) {
                job->failure = std::current_exception();
            }
            lock.lock();
            job->done = true;
            changed_.notify_all();
        }
    }

    Work work_;
    std::ptrdiff_t wanted_threads_;  // 0: none beside the caller
    std::size_t limit_;
    std::mutex guard_;
    std::condition_variable changed_;
    std::deque<std::shared_ptr<Job>> jobs_;     // put and not taken
    std::deque<std::shared_ptr<Job>> waiting_;  // of those, not begun
    bool stop_ = false;
    std::vector<std::jthread> threads_;  // last, so that they end before what they use
};

}  // namespace cloze
