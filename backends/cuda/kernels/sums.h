// What the threads of a block have together, in an order that depends on nothing but their number: the same bits every
// run.
#pragma once

#include "port.h"

struct Sum {
  template <typename Number>
  DEVICE Number of(Number a, Number b) { return a + b; }
};

// values (count, width): the first `left` of each row become what all of the row are, `left` apart, joined. The width
// is the number of the block's threads, and both are powers of two. Each thread has written its own column, which is
// `own`; all may read the results when this returns.
template <typename Join, typename Number>
DEVICE void block_joined(Number* values, i64 count, i64 own, i64 width, i64 left) {
  for (i64 half = width / 2; half >= left; half /= 2) {
    block_sync();
    for (i64 row = 0; row < count && own < half; row++) {
      Number* at = values + row * width + own;
      at[0] = Join::of(at[0], at[half]);
    }
  }
  block_sync();
}

// values (count, width) for a block of one dimension: the first of each row becomes the sum of the row.
DEVICE void block_sums(double* values, i64 count) {
  block_joined<Sum>(values, count, thread_x(), block_width(), 1);
}
