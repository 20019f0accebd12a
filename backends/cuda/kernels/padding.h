// Padded batches (N, T, F): which step of a row stands where.
#pragma once

#include "port.h"

// How many steps of row n are valid; `all` where there are no lengths.
DEVICE i64 valid_steps(const i64 *lengths, i64 n, i64 all) { return lengths ? lengths[n] : all; }

// Where the t-th of some valid steps stands, for a walk from the last to the first: its own inverse.
DEVICE i64 walked(i64 t, i64 valid, i64 reverse) { return reverse ? valid - 1 - t : t; }

struct Place { i64 n, t, f; };

DEVICE Place place_of(i64 k, i64 T, i64 F) { return {k / F / T, k / F % T, k % F}; }

// The number for place k of a batch in the order of the walk, zero in the padding, of an array with any strides.
DEVICE REAL taken(
    const REAL *source, i64 row, i64 step, i64 feature, const i64 *lengths, i64 reverse, i64 T, i64 F, i64 k) {
  Place at = place_of(k, T, F);
  i64 valid = valid_steps(lengths, at.n, T);
  if (at.t >= valid) return 0;
  return source[at.n * row + walked(at.t, valid, reverse) * step + at.f * feature];
}

// The same of tokens: a feature of the table's row, or without a table of the unit vector. An id that is none gives
// NaN, which is seen, and not some other row. `kept` takes the id, or -1 where nothing is to be added to a row of the
// table.
DEVICE REAL embedded(
    const i64 *ids, i64 row, i64 step, const REAL *table, i64 V, i64 *kept, const i64 *lengths, i64 reverse, i64 T,
    i64 F, i64 k) {
  Place at = place_of(k, T, F);
  i64 valid = valid_steps(lengths, at.n, T), id = 0;
  bool is_valid = at.t < valid;
  if (is_valid) id = ids[at.n * row + walked(at.t, valid, reverse) * step];
  bool is_token = id >= 0 && id < V;
  if (at.f == 0 && kept) kept[at.n * T + at.t] = is_valid && is_token ? id : -1;
  if (!is_valid) return 0;
  if (!is_token) return not_a_number();
  return table ? table[id * F + at.f] : REAL(id == at.f);
}

// Place k of the weight space: the weights, the biases of the input, and for a cell that has one more bias those of the
// recurrence, of which the first `gap` are zero.
DEVICE REAL packed(
    const REAL *weight_ih, i64 ih, const REAL *weight_hh, i64 hh, const REAL *bias, i64 b, i64 gap,
    const REAL *bias_hn, i64 k) {
  if (k < ih) return weight_ih[k];
  if (k < ih + hh) return weight_hh[k - ih];
  if (k < ih + hh + b) return bias[k - ih - hh];
  k -= ih + hh + b + gap;
  return k < 0 ? REAL(0) : bias_hn[k];
}

// Where the gradient of place k of the weight space belongs; null for what is no parameter.
DEVICE REAL *parameter_of(
    REAL *weight_ih, i64 ih, REAL *weight_hh, i64 hh, REAL *bias, i64 b, i64 gap, REAL *bias_hn, i64 k) {
  if (k < ih) return weight_ih + k;
  if (k < ih + hh) return weight_hh + (k - ih);
  if (k < ih + hh + b) return bias + (k - ih - hh);
  k -= ih + hh + b + gap;
  return k < 0 ? nullptr : bias_hn + k;
}
