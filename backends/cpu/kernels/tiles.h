// How rows of the caller's arrays become tiles of 16 numbers, and tiles rows again.
#pragma once

#include "kernels.h"
#include "matrix.h"

namespace {

using namespace xlstm;

// One tile of a row: `count` numbers (16, but in the last tile) and zeros.
INLINE void read_tile(const real *from, long count, real *to) {
  if (count >= TILE) {
    std::memcpy(to, from, TILE * sizeof(real));
  } else {
    for (long k = 0; k < TILE; ++k) to[k] = k < count ? from[k] : real(0);
  }
}
INLINE void write_tile(const real *from, long count, real *to) {
  if (count >= TILE) std::memcpy(to, from, TILE * sizeof(real));
  else
    for (long k = 0; k < count; ++k) to[k] = from[k];
}

// Rows [begin, end) of a matrix of `columns` columns, into tiles that begin `stride` apart.
INLINE void read_rows(const real *matrix, long columns, long begin, long end, real *to, long stride) {
  for (long r = begin; r < end; ++r)
    for (long k = 0; k < columns; k += TILE)
      read_tile(matrix + r * columns + k, columns - k, to + (k / TILE) * stride + r * TILE);
}

// What only fills up the last unit tile is held at zero, so that nothing of it can turn into NaN.
template <int C> INLINE void clear_padding(real *rows_of_gates, long rows, long units) {
  if (units >= TILE) return;
  for (long r = 0; r < rows; ++r)
    for (int g = 0; g < C / TILE; ++g)
      for (long k = units; k < TILE; ++k) rows_of_gates[r * C + g * TILE + k] = 0;
}

// The features of a task's rows at step t, into the tiles at `to` (its row of that step).
INLINE void pack_input(const Task &task, long t, long direction, const real *x, long D, real *to, long stride) {
  for (long b = 0; b < task.active[t]; ++b) {
    const real *from = x + (task.origin[b] + direction * t) * D;
    for (long k = 0; k < D; k += TILE) read_tile(from + k, D - k, to + (k / TILE) * stride + b * TILE);
  }
}

}  // namespace
