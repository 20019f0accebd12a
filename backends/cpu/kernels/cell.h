// What a cell is to the two walks.
//
// A cell is a struct in a file of its own. It has
//   NAME           the name of its file in xlstm/cells
//   GATES          how many row blocks of H the weights and the bias have, as there
//   HAS_C          whether the state has a c beside the h
//   COLUMNS        which products are summed into z: one entry for each block of 16 columns that a unit tile has in z
//   C              the number of these columns
//   activate       one step forward: the gates and the new state, from z and the state before
//   differentiate  one step backward: dz and the gradient of the c before, from the gradients of the new state
// The last two work on one tile of 16 units for some rows; lstm.h says what each argument is. Neither is given the h of
// the step before: a cell whose new h is partly the old one, as in a GRU, needs that argument in both walks.
#pragma once

#include "matrix.h"

namespace {

// Into a block of columns goes the input's product W·x, the recurrent product R·h, or their sum.
enum class Fed { BY_X, BY_H, BY_BOTH };

template <int BLOCKS> constexpr int width(const Fed (&)[BLOCKS]) { return BLOCKS * TILE; }

// Both walks and the packing add the two products of a gate in one sum, in one block of columns: they assert this of
// each cell. The candidate of a GRU keeps its two products apart, for a gate multiplies the second one: such a cell
// declares a block BY_X and a block BY_H for that gate, and whoever writes it finds by this assertion what has to learn
// to leave a product out.
template <class Cell> constexpr bool one_sum_a_gate() {
  for (Fed fed : Cell::COLUMNS)
    if (fed != Fed::BY_BOTH) return false;
  return Cell::C == Cell::GATES * TILE;
}

}  // namespace
