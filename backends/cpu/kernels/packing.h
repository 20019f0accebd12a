// The order in which the weights of a cell stand for the forward walk.
#pragma once

#include "cells.h"
#include "gate_panels.h"
#include "memory.h"
#include "tiles.h"

namespace {

template <class Cell> using Panels = GatePanels<ByX<Cell>, ByH<Cell>>;

// The parameters of a cell, as the caller has them.
struct Parameters {
  const real *weight_ih, *weight_hh, *bias, *second_bias;
};

struct Packed {
  real *gates;  // [unit tile], each in the order of GatePanels
  real *bias;   // [unit tile][C]
};

template <class Cell> INLINE Packed packed_in(Carver &memory, long D, long H) {
  const long size = Panels<Cell>::size(D, H);
  return {memory.take(tiles(H) * size), memory.take(tiles(H) * Cell::C)};
}

template <class Cell>
void pack_tile(const Parameters &from, long D, long H, long u, Packed packed) {
  using Panels = ::Panels<Cell>;
  const long units = smaller(TILE, H - u * TILE);
  real *gates = packed.gates + u * Panels::size(D, H);
  for_constants<Cell::C / TILE>([&](auto block) {
    constexpr int B = decltype(block)::value, P = B * TILE / Panels::WIDTH;
    constexpr Fed FED = Cell::COLUMNS[B].fed;
    const long row = Cell::COLUMNS[B].gate * H + u * TILE;
    if constexpr (FED != Fed::BY_H)
      Panels::template pack<ByX<Cell>, B>(from.weight_ih + row * D, D, units, Panels::by_x(gates, P, D, H));
    if constexpr (FED != Fed::BY_X)
      Panels::template pack<ByH<Cell>, B>(from.weight_hh + row * H, H, units, Panels::by_h(gates, P, D, H));
    const real *bias = FED == Fed::BY_H ? from.second_bias + u * TILE : from.bias + row;
    read_tile(bias, units, packed.bias + u * Cell::C + B * TILE);
  });
}

template <class Cell>
void pack_all(const void *weight_ih, const void *weight_hh, const void *bias, const void *second_bias, long D, long H,
              void *to) {
  Carver memory{(char *)to};
  const Packed packed = packed_in<Cell>(memory, D, H);
  const Parameters from = {(const real *)weight_ih, (const real *)weight_hh, (const real *)bias,
                           (const real *)second_bias};
  for (long u = 0; u < tiles(H); ++u) pack_tile<Cell>(from, D, H, u, packed);
}

}  // namespace
