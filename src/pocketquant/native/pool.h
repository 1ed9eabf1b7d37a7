// Threads for one call that is worth splitting. The caller works too and takes parts as long as there are
// any, so it never waits for a thread that got no core: only for parts that somebody has begun.
#pragma once

#include <functional>

namespace pq {

// Runs f(0) ... f(parts - 1) on the calling thread and up to `threads - 1` others; returns when all are
// done. While another thread's call has the pool, or with threads <= 1, the caller does all parts alone.
void run_parts(int parts, int threads, const std::function<void(int)>& f);

// How many threads the calls of the current thread may use at least: set around a prompt or a first frame.
// Returns what it was (1 at first).
int set_call_threads(int threads);
int call_threads();

}  // namespace pq
