// Whether the cores of a team are near enough to each other to share the hidden units of small steps.
//
// A message from core to core takes 50 ns, or 250 where the cores share no cache, and a step needs several. Which cores
// a team has may change whenever the system moves a thread. So the first two members measure it at the start of a call
// that has a team: a few microseconds. Where they are too far apart for the size of the steps, the first member does
// the work of the whole team, and calls for a while after it form no teams (attempts.h): the results are the same bits.
//
// benchmarks/near_cores.py shows what this gains, and Pass::cores forces either answer.
#pragma once

#include "barrier.h"
#include "kernels.h"

namespace {

using namespace xlstm;

// Whether messages between the first two members are quick enough for all to share steps of `flops` operations.
INLINE bool measured_near(const Barrier &team, double flops) {
  constexpr double WORTH_A_SECOND = 2.5e11;  // operations, of messages there and back: measured
  constexpr long TRIPS = 4;                  // after a first one, which waits until the other thread is there
  Line *lines = team.lines;
  double begin = 0;
  for (long trip = 1; trip <= 1 + TRIPS && team.member < 2; ++trip) {
    if (team.member == 1) await(&lines[0].pings, trip);
    __atomic_store_n(&lines[team.member].pings, trip, __ATOMIC_RELEASE);
    if (team.member == 0) await(&lines[1].pings, trip);
    if (team.member == 0 && trip == 1) begin = seconds();
  }
  if (team.member == 0) lines[0].apart = (seconds() - begin) / TRIPS * WORTH_A_SECOND > flops;
  team.wait();
  return !lines[0].apart;
}

// The same as Pass::cores says: each member of the team asks, and all get the same answer.
INLINE bool near_enough(Cores cores, const Barrier &team, double flops) {
  if (cores == Cores::MEASURED) return measured_near(team, flops);
  return cores == Cores::NEAR;
}

}  // namespace
