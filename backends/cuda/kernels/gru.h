// The gated recurrent unit: one unit of one row. Gates in the order r, u, n; H between two of them.
//
//   r, u = sigmoid(z_r, z_u);  s = R_n·h + b_hn;  n = tanh(W_n·x + b_n + r * s);  h_new = (1 - u) * n + u * h
//
// z and dz have a fourth block. That of z keeps s. dz stands in the order n from x, r, u, n from h: the first three
// blocks are what the product with x has to do with, the last three are, in the order of the gates, what that with h
// has.
#pragma once
#include "port.h"

#define WIDTH 4   // numbers that a step keeps for each unit: its gates and s
#define HAS_C false

// From z, which holds the product with x, and from_h, that with h (null where h is zero), to the gates and s, in z's
// place, and the new state.
DEVICE void step_unit(REAL* z, const REAL* from_h, const REAL* bias, const REAL* bias_hn, i64 H, REAL* h, REAL* c) {
  REAL s = bias_hn[0] + (from_h ? from_h[2 * H] : 0);
  REAL r = sigmoid(z[0] + bias[0] + (from_h ? from_h[0] : 0));
  REAL u = sigmoid(z[H] + bias[H] + (from_h ? from_h[H] : 0));
  REAL n = tanh(z[2 * H] + bias[2 * H] + r * s);
  z[0] = r, z[H] = u, z[2 * H] = n, z[3 * H] = s;
  *h = (1 - u) * n + u * *h;
}

// From the gradient of the new state to dz and, in *dh, to what reaches the old h past z.
DEVICE void step_unit_backward(const REAL* z, REAL h, REAL c, i64 H, REAL* dz, REAL* dh, REAL* dc) {
  REAL r = z[0], u = z[H], n = z[2 * H], s = z[3 * H];
  REAL dn = *dh * (1 - u) * ((1 - n) * (1 + n));  // as a product the slope keeps its digits near ±1
  dz[0] = dn;
  dz[H] = dn * s * (r * (1 - r));
  dz[2 * H] = *dh * (h - n) * (u * (1 - u));
  dz[3 * H] = dn * r;
  *dh *= u;
}

// Where the gradient of a column of dz goes among the biases.
DEVICE REAL* bias_of(i64 column, i64 H, REAL* bias, REAL* bias_hn) {
  if (column < H) return bias + 2 * H + column;
  return column < 3 * H ? bias + column - H : bias_hn + column - 3 * H;
}
