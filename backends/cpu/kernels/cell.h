// What a cell is to the two walks.
//
// A cell is a struct in a file of its own. It has
//   NAME           the name of its file in xlstm/cells
//   GATES          how many row blocks of H the weights and the bias have, as there
//   SECOND_BIAS    the name of the parameter (H,) at which blocks start that are fed by h alone; null where there are
//                  none
//   HAS_C          whether the state has a c beside the h
//   H_PASSES       whether part of the new h is the old one, past the products
//   COLUMNS        one entry for each block of 16 columns that a unit tile has in z: which products are summed into it,
//                  and which gate's rows of the weights and of the bias these are
//   C              the number of these columns
//   activate       one step forward: the gates and the new state, from z and the state before
//   differentiate  one step backward: dz, and the gradient of what of the state before passes the products by, from the
//                  gradients of the new state
// The last two work on one tile of 16 units for some rows, at most MR of them forward; lstm.h says what each argument
// is. `activate` may overwrite z.
#pragma once

#include "matrix.h"

namespace {

// Into a block of columns goes the input's product W·x, the recurrent product R·h, or their sum. A gate whose two
// products are not simply added has a block for each.
enum class Fed { BY_X, BY_H, BY_BOTH };

struct Block {
  Fed fed;
  int gate;
};

template <int BLOCKS> constexpr int width(const Block (&)[BLOCKS]) { return BLOCKS * TILE; }

// The columns of a unit tile that take part in one of the two products: all but the blocks of the OTHER one alone. They
// stand side by side, so that a product, forward or backward, runs over them and over nothing else.
template <class Cell, Fed OTHER> struct Span {
  static constexpr int C = Cell::C;

 private:
  static constexpr int blocks_before() {
    int block = 0;
    while (Cell::COLUMNS[block].fed == OTHER) ++block;
    return block;
  }
  static constexpr int blocks() {
    int count = 0;
    for (const Block &block : Cell::COLUMNS) count += block.fed != OTHER;
    return count;
  }
  static constexpr bool side_by_side() {
    for (int k = 0; k < blocks(); ++k)
      if (Cell::COLUMNS[blocks_before() + k].fed == OTHER) return false;
    return true;
  }
  static_assert(side_by_side(), "a block of the other product between those of this one");

 public:
  static constexpr int FIRST = blocks_before() * TILE, COUNT = blocks() * TILE;

  // The gate of its block `k`.
  static constexpr int gate(int k) { return Cell::COLUMNS[FIRST / TILE + k].gate; }
};

template <class Cell> using ByX = Span<Cell, Fed::BY_H>;
template <class Cell> using ByH = Span<Cell, Fed::BY_X>;

}  // namespace
