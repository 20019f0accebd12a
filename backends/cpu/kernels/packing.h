// The order in which the weights of a cell stand for the forward walk.
#pragma once

#include "cells.h"
#include "memory.h"
#include "tiles.h"

namespace {

template <class Stored> struct Packed {
  Stored *gates;  // [unit tile][panel][D + H][width of the panel]
  real *bias;     // [unit tile][C]
};

template <class Stored, int C> INLINE Packed<Stored> packed_in(Carver &memory, long D, long H) {
  const long K = whole<Stored>(D) + whole<Stored>(H);
  return {memory.take<Stored>(tiles(H) * K * C), memory.take(tiles(H) * C)};
}

template <class Cell, class Stored>
void pack_tile(const real *weight_ih, const real *weight_hh, const real *bias, long D, long H, long u,
               Packed<Stored> packed) {
  constexpr int C = Cell::C;
  static_assert(one_sum_a_gate<Cell>(), "a gate's rows of both matrices go into the same columns: see cell.h");
  const long K_x = whole<Stored>(D), K = K_x + whole<Stored>(H), units = smaller(TILE, H - u * TILE);
  Stored *gates = packed.gates + u * K * C;
  for (int g = 0; g < Cell::GATES; ++g) {
    const long row = g * H + u * TILE;
    pack_rows<C>(weight_ih + row * D, D, units, gates, K, g * TILE);
    pack_rows<C>(weight_hh + row * H, H, units, gates + K_x * GatePanels<C>::WIDTH, K, g * TILE);
    read_tile(bias + row, units, packed.bias + u * C + g * TILE);
  }
}

template <class Cell, class Stored>
void pack_all(const void *weight_ih, const void *weight_hh, const void *bias, long D, long H, void *to) {
  Carver memory{(char *)to};
  const Packed<Stored> packed = packed_in<Stored, Cell::C>(memory, D, H);
  for (long u = 0; u < tiles(H); ++u)
    pack_tile<Cell>((const real *)weight_ih, (const real *)weight_hh, (const real *)bias, D, H, u, packed);
}

}  // namespace
