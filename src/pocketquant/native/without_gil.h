// Computing without the GIL, and no longer than the interpreter lives.
//
// When CPython (until 3.13) ends, it unwinds the stack of every other thread that asks for the GIL again. C++ does not
// survive that: the process would abort, though all that it did was leave while a daemon thread was speaking. So at
// exit the calls under way are waited for (milliseconds), and what other threads call later sleeps until the process
// is gone.
#pragma once

#include <nanobind/nanobind.h>
#include <pthread.h>

#include <atomic>
#include <chrono>
#include <thread>

namespace pq {

class WithoutGil {
   public:
    WithoutGil() {
        ++running;
        const bool too_late = ended && std::this_thread::get_id() != ending;
        if (too_late) --running;
        state_ = PyEval_SaveThread();
        while (too_late) std::this_thread::sleep_for(std::chrono::hours(1));
    }
    ~WithoutGil() {
        PyEval_RestoreThread(state_);
        --running;
    }
    WithoutGil(const WithoutGil&) = delete;
    WithoutGil& operator=(const WithoutGil&) = delete;

    // Once, when the module is loaded.
    static void watch_for_exit() {
        nanobind::module_::import_("atexit").attr("register")(nanobind::cpp_function(&end));
        pthread_atfork(nullptr, nullptr, [] { running = 0; });  // a child has one thread, which is in Python
    }

   private:
    static void end() {
        ending = std::this_thread::get_id();
        ended = true;
        PyThreadState* state = PyEval_SaveThread();
        while (running > 0) std::this_thread::sleep_for(std::chrono::milliseconds(1));
        PyEval_RestoreThread(state);
    }

    PyThreadState* state_;
    inline static std::atomic<int> running{0};
    inline static std::atomic<bool> ended{false};
    inline static std::thread::id ending;  // it may still compute, in what others have registered for the exit
};

}  // namespace pq
