// How one block of memory is divided into the arrays of a pass, and what the tape holds.
#pragma once

#include "kernels.h"
#include "matrix.h"

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#endif

namespace {

using namespace xlstm;

// Hands out pieces of one block of memory, each at the start of a cache line. Without a block it only adds them up.
struct Carver {
  char *block;
  size_t used = 0;

  template <class T = real> T *take(long count) {
    T *piece = block ? reinterpret_cast<T *>(block + used) : nullptr;
    used += (count * sizeof(T) + 63) / 64 * 64;
#ifdef __SANITIZE_ADDRESS__  // no piece may be overrun into the next
    if (block) __asan_poison_memory_region(block + used, 128);
    used += 128;
#endif
    return piece;
  }
};

// Tiles of `rows` rows of `width` numbers. They begin some cache lines further apart than they need: at distances of a
// power of two they would all fall into the same few places of the cache.
INLINE long tile_stride(long rows, long width) { return rows * width + (rows >= 512 ? 71 : 7) * TILE; }

// What the forward walk keeps for the backward walk: the tape.
template <class Cell> struct Kept {
  real *x = nullptr, *h = nullptr, *c = nullptr, *c_last = nullptr, *gates = nullptr;
  int32_t *ids = nullptr;
  long x_stride, h_stride, last_stride, gate_stride;

  Kept(const Pass &pass, Carver memory, size_t *bytes = nullptr) {
    const long M = pass.schedule->valid, N = pass.schedule->rows, nt = tiles(pass.H);
    x_stride = tile_stride(M, TILE), h_stride = tile_stride(M, TILE), last_stride = N * TILE;
    gate_stride = tile_stride(M, Cell::C);
    if (pass.vocabulary) ids = memory.take<int32_t>(M);
    else x = memory.take(tiles(pass.D) * x_stride);
    h = memory.take(nt * h_stride);  // h before each step
    gates = memory.take(nt * gate_stride);
    if (Cell::HAS_C) {
      c = memory.take(nt * h_stride);           // c before each step
      c_last = memory.take(nt * last_stride);   // and after each row's last
    }
    if (bytes) *bytes = memory.used;
  }
};

}  // namespace
