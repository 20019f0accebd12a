// One step of an optimiser on a flat buffer, with the clipping of the gradients before it: the formulas of
// xlstm/optim.py. The norm never comes to the host.
#include "sums.h"

#define THREADS 256

// Squares are summed in three ranges, so that none overflows and none is lost (Blue, "A portable Fortran program to
// find the Euclidean norm of a vector", 1978): large numbers are scaled down first, small ones up. The factors are
// powers of two. A float32 is always of the middle range.
#define LARGE 0x1p486
#define SMALL 0x1p-511
#define DOWN 0x1p-538
#define UP 0x1p537

// sums (3, grid): what each block has of the large, middle and small squares. NaN goes to the middle.
KERNEL void squares(const REAL* gradients, double* sums, i64 count) {
  SHARED(double, parts, 3 * THREADS);
  double l = 0, m = 0, s = 0;
  for (i64 k = thread_of_all(); k < count; k += grid_width() * block_width()) {
    double a = fabs(double(gradients[k]));
    if (a > LARGE) {
      a *= DOWN;
      l += a * a;
    } else if (a < SMALL) {
      a *= UP;
      s += a * a;
    } else {
      m += a * a;
    }
  }
  parts[thread_x()] = l;
  parts[THREADS + thread_x()] = m;
  parts[2 * THREADS + thread_x()] = s;
  block_sums(parts, 3);
  if (thread_x() < 3) sums[thread_x() * grid_width() + block_x()] = parts[thread_x() * THREADS];
}

// factor (2,): what all gradients are multiplied with, one after the other, so that their norm is at most max_norm: a
// power of two that brings them into the middle range, and the rest. Both are 1 where the norm is not larger, and where
// a gradient is infinite or NaN. One block, of at least as many threads as `squares` had blocks.
KERNEL void clipping(const double* sums, double* factor, i64 blocks, REAL max_norm) {
  SHARED(double, parts, 3 * THREADS);
  for (i64 range = 0; range < 3; range++)
    parts[range * THREADS + thread_x()] = thread_x() < blocks ? sums[range * blocks + thread_x()] : 0;
  block_sums(parts, 3);
  if (thread_x() != 0) return;
  double l = parts[0], m = parts[THREADS], s = parts[2 * THREADS], scale = 1, sum = m + s / UP / UP;
  if (l > 0) {
    scale = DOWN;
    sum = l + m * DOWN * DOWN;
  } else if (m == 0) {
    scale = UP;
    sum = s;
  }
  double root = sqrt(sum);  // the norm times the scale
  bool longer = isfinite(l) && isfinite(m) && root > max_norm * scale;
  factor[0] = longer ? scale : 1;
  factor[1] = longer ? max_norm / root : 1;
}

// In double: the factor of a very large gradient is too small for a float.
DEVICE REAL clipped(REAL gradient, const double* factor) {
  return factor == nullptr || factor[1] == 1 ? gradient : REAL(gradient * factor[0] * factor[1]);
}

// A gradient with that of the penalty.
DEVICE REAL penalised(REAL gradient, REAL penalty, REAL decayed, REAL parameter) {
  return penalty == 0 ? gradient : gradient + penalty * (decayed * parameter);
}

LONE_KERNEL void update_sgd(
    REAL* parameters, const REAL* gradients, const REAL* decayed, REAL* velocity, const double* factor, i64 count,
    REAL rate, REAL momentum, REAL penalty) {
  i64 k = thread_of_all();
  if (k >= count) return;
  REAL p = parameters[k], g = penalised(clipped(gradients[k], factor), penalty, decayed[k], p);
  REAL v = velocity[k] * momentum - rate * g;
  velocity[k] = v;
  parameters[k] = p + v;
}

// rate and epsilon have the corrections for moments that started at zero; decay is that of "adamw".
LONE_KERNEL void update_adam(
    REAL* parameters, const REAL* gradients, const REAL* decayed, REAL* mean, REAL* square, const double* factor,
    i64 count, REAL rate, REAL beta_1, REAL rest_1, REAL beta_2, REAL rest_2, REAL epsilon, REAL penalty, REAL decay) {
  i64 k = thread_of_all();
  if (k >= count) return;
  REAL p = parameters[k], g = penalised(clipped(gradients[k], factor), penalty, decayed[k], p);
  REAL m = mean[k] * beta_1 + rest_1 * g, s = square[k] * beta_2 + rest_2 * (g * g);
  mean[k] = m;
  square[k] = s;
  if (decay != 0) p -= decay * (decayed[k] * p);
  parameters[k] = p - rate * (m / (sqrt(s) + epsilon));
}
