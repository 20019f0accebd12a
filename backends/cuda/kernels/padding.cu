// How batches, states and weights get to what a library of NVIDIA's reads, and its results back, where it reads REAL.
// sixteen.cu has the same kernels for 16 bits. All layers of (N, T, F); a thread a number. `scale` is null or a power
// of two on the device, by which gradients are multiplied on the way in and divided on the way back.
#include "padding.h"

// target (N, T, F), without gaps, of a source with any strides: rows in the order of the walk, zero in the padding.
LONE_KERNEL void take(
    const REAL *source, i64 row, i64 step, i64 feature, REAL *target, const i64 *lengths, i64 reverse, i64 N, i64 T,
    i64 F, const REAL *scale) {
  i64 k = thread_of_all();
  if (k >= N * T * F) return;
  target[k] = taken(source, row, step, feature, lengths, reverse, T, F, k) * (scale ? *scale : REAL(1));
}

// The same of tokens; `kept` (N, T) takes the ids as they were read, -1 for what is none.
LONE_KERNEL void embed(
    const i64 *ids, i64 row, i64 step, const REAL *table, i64 V, REAL *target, i64 *kept, const i64 *lengths,
    i64 reverse, i64 N, i64 T, i64 F) {
  i64 k = thread_of_all();
  if (k >= N * T * F) return;
  target[k] = embedded(ids, row, step, table, V, kept, lengths, reverse, T, F, k);
}

// The way back: target (N, T, F) with any strides of a source (N, steps, F) in the order of the walk.
LONE_KERNEL void give(
    const REAL *source, i64 steps, REAL *target, i64 row, i64 step, const i64 *lengths, i64 reverse, i64 N, i64 T,
    i64 F, const REAL *scale) {
  i64 k = thread_of_all();
  if (k >= N * T * F) return;
  Place at = place_of(k, T, F);
  i64 valid = valid_steps(lengths, at.n, steps);
  REAL value = 0;
  if (at.t < valid) value = source[(at.n * steps + walked(at.t, valid, reverse)) * F + at.f];
  target[at.n * row + at.t * step + at.f] = scale ? value / *scale : value;
}

LONE_KERNEL void pack(
    const REAL *weight_ih, i64 ih, const REAL *weight_hh, i64 hh, const REAL *bias, i64 b, i64 gap,
    const REAL *bias_hn, i64 size, REAL *space) {
  i64 k = thread_of_all();
  if (k >= size) return;
  space[k] = packed(weight_ih, ih, weight_hh, hh, bias, b, gap, bias_hn, k);
}

LONE_KERNEL void unpack(
    const REAL *space, REAL *weight_ih, i64 ih, REAL *weight_hh, i64 hh, REAL *bias, i64 b, i64 gap, REAL *bias_hn,
    i64 size, i64 accumulate, const REAL *scale) {
  i64 k = thread_of_all();
  if (k >= size) return;
  REAL *parameter = parameter_of(weight_ih, ih, weight_hh, hh, bias, b, gap, bias_hn, k);
  if (!parameter) return;
  REAL value = scale ? space[k] / *scale : space[k];
  *parameter = accumulate ? *parameter + value : value;
}

LONE_KERNEL void clear(REAL *target, i64 size) {
  i64 k = thread_of_all();
  if (k < size) target[k] = 0;
}
