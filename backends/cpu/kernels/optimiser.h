// One step of an optimiser on a flat buffer, with the clipping of the gradients before it: the formulas of
// xlstm/optim.py.
#pragma once

#include <cmath>

#include "kernels.h"
#include "threads.h"
#include "vector.h"

namespace {

using namespace xlstm;

// The Euclidean norm of some numbers. Squares of float32 cannot leave the range of float64; those of float64 are taken
// of the numbers over the largest. The sums run in lanes, so that they fill vectors and do not depend on anything else.
NOINLINE double norm(const real *a, long count) {
  double largest = 1;
  if constexpr (!SINGLE) {
    largest = 0;
    for (long k = 0; k < count; ++k) largest = std::abs(a[k]) > largest ? std::abs(a[k]) : largest;
    if (largest == 0) largest = 1;
  }
  constexpr int LANES = 32;
  double lanes[LANES] = {};
  long k = 0;
  for (; k + LANES <= count; k += LANES)
    for (int j = 0; j < LANES; ++j) {
      const double b = SINGLE ? double(a[k + j]) : a[k + j] / largest;
      lanes[j] += b * b;
    }
  for (int j = 0; k + j < count; ++j) lanes[j] += (a[k + j] / largest) * (a[k + j] / largest);
  double sum = 0;
  for (double lane : lanes) sum += lane;
  return largest * std::sqrt(sum);
}

// Of all numbers, from the norms of pieces of them; over the largest, as squares of float64 may leave its range.
inline double norm_of_norms(const double *norms, long count) {
  double largest = 0, sum = 0;
  for (long k = 0; k < count; ++k) {
    if (!(norms[k] <= HUGE_VAL)) return norms[k];
    largest = norms[k] > largest ? norms[k] : largest;
  }
  if (count == 1 || largest == 0 || largest == HUGE_VAL) return largest;
  for (long k = 0; k < count; ++k) sum += (norms[k] / largest) * (norms[k] / largest);
  return largest * std::sqrt(sum);
}

// What is the same for all numbers of a step.
struct Rates {
  real factor, penalty, decay, rate, momentum, beta_1, rest_1, beta_2, rest_2, epsilon;
};

// Plain loops over arrays that do not overlap: the compiler makes vectors of them.
NOINLINE void update_sgd(long count, Rates a, real *__restrict p, const real *__restrict g,
                         const real *__restrict decayed, real *__restrict velocity) {
  for (long k = 0; k < count; ++k) {
    const real d = g[k] * a.factor + a.penalty * (decayed[k] * p[k]);
    velocity[k] = velocity[k] * a.momentum - a.rate * d;
    p[k] += velocity[k];
  }
}

NOINLINE void update_adam(long count, Rates a, real *__restrict p, const real *__restrict g,
                          const real *__restrict decayed, real *__restrict mean, real *__restrict square) {
  for (long k = 0; k < count; ++k) {
    const real d = g[k] * a.factor + a.penalty * (decayed[k] * p[k]);
    const real m = mean[k] * a.beta_1 + a.rest_1 * d, s = square[k] * a.beta_2 + a.rest_2 * (d * d);
    mean[k] = m;
    square[k] = s;
    p[k] -= a.decay * (decayed[k] * p[k]) + a.rate * (m / (std::sqrt(s) + a.epsilon));
  }
}

void update(const Update &u) {
  real *p = (real *)u.parameters, *first = (real *)u.moments[0], *second = (real *)u.moments[1];
  const real *g = (const real *)u.gradients, *decayed = (const real *)u.decayed;
  constexpr long WORTH_A_THREAD = 1 << 15;  // numbers: measured
  const long wanted = smaller(u.threads, rounds(u.count, WORTH_A_THREAD));
  double length = 0;
  if (u.max_norm < HUGE_VAL) {
    // In pieces, which are the same for any number of threads.
    constexpr long MOST_PIECES = 256;
    const long pieces = smaller(MOST_PIECES, rounds(u.count, WORTH_A_THREAD));
    double norms[MOST_PIECES];
    parallel(wanted, u.threads, *u.pool, *u.report, [&](long id, long threads) {
      const Share mine = share(pieces, id, threads);
      for (long k = mine.begin; k < mine.end; ++k) {
        const Share piece = share(u.count, k, pieces);
        norms[k] = norm(g + piece.begin, piece.end - piece.begin);
      }
    });
    length = norm_of_norms(norms, pieces);
  }
  const bool adamw = u.solver == Update::ADAMW, sgd = u.solver == Update::SGD;
  // Corrections of moments that started at zero.
  const double mean_seen = 1 - std::pow(u.beta_1, u.updates), root_seen = std::sqrt(1 - std::pow(u.beta_2, u.updates));
  Rates a;
  a.factor = length > u.max_norm && length < HUGE_VAL ? u.max_norm / length : 1;  // as the reference: not of infinity
  a.penalty = adamw ? 0 : u.alpha;
  a.decay = adamw ? u.rate * u.alpha : 0;
  a.rate = sgd ? u.rate : u.rate * root_seen / mean_seen;
  a.momentum = u.momentum;
  a.beta_1 = u.beta_1, a.rest_1 = 1 - u.beta_1, a.beta_2 = u.beta_2, a.rest_2 = 1 - u.beta_2;
  a.epsilon = u.epsilon * root_seen;
  parallel(wanted, u.threads, *u.pool, *u.report, [&](long id, long threads) {
    const Share part = share(u.count, id, threads);
    const long k = part.begin, count = part.end - part.begin;
    if (sgd) update_sgd(count, a, p + k, g + k, decayed + k, first + k);
    else update_adam(count, a, p + k, g + k, decayed + k, first + k, second + k);
  });
}

}  // namespace
