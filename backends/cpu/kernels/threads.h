// How the threads of a walk divide its work: how many there are, in which teams, and which part each one does.
#pragma once

#include "kernels.h"
#include "memory.h"
#include "near_cores.h"

#ifdef _OPENMP
#include <omp.h>
#endif

namespace {

using namespace xlstm;

constexpr long MAX_THREADS = 64;

struct Share {
  long begin, end;
};
INLINE Share share(long total, long part, long parts) { return {total * part / parts, total * (part + 1) / parts}; }

// Teams of threads share the tasks; the members of a team share the hidden units of each step.
struct Crew {
  long threads, teams, members;
  double flops;  // of a team in one step
};

// `flops` are those of one step of the whole batch.
INLINE Crew crew_for(const Pass &pass, double flops, long most_members) {
  // Below these sizes waiting for one another takes longer than the work: measured.
  constexpr double WORTH_A_TEAM = 5e5, WORTH_TWO_MEMBERS = 2.5e4, WORTH_ANOTHER = 1e5;
  const Schedule &schedule = *pass.schedule;
  const long threads = smaller(pass.threads, MAX_THREADS);
  const double each = flops / schedule.tasks;
  if (threads == 1 || flops * schedule.steps < WORTH_A_TEAM) return {1, 1, 1, each};
  const long teams = smaller(threads, schedule.tasks);
  long members = !pass.share || each < WORTH_TWO_MEMBERS ? 1 : 2 + long(each / WORTH_ANOTHER);
  members = smaller(members, smaller(threads / teams, most_members));
  return {teams * members, teams, members, each};
}

// Runs f(id, threads) on `wanted` threads; on fewer where the system gives no more: f must be right for any number.
// `most` should always be the same number: GNU's OpenMP ends threads when the next call has fewer, and then starts new
// ones.
template <class F> INLINE void parallel([[maybe_unused]] long wanted, [[maybe_unused]] long most, F f) {
#ifdef _OPENMP
  if (wanted > 1) {
#pragma omp parallel num_threads(int(most))
    {
      const long id = omp_get_thread_num(), threads = smaller(wanted, omp_get_num_threads());
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
  Threads(const Pass &pass, Carver &scratch) : pass_(pass), most_(smaller(pass.threads, MAX_THREADS)) {
    if (most_ > 1) lines_ = scratch.take<Line>(2 * most_);
  }

  // Runs f(everyone, crew, number, team) on each thread of the crew wanted, or of a smaller one: with its part of the
  // barrier of all, and the number and barrier of its team. Threads without a team have the number crew.teams.
  template <class F> void run(Crew wanted, F f) {
    if (wanted.threads == 1) return f(Barrier{nullptr, 0, 1, nullptr}, wanted, 0, Barrier{nullptr, 0, 1, nullptr});
    const double begin = seconds();
    double waited = 0;
    Report &report = *pass_.report;
    std::memset(lines_, 0, 2 * wanted.threads * sizeof(Line));
    parallel(wanted.threads, most_, [&](long id, long threads) {
      Crew crew = wanted;
      if (threads < wanted.threads) crew.teams = smaller(threads, wanted.teams), crew.members = 1;
      double *mine = id == 0 ? &waited : nullptr;
      long number = smaller(id / crew.members, crew.teams);
      Barrier team{lines_ + wanted.threads + number * crew.members, id % crew.members, crew.members, mine};
      if (crew.members > 1) {
        const bool near = near_enough(pass_.cores, team, crew.flops);
        if (id == 0) report.answer = near ? Report::NEAR : Report::APART;
        if (!near) {  // the first does the team's work
          if (team.member > 0) number = crew.teams;
          team.members = 1;
        }
      }
      f(Barrier{lines_, id, threads, mine}, crew, number, team);
    });
    report.waited = waited / (seconds() - begin);
  }

 private:
  const Pass &pass_;
  const long most_;
  Line *lines_ = nullptr;
};

}  // namespace
