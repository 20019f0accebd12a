// The gated recurrent unit, in the form whose reset gate acts after the product: one step of one tile of 16 units. The
// walks do the rest.
//
// Equations
// ---------
// Forward, from the h of the step before and the columns n_x, r, u, n_h of z, in which
//
//     z_nx = W_n·x + b_n        z_r = W_r·x + R_r·h + b_r        z_u = W_u·x + R_u·h + b_u        z_nh = R_n·h + b_hn
//
// are
//
//     r = sigmoid(z_r)        u = sigmoid(z_u)        n = tanh(z_nx + r * z_nh)
//     h_new = (1 - u) * n + u * h
//
// Backward, from the gradient of h_new, which is the sum of what came through the products of the step after and of
// what passed them by:
//
//     dz_nx = dh_new * (1 - u) * (1 - n²)        dz_r = dz_nx * z_nh * r * (1 - r)
//     dz_nh = dz_nx * r                          dz_u = dh_new * (h - n) * u * (1 - u)
//     what passes by: dh_new * u
//
// W, R and the biases are those of xlstm/cells/gru.py, with its names and order of gates: r, u, n.
#pragma once

#include "cell.h"
#include "vector.h"

namespace {

struct GRU {
  static constexpr char NAME[] = "gru";
  static constexpr int GATES = 3;
  static constexpr const char *SECOND_BIAS = "bias_hn";
  static constexpr bool HAS_C = false, H_PASSES = true;
  static constexpr Block COLUMNS[] = {{Fed::BY_X, 2}, {Fed::BY_BOTH, 0}, {Fed::BY_BOTH, 1}, {Fed::BY_H, 2}};
  static constexpr int C = width(COLUMNS);

  // The arguments are those of an LSTM; there is no c. "The gates" are n, r, u and z_nh. First what of a row goes into
  // tanh, then the tanh: for the reason told there.
  template <bool KEEP>
  NOINLINE void activate(long rows, real *z, const real *h, const real *, real *const *, real *const *h_to,
                         real *gates) {
    for (long row = 0; row < rows; ++row) {
      UNROLL
      for (int k = 0; k < TILE; k += W) {
        real *zr = z + row * C + k;
        const vec r_below = sigmoid_denominator(load(zr + TILE)), u_below = sigmoid_denominator(load(zr + 2 * TILE));
        const vec from_h = load(zr + 3 * TILE);
        if constexpr (KEEP) {
          // Each gate by a division of its own: a saturated one is then exactly 1, and its slope exactly 0.
          const vec r = real(1) / r_below;
          real *to = gates + row * C + k;
          store(zr, load(zr) + r * from_h);
          store(to + TILE, r), store(to + 2 * TILE, real(1) / u_below), store(to + 3 * TILE, from_h);
        } else {
          store(zr, load(zr) + from_h / r_below), store(zr + 2 * TILE, u_below);
        }
      }
    }
    for (long row = 0; row < rows; ++row) {
      UNROLL
      for (int k = 0; k < TILE; k += W) {
        const real *zr = z + row * C + k;
        const Tanh n = tanh_parts(load(zr));
        const vec h_before = load(h + row * TILE + k);
        if constexpr (KEEP) {
          real *to = gates + row * C + k;
          const vec whole = n.numerator / n.denominator, u = load(to + 2 * TILE);
          store(to, whole);
          store(h_to[row] + k, (1 - u) * whole + u * h_before);
        } else {
          const vec u_below = load(zr + 2 * TILE);  // 1 - u = (u_below - 1) / u_below
          store(h_to[row] + k,
                (n.numerator * (u_below - 1) + n.denominator * h_before) / (n.denominator * u_below));
        }
      }
    }
  }

  // The arguments are those of an LSTM. There is no c: in dc stands what of dh passes the products by.
  NOINLINE void differentiate(long rows, long, const real *gates, const real *h, const real *, const real *,
                              const real *, const real *dh, real *passing, real *dz, real *db) {
    for (int k = 0; k < TILE; k += W) {
      vec bx = load(db + k), br = load(db + TILE + k), bu = load(db + 2 * TILE + k), bh = load(db + 3 * TILE + k);
      for (long row = 0; row < rows; ++row) {
        const real *a = gates + row * C + k;
        const vec n = load(a), r = load(a + TILE), u = load(a + 2 * TILE), from_h = load(a + 3 * TILE);
        const vec d = load(dh + row * TILE + k) + load(passing + row * TILE + k);
        const vec dx = d * (1 - u) * ((1 - n) * (1 + n)), dr = dx * from_h * (r * (1 - r));
        const vec du = d * (load(h + row * TILE + k) - n) * (u * (1 - u)), d_h = dx * r;
        store(passing + row * TILE + k, d * u);
        real *to = dz + row * C + k;
        store(to, dx), store(to + TILE, dr), store(to + 2 * TILE, du), store(to + 3 * TILE, d_h);
        bx += dx, br += dr, bu += du, bh += d_h;
      }
      store(db + k, bx), store(db + TILE + k, br), store(db + 2 * TILE + k, bu), store(db + 3 * TILE + k, bh);
    }
  }
};
}  // namespace
