// Sums over the threads of a block, in an order that depends on nothing but their number: the same bits every run.
#pragma once

#include "port.h"

// values (count, width): the first of each row becomes the sum of the row. The width is that of the block, which has one
// dimension, and a power of two. Each thread has written its own column; all may read the sums when this returns.
DEVICE void block_sums(double* values, i64 count) {
  for (i64 half = block_width() / 2; half > 0; half /= 2) {
    block_sync();
    for (i64 row = 0; row < count && thread_x() < half; row++) {
      double* own = values + row * block_width() + thread_x();
      own[0] += own[half];
    }
  }
  block_sync();
}
