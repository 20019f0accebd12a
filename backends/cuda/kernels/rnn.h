// The Elman cell: one unit of one row.
//
//   h_new = tanh(z)
#pragma once
#include "port.h"

#define WIDTH 1   // numbers that a step keeps for each unit: h_new
#define HAS_C false

// From z, which holds the products with x and h, to the new state, in its place too.
DEVICE void step_unit(REAL* z, const REAL* from_h, const REAL* bias, const REAL* bias_hn, i64 H, REAL* h, REAL* c) {
  *h = z[0] = tanh(z[0] + bias[0]);
}

// From the gradient of the new state to dz. h acts through z alone.
DEVICE void step_unit_backward(const REAL* z, REAL h, REAL c, i64 H, REAL* dz, REAL* dh, REAL* dc) {
  dz[0] = *dh * ((1 - z[0]) * (1 + z[0]));  // as a product the slope keeps its digits near ±1
}

// Where the gradient of a column of dz goes among the biases.
DEVICE REAL* bias_of(i64 column, i64 H, REAL* bias, REAL* bias_hn) { return bias + column; }
