// The kernels of padding.cu where the library reads 16 bits a number: bfloat16, or with FLOAT16 float16. Two numbers
// are one u32, the first in its lower half, so that each thread of what is written in 16 bits writes one whole word.
// And by what gradients are scaled, so that float16 holds them.
#include "padding.h"
#include "sums.h"

#define THREADS 256

union Bits {
  float value;
  u32 bits;
};

DEVICE u32 narrowed(REAL number) {
  Bits b;
  b.value = float(number);
  u32 sign = b.bits >> 31 << 15, rest = b.bits & 0x7fffffffu;
#ifdef FLOAT16
  if (rest > 0x7f800000u) return sign | 0x7e00u;   // NaN
  if (rest >= 0x477ff000u) return sign | 0x7c00u;  // what rounds to 2**16 is infinite
  if (rest < 0x38800000u) {                        // below the smallest normal number: a multiple of 2**-24
    b.bits = rest;
    b.value += 0.5f;  // whose last bit is 2**-24: the sum is rounded as the result is to be
    return sign | (b.bits - 0x3f000000u);
  }
  rest += 0xfffu + (rest >> 13 & 1);  // to the nearest, of two the even one
  return sign | ((rest - 0x38000000u) >> 13);
#else
  if (rest > 0x7f800000u) return sign | 0x7fc0u;  // NaN: rounding could make it infinite
  return sign | (rest + 0x7fffu + (rest >> 16 & 1)) >> 16;
#endif
}

DEVICE REAL widened(const u32 *numbers, i64 k) {
  u32 half = numbers[k >> 1] >> (k & 1 ? 16 : 0) & 0xffffu;
  Bits b;
#ifdef FLOAT16
  u32 sign = half >> 15 << 31, rest = half & 0x7fffu;
  if (rest >= 0x7c00u) {
    b.bits = 0x7f800000u | (rest & 0x3ffu) << 13;
  } else {
    b.bits = (rest >> 10 ? rest << 13 : 0) + 0x38000000u;
    if (!(rest >> 10)) b.value = float(rest) * 5.9604644775390625e-8f;  // 2**-24
  }
  b.bits |= sign;
#else
  b.bits = half << 16;
#endif
  return REAL(b.value);
}

LONE_KERNEL void take(
    const REAL *source, i64 row, i64 step, i64 feature, u32 *target, const i64 *lengths, i64 reverse, i64 N, i64 T,
    i64 F, const REAL *scale) {
  i64 k = 2 * thread_of_all(), size = N * T * F;
  if (k >= size) return;
  REAL by = scale ? *scale : REAL(1);
  u32 word = narrowed(taken(source, row, step, feature, lengths, reverse, T, F, k) * by);
  if (k + 1 < size) word |= narrowed(taken(source, row, step, feature, lengths, reverse, T, F, k + 1) * by) << 16;
  target[k >> 1] = word;
}

LONE_KERNEL void embed(
    const i64 *ids, i64 row, i64 step, const REAL *table, i64 V, u32 *target, i64 *kept, const i64 *lengths,
    i64 reverse, i64 N, i64 T, i64 F) {
  i64 k = 2 * thread_of_all(), size = N * T * F;
  if (k >= size) return;
  u32 word = narrowed(embedded(ids, row, step, table, V, kept, lengths, reverse, T, F, k));
  if (k + 1 < size) word |= narrowed(embedded(ids, row, step, table, V, kept, lengths, reverse, T, F, k + 1)) << 16;
  target[k >> 1] = word;
}

LONE_KERNEL void give(
    const u32 *source, i64 steps, REAL *target, i64 row, i64 step, const i64 *lengths, i64 reverse, i64 N, i64 T,
    i64 F, const REAL *scale) {
  i64 k = thread_of_all();
  if (k >= N * T * F) return;
  Place at = place_of(k, T, F);
  i64 valid = valid_steps(lengths, at.n, steps);
  REAL value = 0;
  if (at.t < valid) value = widened(source, (at.n * steps + walked(at.t, valid, reverse)) * F + at.f);
  target[at.n * row + at.t * step + at.f] = scale ? value / *scale : value;
}

LONE_KERNEL void pack(
    const REAL *weight_ih, i64 ih, const REAL *weight_hh, i64 hh, const REAL *bias, i64 b, i64 gap,
    const REAL *bias_hn, i64 size, u32 *space) {
  i64 k = 2 * thread_of_all();
  if (k >= size) return;
  u32 word = narrowed(packed(weight_ih, ih, weight_hh, hh, bias, b, gap, bias_hn, k));
  if (k + 1 < size) word |= narrowed(packed(weight_ih, ih, weight_hh, hh, bias, b, gap, bias_hn, k + 1)) << 16;
  space[k >> 1] = word;
}

LONE_KERNEL void unpack(
    const u32 *space, REAL *weight_ih, i64 ih, REAL *weight_hh, i64 hh, REAL *bias, i64 b, i64 gap, REAL *bias_hn,
    i64 size, i64 accumulate, const REAL *scale) {
  i64 k = thread_of_all();
  if (k >= size) return;
  REAL *parameter = parameter_of(weight_ih, ih, weight_hh, hh, bias, b, gap, bias_hn, k);
  if (!parameter) return;
  REAL value = scale ? widened(space, k) / *scale : widened(space, k);
  *parameter = accumulate ? *parameter + value : value;
}

// The greatest of a number that is zero at least and the size of another, which may be NaN: it is left out.
struct Greatest {
  DEVICE REAL of(REAL so_far, REAL other) { return fabs(other) > so_far ? fabs(other) : so_far; }
};

// parts (grid,): the size of the greatest gradient that each block of THREADS sees; of a greatest number the order is
// no matter.
KERNEL void greatest_gradients(
    const REAL *d_outputs, i64 row, i64 step, i64 feature, const i64 *lengths, i64 N, i64 T, i64 H, const REAL *dh,
    i64 dh_row, i64 dh_unit, const REAL *dc, i64 dc_row, i64 dc_unit, REAL *parts) {
  SHARED(REAL, found, THREADS);
  REAL most = 0;
  i64 all = grid_width() * block_width();
  if (d_outputs)
    for (i64 k = thread_of_all(); k < N * T * H; k += all)
      most = Greatest::of(most, taken(d_outputs, row, step, feature, lengths, 0, T, H, k));
  for (i64 k = thread_of_all(); k < N * H; k += all) {
    if (dh) most = Greatest::of(most, dh[k / H * dh_row + k % H * dh_unit]);
    if (dc) most = Greatest::of(most, dc[k / H * dc_row + k % H * dc_unit]);
  }
  found[thread_x()] = most;
  block_joined<Greatest>(found, 1, thread_x(), THREADS, 1);
  if (thread_x() == 0) parts[block_x()] = found[0];
}

// The power of two by which gradients are multiplied before they become float16, so that neither the small ones among
// them vanish nor sums over a batch overflow: it brings the greatest of the parts (count,) to about `wanted`. One block
// of THREADS, which are at least as many as the parts.
KERNEL void gradient_scale(const REAL *parts, i64 count, REAL wanted, REAL *scale) {
  SHARED(REAL, found, THREADS);
  found[thread_x()] = thread_x() < count ? parts[thread_x()] : 0;
  block_joined<Greatest>(found, 1, thread_x(), THREADS, 1);
  if (thread_x()) return;
  Bits b;
  b.value = float(wanted / found[0]);
  b.bits &= 0x7f800000u;  // the exponent alone
  bool usable = found[0] > 0 && b.bits > 0 && b.bits < 0x7f800000u;
  *scale = usable ? REAL(b.value) : REAL(1);
}
