// How many threads a call may use, whether they may share the steps of small batches, and what is learnt for the next
// calls from how one went.
#pragma once

#include <algorithm>

#ifdef _OPENMP
#include <omp.h>
#endif

#include <utility>

#include "arguments.h"
#include "caches.h"
#include "kernels/clock.h"
#include "kernels/kernels.h"
#include "lock.h"

namespace xlstm {

// Something that is tried until it goes badly, then again after some time, and after twice that time if the next
// attempt is no better.
class Attempts {
 public:
  bool next() {
    if (until_ > 0 && seconds() < until_) return false;
    until_ = 0;
    return true;
  }
  void ended(bool well) {
    if (!well) until_ = seconds() + pause_;
    pause_ = well ? SHORTEST : pause_ < LONGEST ? 2 * pause_ : pause_;
  }

 private:
  static constexpr double SHORTEST = 0.02, LONGEST = 1;  // seconds
  double until_ = 0, pause_ = SHORTEST;
};

// Of the process; read and written with the interpreter lock held, or as `Locked`.
struct ThreadPolicy {
  long limit = 0;       // what set_threads was given; 0 for none
  bool steady = false;  // whether a call always uses that many, though it waits for them
  bool forked = false;  // whether this is a child process: the threads that its parent may have started, by these
                        // kernels or another library, are not in it, and GNU's OpenMP would wait for them for ever

  // Where another program has the processors, a call on several threads waits for the one that is not let run, for the
  // milliseconds that a scheduler's turn takes: many times what it takes on one. So after a call that mostly waited,
  // calls run on one thread for a time. The results are the same bits.
  Attempts several_threads;
  // Likewise for threads that share the steps of small batches, after a call that found its cores far apart.
  Attempts shared_steps;
  double apart_flops = 0;                  // of its steps; those of larger ones are not concerned
  Cores cores = Cores::MEASURED;           // or what force_cores was given
  long near_calls = 0, apart_calls = 0;    // how often near_cores.h gave each answer
  Report last;                             // of the last call
  PyObject *tell_refused = nullptr;        // to be called, once, where the system would start no more threads

  long usable_threads() const {
    if (forked) return 1;
#ifdef _OPENMP
    // OMP_NUM_THREADS, the processors allowed, threadpoolctl; and OMP_THREAD_LIMIT
    const long most = std::min(omp_get_max_threads(), omp_get_thread_limit());
    return limit > 0 && limit < most ? limit : most;
#else
    return 1;
#endif
  }

  // The same, or one while another program has the processors.
  long threads_now() { return steady || several_threads.next() ? usable_threads() : 1; }

  static long processors() {
#ifdef _OPENMP
    static const long found = omp_get_num_procs();  // that this process may use
    return found;
#else
    return 1;
#endif
  }

  // What is learnt from any call. Not as `Locked`: it may call Python.
  void note(const Report &report) {
    const Owned tell(remember(report));
    if (!tell.object) return;
    const Owned result(PyObject_CallNoArgs(tell.object));
    if (!result.object) PyErr_WriteUnraisable(tell.object);
  }

  void begin_anew() {
    several_threads = shared_steps = Attempts();
    near_calls = apart_calls = 0, apart_flops = 0;
  }

 private:
  // Returns what is to be called now, or null.
  PyObject *remember(const Report &report) {
    const Locked locked;
    last = report;
    return report.refused ? std::exchange(tell_refused, nullptr) : nullptr;
  }
};

inline ThreadPolicy policy;

inline long usable_threads() {
  const Locked locked;
  return policy.usable_threads();
}

inline thread_local Pool pool;  // OpenMP has one for each thread that calls

// What one pass may use, and what is learnt from it.
class Attempt {
 public:
  explicit Attempt(Pass *pass) {
    const Locked locked;
    // A number of threads that somebody chose is kept whatever it costs.
    pass->cores = policy.steady && policy.cores == Cores::MEASURED ? Cores::NEAR : policy.cores;
    pass->threads = policy.threads_now();
    pass->share_above = pass->cores == Cores::NEAR || policy.shared_steps.next() ? 0 : policy.apart_flops;
    // Where there are more threads than processors, whom a thread waits for may have none.
    constexpr long PATIENT = 4000, IMPATIENT = 20;
    pass->first_level = first_level_cache();
    pass->patience = pass->threads > policy.processors() ? IMPATIENT : PATIENT;
    pass->report = &report_, pass->pool = &pool;
  }
  void ended() const {
    policy.note(report_);
    const Locked locked;
    // What the division of the work makes it wait says nothing of other programs.
    const double idle = report_.idle();
    if (report_.waited >= 0) policy.several_threads.ended(report_.waited <= idle + 0.5 * (1 - idle));
    if (report_.answer == Report::NO_TEAMS) return;
    const bool near = report_.answer == Report::NEAR;
    if (!near) policy.apart_flops = report_.flops;
    if (report_.flops <= policy.apart_flops) policy.shared_steps.ended(near);
    ++(near ? policy.near_calls : policy.apart_calls);
  }

 private:
  Report report_;
};

}  // namespace xlstm
