// How the threads of a walk divide its work: how many there are, in which teams, and which part each one does.
#pragma once

#include <cmath>

#include "kernels.h"
#include "memory.h"
#include "near_cores.h"
#include "starting.h"

#ifdef _OPENMP
#include <omp.h>
#endif

namespace {

using namespace xlstm;

struct Share {
  long begin, end;
};
INLINE Share share(long total, long part, long parts) { return {total * part / parts, total * (part + 1) / parts}; }
INLINE long rounds(long items, long at_once) { return (items + at_once - 1) / at_once; }

// Teams of threads share the tasks, or the parts of the tasks; the members of a team share the hidden units of a step.
struct Crew {
  long threads, teams, members;
  double flops;      // of a team in one step
  const Task *task;  // what the teams share
  long tasks;
  double busiest;    // what part of the walk's operations the busiest thread does, where all tasks are equal
  double first;      // and the calling one
};

// How many threads a walk is for follows from its work; how they divide it, from the way that is done first. `flops`
// are those of one step of the whole batch; its hidden units come in `shares`, which are not divided.
INLINE Crew crew_for(const Pass &pass, double flops, long shares) {
  // Below these sizes waiting for one another takes longer than the work. Two of anything are measured; more, reckoned:
  // each thread is to have some 10 microseconds of work in a walk, each member of a team one in a step.
  constexpr double WORTH_TWO_THREADS = 5e5, WORTH_ANOTHER_THREAD = 1e6;
  constexpr double WORTH_TWO_MEMBERS = 2.5e4, WORTH_ANOTHER_MEMBER = 1e5;
  // What it costs that members wait for each other, and that a reading of the weights serves a part of a task alone.
  constexpr double DEARER = 1.1;
  const Schedule &s = *pass.schedule;
  Crew best = {1, 1, 1, flops / s.tasks, s.task, s.tasks, 1, 1};
  const double walk = flops / s.rows * s.valid;
  if (pass.threads == 1 || walk < WORTH_TWO_THREADS) return best;
  const long threads = smaller(pass.threads, 2 + long(walk / WORTH_ANOTHER_THREAD));
  double shortest = HUGE_VAL;
  const auto consider = [&](const Task *task, long tasks, double dearer) {
    const double each = flops / tasks;
    const bool may_share = each >= WORTH_TWO_MEMBERS && each > pass.share_above;
    const long most = may_share ? smaller(shares, 2 + long(each / WORTH_ANOTHER_MEMBER)) : 1;
    for (long teams = smaller(threads, tasks); teams > 0; --teams) {
      const long longest = rounds(shares, smaller(threads / teams, most)), members = rounds(shares, longest);
      const double each_unit = double(rounds(tasks, teams)) / (tasks * shares), busiest = each_unit * longest;
      const double way = busiest * (members > 1 ? DEARER : 1) * dearer;
      if (way < shortest) shortest = way, 
        best = {teams * members, teams, members, each, task, tasks, busiest, each_unit * share(shares, 0, members).end};
    }
  };
  consider(s.task, s.tasks, 1);
  if (s.parts > 1) consider(s.part, s.tasks * s.parts, DEARER);
  return best;
}

// How many threads of the pool are to wake, where `wanted` of them have work and at most `usable` may run. Where the
// pool has to grow and cannot, those that there are; then it is not tried again for a time.
INLINE long woken_for(long wanted, long usable, Pool &pool, double now) {
  constexpr double KEPT = 1, REFUSED = 1;  // seconds
  pool.size = smaller(pool.size, usable);
  if (wanted > pool.size) {
    if (pool.refused > 0 && now - pool.refused < REFUSED) return pool.size;
    pool.refused = threads_start(wanted - pool.size) ? 0 : now;
    if (pool.refused > 0) return pool.size;
    pool.size = wanted;
  }
  if (2 * wanted <= pool.size && now - pool.used > KEPT) pool.size = wanted;
  if (2 * wanted > pool.size) pool.used = now;
  return pool.size;
}

// Runs f(id, threads) on `wanted` of the `usable` threads; on fewer where the system gives no more: f must be right for
// any number.
template <class F>
INLINE void parallel(long wanted, [[maybe_unused]] long usable, [[maybe_unused]] Pool &pool, Report &report, F f) {
  report.threads = wanted;
#ifdef _OPENMP
  if (wanted > 1) {
    report.woken = woken_for(wanted, usable, pool, seconds());
    report.refused = report.woken < wanted;
    wanted = report.threads = smaller(wanted, report.woken);
  }
  if (wanted > 1) {
#pragma omp parallel num_threads(int(report.woken))
    {
      const long id = omp_get_thread_num(), threads = smaller(wanted, omp_get_num_threads());
      if (id == 0) report.threads = threads;
      if (id < threads) f(id, threads);
    }
    return;
  }
#endif
  f(0, 1);
}

// The threads of a walk.
class Threads {
 public:
  Threads(const Pass &pass, Carver &scratch) : pass_(pass) {
    if (pass.threads > 1) lines_ = scratch.take<Line>(2 * pass.threads);
  }

  // Runs f(everyone, crew, number, team) on each thread of the crew wanted, or of a smaller one: with its part of the
  // barrier of all, and the number and barrier of its team. Threads without a team have the number crew.teams.
  template <class F> void run(Crew wanted, F f) {
    Report &report = *pass_.report;
    report.tasks = wanted.tasks, report.teams = wanted.teams, report.members = wanted.members;
    report.walk = wanted.busiest, report.first = wanted.first;
    const long patience = pass_.patience;
    if (wanted.threads == 1) {
      const Barrier alone{nullptr, 0, 1, patience, nullptr};
      return f(alone, wanted, 0, alone);
    }
    const double begin = seconds();
    double waited = 0;
    std::memset((void *)lines_, 0, 2 * wanted.threads * sizeof(Line));
    parallel(wanted.threads, pass_.threads, *pass_.pool, report, [&](long id, long threads) {
      Crew crew = wanted;
      if (threads < wanted.threads) {
        crew.teams = smaller(threads, wanted.teams), crew.members = 1;
        crew.busiest = crew.first = double(rounds(crew.tasks, crew.teams)) / crew.tasks;
        if (id == 0) report.teams = crew.teams, report.members = 1, report.walk = report.first = crew.busiest;
      }
      double *mine = id == 0 ? &waited : nullptr;
      long number = smaller(id / crew.members, crew.teams);
      Barrier team{lines_ + wanted.threads + number * crew.members, id % crew.members, crew.members, patience, mine};
      if (crew.members > 1) {
        const bool near = near_enough(pass_.cores, team, crew.flops);
        if (id == 0) report.answer = near ? Report::NEAR : Report::APART, report.flops = crew.flops;
        if (!near) {  // the first does the team's work
          if (team.member > 0) number = crew.teams;
          team.members = 1;
        }
      }
      f(Barrier{lines_, id, threads, patience, mine}, crew, number, team);
    });
    report.waited = waited / (seconds() - begin);
  }

 private:
  const Pass &pass_;
  Line *lines_ = nullptr;
};

}  // namespace
