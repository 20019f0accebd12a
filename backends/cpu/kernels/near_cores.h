// Whether the cores of a team are near enough to each other to share the hidden units of small steps.
//
// A message from core to core takes 50 ns, or 250 where the cores share no cache, and a step needs several. Which cores
// a team has may change whenever the system moves a thread. So the team measures how long its members wait for each
// other at the start of a call: a few microseconds. Where that is too long for the size of the steps, the first member
// does the work of the whole team, and calls of steps no larger form no teams for a while (attempts.h): the results are
// the same bits.
//
// benchmarks/near_cores.py shows what this gains, and Pass::cores forces either answer.
#pragma once

#include "barrier.h"
#include "kernels.h"

namespace {

using namespace xlstm;

// Whether the members of a team come together quickly enough to share steps of `flops` operations.
INLINE bool measured_near(const Barrier &team, double flops) {
  // Operations, of waiting: measured. Where it takes as long as is worth it, both answers are as good.
  constexpr double WORTH_A_SECOND = 5e11;
  constexpr long TIMES = 8;
  Barrier untimed = team;
  untimed.waited = nullptr;
  untimed.wait();  // until all are there
  // The quickest meeting tells of the cores; a longer one may tell of an interrupt.
  double quickest = HUGE_VAL;
  for (double k = 0, before = seconds(); k < TIMES; ++k) {
    untimed.wait();
    const double now = seconds();
    if (now - before < quickest) quickest = now - before;
    before = now;
  }
  if (team.member == 0) team.lines[0].apart = quickest * WORTH_A_SECOND > flops;
  untimed.wait();
  return !team.lines[0].apart;
}

// The same as Pass::cores says: each member of the team asks, and all get the same answer.
INLINE bool near_enough(Cores cores, const Barrier &team, double flops) {
  if (cores == Cores::MEASURED) return measured_near(team, flops);
  return cores == Cores::NEAR;
}

}  // namespace
