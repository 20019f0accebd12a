// How threads wait for each other.
#pragma once

#include <sched.h>

#include "clock.h"
#include "vector.h"

namespace {

// What one thread says to others, away from what the others say.
struct Line {
  long arrivals;  // how often it has come to the barrier
  long pings;     // messages it sent, or answered, and
  bool apart;     // what they told: see near_cores.h
  char padding[128 - 2 * sizeof(long) - sizeof(bool)];
};

// Until *value is at least `wanted`. Returns the seconds that it took, short times left out, if `timed`.
INLINE double await(const long *value, long wanted, bool timed = false) {
  constexpr long SHORT = 200, LONG = 4000;  // some microseconds; many more
  double begin = 0;
  for (long spins = 0; __atomic_load_n(value, __ATOMIC_ACQUIRE) < wanted; ++spins) {
    if (timed && spins == SHORT) begin = seconds();
    if (spins > LONG) sched_yield();  // there are more threads than processors: let the others come
#if defined(__x86_64__)
    else __builtin_ia32_pause();
#endif
  }
  return begin > 0 ? seconds() - begin : 0;
}

// What one of `members` threads has of a barrier. Each writes to its own line and reads all: between two, no way to
// wait for each other takes fewer messages.
struct Barrier {
  Line *lines;  // zero before the first wait
  long member, members;
  double *waited;  // seconds are added to it, if it is not null

  void wait() const {
    if (members == 1) return;
    const long here = lines[member].arrivals + 1;
    __atomic_store_n(&lines[member].arrivals, here, __ATOMIC_RELEASE);
    double sum = 0;
    for (long other = 0; other < members; ++other) sum += await(&lines[other].arrivals, here, waited != nullptr);
    if (waited) *waited += sum;
  }

};

}  // namespace
