#include "pool.h"

#include <pthread.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <thread>

namespace pq {
namespace {

constexpr auto kSpin = std::chrono::microseconds(30);  // a wake-up costs about as much

void relax() {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

template <class Condition>
bool spin_until(Condition condition) {
    const auto end = std::chrono::steady_clock::now() + kSpin;
    do {
        for (int i = 0; i < 64; ++i) {
            if (condition()) return true;
            relax();
        }
    } while (std::chrono::steady_clock::now() < end);
    return false;
}

class Pool {
   public:
    std::mutex turn;  // held by the call that uses the pool

    void run(int parts, int threads, const std::function<void(int)>& f) {
        {
            std::lock_guard<std::mutex> lock(mutex_);
            for (; workers_ < threads - 1; ++workers_) std::thread([this] { work(); }).detach();
            job_ = &f;
            parts_ = parts;
            next_ = 0;
            unfinished_.store(parts, std::memory_order_relaxed);
            jobs_.fetch_add(1, std::memory_order_release);
        }
        wake_.notify_all();
        while (do_part()) {
        }
        if (spin_until([this] { return unfinished_.load(std::memory_order_acquire) == 0; })) return;
        std::unique_lock<std::mutex> lock(mutex_);
        done_.wait(lock, [this] { return unfinished_.load(std::memory_order_acquire) == 0; });
    }

   private:
    // Takes one part of the current job, if there is one left, and does it.
    bool do_part() {
        const std::function<void(int)>* job;
        int part;
        {
            std::lock_guard<std::mutex> lock(mutex_);
            if (next_ >= parts_) return false;
            job = job_;
            part = next_++;
        }
        (*job)(part);
        if (unfinished_.fetch_sub(1, std::memory_order_acq_rel) == 1) {
            std::lock_guard<std::mutex> lock(mutex_);
            done_.notify_one();
        }
        return true;
    }

    void work() {
        unsigned seen = 0;
        for (;;) {
            const auto new_job = [&] { return jobs_.load(std::memory_order_acquire) != seen; };
            if (!spin_until(new_job)) {
                std::unique_lock<std::mutex> lock(mutex_);
                wake_.wait(lock, new_job);
            }
            seen = jobs_.load(std::memory_order_acquire);
            while (do_part()) {
            }
        }
    }

    std::mutex mutex_;
    std::condition_variable wake_, done_;
    const std::function<void(int)>* job_ = nullptr;
    int parts_ = 0, next_ = 0, workers_ = 0;
    std::atomic<int> unfinished_{0};
    std::atomic<unsigned> jobs_{0};
};

// Never destroyed: its threads sleep until the process ends. A forked child has none of the threads and
// makes itself a new pool.
std::atomic<Pool*> current{nullptr};

Pool& pool() {
    static std::once_flag once;
    std::call_once(once, [] {
        current = new Pool;
        pthread_atfork(nullptr, nullptr, [] { current = new Pool; });
    });
    return *current;
}

}  // namespace

namespace {
thread_local int allowed = 1;
}

int set_call_threads(int threads) {
    const int before = allowed;
    allowed = threads;
    return before;
}

int call_threads() { return allowed; }

void run_parts(int parts, int threads, const std::function<void(int)>& f) {
    if (threads > 1 && parts > 1) {
        Pool& p = pool();
        std::unique_lock<std::mutex> lock(p.turn, std::try_to_lock);
        if (lock.owns_lock()) return p.run(parts, threads, f);
    }
    for (int i = 0; i < parts; ++i) f(i);
}

}  // namespace pq
