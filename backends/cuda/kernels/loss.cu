// The cross-entropies of xlstm/losses.py, with their gradients and how many rows are right, in one launch.
#include "sums.h"

#define THREADS 64
#define LANES 32
#define ROWS 8

// The part that a block of rows writes of sums (grid, 2): Σ weight · loss, and the number of rows that are right.

// One logit for the class 1. logits (rows,), labels 0 or 1; d_logits null where nobody wants them.
KERNEL void logistic(
    const REAL* logits, const i64* labels, const REAL* weights, REAL* d_logits, double* sums, i64 rows) {
  SHARED(double, parts, 2 * THREADS);
  double *loss = parts, *right = parts + THREADS;
  i64 row = thread_of_all(), t = thread_x();
  loss[t] = right[t] = 0;
  if (row < rows) {
    REAL z = logits[row], target = REAL(labels[row]), weight = weights[row];
    // log(1 + exp(z)) - target·z, with an exponential that cannot overflow.
    loss[t] = weight * ((z > 0 ? z : z == z ? REAL(0) : z) - target * z + log1p(exp(-fabs(z))));
    right[t] = (z > 0) == (labels[row] == 1);
    if (d_logits != nullptr) d_logits[row] = weight / rows * (sigmoid(z) - target);
  }
  block_sums(parts, 2);
  if (t < 2) sums[2 * block_x() + t] = parts[t * THREADS];
}

// A logit for each class: logits (rows, classes). LANES threads share a row, ROWS rows a block. A label that is no
// class adds nothing to the loss.
KERNEL void softmax(
    const REAL* logits, const i64* labels, const REAL* weights, REAL* d_logits, double* sums, i64 rows, i64 classes) {
  SHARED(REAL, largest, ROWS * LANES);
  SHARED(i64, place, ROWS * LANES);
  SHARED(double, loss, ROWS);
  SHARED(double, right, ROWS);
  i64 lane = thread_x(), y = thread_y(), own = y * LANES + lane;
  i64 row = block_x() * ROWS + y;
  bool inside = row < rows;
  const REAL* z = logits + (inside ? row : 0) * classes;

  // The largest logit, and the first class that has it. NaN is larger than all, as argmax has it.
  REAL most = z[lane < classes ? lane : 0];
  i64 at = lane < classes ? lane : 0;
  for (i64 k = lane + LANES; k < classes; k += LANES)
    if (z[k] > most || (z[k] != z[k] && most == most)) most = z[k], at = k;
  largest[own] = most;
  place[own] = at;
  for (i64 half = LANES / 2; half > 0; half /= 2) {
    block_sync();
    if (lane >= half) continue;
    REAL other = largest[own + half];
    bool nan = other != other, own_nan = largest[own] != largest[own];
    bool same = nan ? own_nan : other == largest[own];
    bool larger = !own_nan && (nan || other > largest[own]);
    if (larger || (same && place[own + half] < place[own])) largest[own] = other, place[own] = place[own + half];
  }
  block_sync();
  most = largest[y * LANES];
  at = place[y * LANES];
  block_sync();

  REAL sum = 0;
  for (i64 k = lane; k < classes; k += LANES) sum += exp(z[k] - most);
  largest[own] = sum;
  for (i64 half = LANES / 2; half > 0; half /= 2) {
    block_sync();
    if (lane < half) largest[own] += largest[own + half];
  }
  block_sync();
  REAL log_sum = log(largest[y * LANES]);

  i64 label = inside ? labels[row] : 0;
  REAL weight = inside ? weights[row] : 0;
  if (inside && d_logits != nullptr)
    for (i64 k = lane; k < classes; k += LANES)
      d_logits[row * classes + k] = weight / rows * (exp(z[k] - most - log_sum) - REAL(k == label));
  if (lane == 0) {
    bool known = inside && label >= 0 && label < classes;
    loss[y] = known ? -weight * (z[label] - most - log_sum) : 0;
    right[y] = known && at == label;
  }
  block_sync();
  if (own != 0) return;
  double losses = 0, hits = 0;
  for (i64 other = 0; other < ROWS; other++) {
    losses += loss[other];
    hits += right[other];
  }
  sums[2 * block_x()] = losses;
  sums[2 * block_x() + 1] = hits;
}
