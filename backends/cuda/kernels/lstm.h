// The long short-term memory cell: one unit of one row. Gates in the order i, f, g, o; H between two of them.
//
//   i, f, o = sigmoid(z_i, z_f, z_o);  g = tanh(z_g);  c_new = f * c + i * g;  h_new = o * tanh(c_new)
#pragma once
#include "port.h"

#define WIDTH 4   // numbers that a step keeps for each unit: its gates
#define HAS_C true

// From z, which holds the products with x and h, to the gates in its place and the new state.
DEVICE void step_unit(REAL* z, const REAL* from_h, const REAL* bias, const REAL* bias_hn, i64 H, REAL* h, REAL* c) {
  REAL i = sigmoid(z[0] + bias[0]);
  REAL f = sigmoid(z[H] + bias[H]);
  REAL g = tanh(z[2 * H] + bias[2 * H]);
  REAL o = sigmoid(z[3 * H] + bias[3 * H]);
  z[0] = i, z[H] = f, z[2 * H] = g, z[3 * H] = o;
  *c = f * *c + i * g;
  *h = o * tanh(*c);
}

// From the gradient of the new state to dz and, in *dc, to that of the old c. h acts through z alone: *dh is not
// needed.
DEVICE void step_unit_backward(const REAL* z, REAL h, REAL c, i64 H, REAL* dz, REAL* dh, REAL* dc) {
  REAL i = z[0], f = z[H], g = z[2 * H], o = z[3 * H];
  REAL tanh_c = tanh(f * c + i * g);  // of the new cell, which costs less to compute again than to keep
  // Slopes as products of (1 - t) and (1 + t) keep their digits near ±1.
  REAL d = *dc + *dh * o * ((1 - tanh_c) * (1 + tanh_c));
  dz[0] = d * g * (i * (1 - i));
  dz[H] = d * c * (f * (1 - f));
  dz[2 * H] = d * i * ((1 - g) * (1 + g));
  dz[3 * H] = *dh * tanh_c * (o * (1 - o));
  *dc = d * f;
}

// Where the gradient of a column of dz goes among the biases.
DEVICE REAL* bias_of(i64 column, i64 H, REAL* bias, REAL* bias_hn) { return bias + column; }
