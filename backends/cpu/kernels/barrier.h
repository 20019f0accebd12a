// How threads wait for each other.
#pragma once

#include <sched.h>

#include "clock.h"
#include "matrix.h"

namespace {

// What one thread says to others, away from what the others say.
struct Line {
  alignas(64) long arrivals;  // how often it has come to the barrier; the first of a group: how often all of it have
  alignas(64) long releases;  // of the first of a group: how often all groups have come
  bool apart;                 // what near_cores.h found
};
static_assert(sizeof(Line) == 128);

// Until *value is at least `wanted`; after `patience` looks, others get the processor between them. Returns the seconds
// that it took, short times left out, if `timed`.
INLINE double await(const long *value, long wanted, long patience, bool timed) {
  constexpr long SHORT = 200;  // some microseconds
  double begin = 0;
  for (long spins = 0; __atomic_load_n(value, __ATOMIC_ACQUIRE) < wanted; ++spins) {
    if (timed && spins == smaller(SHORT, patience)) begin = seconds();
    if (spins > patience) sched_yield();
#if defined(__x86_64__)
    else __builtin_ia32_pause();
#endif
  }
  return begin > 0 ? seconds() - begin : 0;
}

// What one of `members` threads has of a barrier. Each of a few writes to its own line and reads all: between two, no
// way to wait for each other takes fewer messages. Where they are many, each would read too many lines: the first of
// every group of a few waits for its group, then for the first of all others, and tells its group.
struct Barrier {
  Line *lines;  // zero before the first wait
  long member, members;
  long patience;
  double *waited;  // seconds are added to it, if it is not null

  void wait() const {
    constexpr long FEW = 8;
    if (members == 1) return;
    const long here = lines[member].arrivals + 1, group = members <= FEW ? 1 : FEW;
    double sum = 0;
    const auto wait_for = [&](const long *value) { sum += await(value, here, patience, waited != nullptr); };
    const long first = member / group * group;
    if (member == first)
      for (long other = first + 1; other < smaller(first + group, members); ++other) wait_for(&lines[other].arrivals);
    __atomic_store_n(&lines[member].arrivals, here, __ATOMIC_RELEASE);
    if (member == first) {
      for (long other = 0; other < members; other += group) wait_for(&lines[other].arrivals);
      if (group > 1) __atomic_store_n(&lines[member].releases, here, __ATOMIC_RELEASE);
    } else {
      wait_for(&lines[first].releases);
    }
    if (waited) *waited += sum;
  }
};

}  // namespace
