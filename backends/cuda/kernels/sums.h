// Sums over the threads of a block, in an order that depends on nothing but their number: the same bits every run.
#pragma once

#include "port.h"

// values[0] becomes the sum of the values of all threads of a block in one dimension, whose width is a power of two.
// Each thread has written its own; all may read the sum when this returns.
DEVICE void block_sum(double* values) {
  for (i64 half = block_width() / 2; half > 0; half /= 2) {
    block_sync();
    if (thread_x() < half) values[thread_x()] += values[thread_x() + half];
  }
  block_sync();
}
