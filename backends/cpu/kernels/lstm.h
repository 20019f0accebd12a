// The long short-term memory cell: one step of one tile of 16 units. The walks do the rest.
//
// Equations
// ---------
// Forward, from z = W·x + R·h + b in the columns i, f, g, o, and the c of the step before:
//
//     i = sigmoid(z_i)        f = sigmoid(z_f)        g = tanh(z_g)        o = sigmoid(z_o)
//     c_new = f * c + i * g
//     h_new = o * tanh(c_new)
//
// Backward, from the gradients of h_new and c_new:
//
//     dc_new += dh_new * o * (1 - tanh(c_new)²)
//     dz_i = dc_new * g * i * (1 - i)         dz_g = dc_new * i * (1 - g²)
//     dz_f = dc_new * c * f * (1 - f)         dz_o = dh_new * tanh(c_new) * o * (1 - o)
//     dc   = dc_new * f
//
// W, R and b are those of xlstm/cells/lstm.py, with its names and order of gates.
#pragma once

#include "cell.h"
#include "vector.h"

namespace {

struct LSTM {
  static constexpr char NAME[] = "lstm";
  static constexpr int GATES = 4;
  static constexpr const char *SECOND_BIAS = nullptr;
  static constexpr bool HAS_C = true, H_PASSES = false;
  static constexpr Block COLUMNS[] = {{Fed::BY_BOTH, 0}, {Fed::BY_BOTH, 1}, {Fed::BY_BOTH, 2}, {Fed::BY_BOTH, 3}};
  static constexpr int C = width(COLUMNS);
  static constexpr bool IN_TWO_PASSES = W < TILE;

  // From z (rows, C), h and c (rows, 16): the new c and the new h, to where c_to and h_to say for each row. With KEEP
  // also the gates (rows, C), for the backward walk; without, `gates` is not looked at. z is overwritten.
  //
  // With narrow vectors first every c, then every h: the chain of one c and its h is so long that the processor would
  // wait for it, for few of them are under way at a time. One vector a tile has fewer instructions, and gains nothing.
  template <bool KEEP>
  NOINLINE void activate(long rows, real *z, const real *, const real *c, real *const *c_to, real *const *h_to,
                         real *gates) {
    for (long r = 0; r < rows; ++r) {
      UNROLL
      for (int k = 0; k < TILE; k += W) {
        real *zr = z + r * C + k;
        const vec i_below = sigmoid_denominator(load(zr)), f_below = sigmoid_denominator(load(zr + TILE));
        const vec o_below = sigmoid_denominator(load(zr + 3 * TILE));
        const Tanh g_parts = tanh_parts(load(zr + 2 * TILE));
        const vec f = real(1) / f_below, c_before = load(c + r * TILE + k);
        vec c_new;
        if constexpr (KEEP) {
          // Each gate by a division of its own: a saturated one is then exactly 1, and its slope exactly 0.
          const vec i = real(1) / i_below, g = g_parts.numerator / g_parts.denominator, o = real(1) / o_below;
          c_new = f * c_before + i * g;
          real *to = gates + r * C + k;
          store(to, i), store(to + TILE, f), store(to + 2 * TILE, g), store(to + 3 * TILE, o);
          if constexpr (IN_TWO_PASSES) store(zr + 3 * TILE, o);
          else store(h_to[r] + k, o * tanh(c_new));
        } else {
          c_new = f * c_before + g_parts.numerator / (i_below * g_parts.denominator);
          if constexpr (IN_TWO_PASSES) {
            store(zr + 3 * TILE, o_below);
          } else {
            const Tanh c_parts = tanh_parts(c_new);
            store(h_to[r] + k, c_parts.numerator / (o_below * c_parts.denominator));
          }
        }
        store(c_to[r] + k, c_new);
        if constexpr (IN_TWO_PASSES) store(zr, c_new);
      }
    }
    if constexpr (!IN_TWO_PASSES) return;
    for (long r = 0; r < rows; ++r) {  // from z, which is near: the tape is not
      UNROLL
      for (int k = 0; k < TILE; k += W) {
        const real *zr = z + r * C + k;
        const vec o_part = load(zr + 3 * TILE);
        const Tanh c_parts = tanh_parts(load(zr));
        if constexpr (KEEP) store(h_to[r] + k, o_part * (c_parts.numerator / c_parts.denominator));
        else store(h_to[r] + k, c_parts.numerator / (o_part * c_parts.denominator));
      }
    }
  }

  // From dh and dc of the results of one step, with the h and c before it: dz, and dc of the c before it. The first
  // `running` rows go on after the step and find the new c in c_next, the others in c_last. db (C) collects the sums of
  // dz over the rows.
  NOINLINE void differentiate(long rows, long running, const real *gates, const real *, const real *c,
                              const real *c_next, const real *c_last, const real *dh, real *dc, real *dz, real *db) {
    for (int k = 0; k < TILE; k += W) {
      vec bi = load(db + k), bf = load(db + TILE + k), bg = load(db + 2 * TILE + k), bo = load(db + 3 * TILE + k);
      for (long r = 0; r < rows; ++r) {
        const real *a = gates + r * C + k;
        const vec i = load(a), f = load(a + TILE), g = load(a + 2 * TILE), o = load(a + 3 * TILE);
        const vec tanh_c = tanh(load((r < running ? c_next : c_last) + r * TILE + k));
        const vec dh_r = load(dh + r * TILE + k);
        const vec dc_r = load(dc + r * TILE + k) + dh_r * o * ((1 - tanh_c) * (1 + tanh_c));
        const vec di = dc_r * g * (i * (1 - i)), df = dc_r * load(c + r * TILE + k) * (f * (1 - f));
        const vec dg = dc_r * i * ((1 - g) * (1 + g)), d_o = dh_r * tanh_c * (o * (1 - o));
        store(dc + r * TILE + k, dc_r * f);
        real *to = dz + r * C + k;
        store(to, di), store(to + TILE, df), store(to + 2 * TILE, dg), store(to + 3 * TILE, d_o);
        bi += di, bf += df, bg += dg, bo += d_o;
      }
      store(db + k, bi), store(db + TILE + k, bf), store(db + 2 * TILE + k, bg), store(db + 3 * TILE + k, bo);
    }
  }
};
}  // namespace
