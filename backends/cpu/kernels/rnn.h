// The Elman recurrent cell: one step of one tile of 16 units. The walks do the rest.
//
// Equations
// ---------
// Forward, from z = W·x + R·h + b:
//
//     h_new = tanh(z)
//
// Backward, from the gradient of h_new:
//
//     dz = dh_new * (1 - h_new²)
//
// W, R and b are those of xlstm/cells/rnn.py.
#pragma once

#include "cell.h"
#include "vector.h"

namespace {

struct RNN {
  static constexpr char NAME[] = "rnn";
  static constexpr int GATES = 1;
  static constexpr const char *SECOND_BIAS = nullptr;
  static constexpr bool HAS_C = false, H_PASSES = false;
  static constexpr Block COLUMNS[] = {{Fed::BY_BOTH, 0}};
  static constexpr int C = width(COLUMNS);

  // The arguments are those of an LSTM; there is no c, and "the gates" are the new h.
  template <bool KEEP>
  NOINLINE void activate(long rows, real *z, const real *, const real *, real *const *, real *const *h_to,
                         real *gates) {
    for (long r = 0; r < rows; ++r) {
      UNROLL
      for (int k = 0; k < TILE; k += W) {
        const vec h = tanh(load(z + r * C + k));
        store(h_to[r] + k, h);
        if constexpr (KEEP) store(gates + r * C + k, h);
      }
    }
  }

  NOINLINE void differentiate(long rows, long, const real *gates, const real *, const real *, const real *,
                              const real *, const real *dh, real *, real *dz, real *db) {
    for (int k = 0; k < TILE; k += W) {
      vec sum = load(db + k);
      for (long r = 0; r < rows; ++r) {
        const vec h = load(gates + r * C + k);
        const vec d = load(dh + r * TILE + k) * ((1 - h) * (1 + h));
        store(dz + r * C + k, d);
        sum += d;
      }
      store(db + k, sum);
    }
  }
};
}  // namespace
