// Matrices of weights of fewer bits as they are packed, the activations beside them, their product, z = start + a · W,
// whose sums stay in registers. A packed matrix is [unit tile][group][column][GROUP]: see narrow.h.
#pragma once

#include "narrow.h"

namespace {

template <class Format> INLINE long groups_of(long rows) { return (rows + Format::GROUP - 1) / Format::GROUP; }

template <class Format> struct NarrowMatrix {
  typename Format::Weight *values;  // [unit tile][group][COLUMNS][GROUP]
  real *scale;                      // [unit tile][COLUMNS], where there are scales
  int32_t *offset;                  // so; where the sums begin: minus OFFSET times the sum of a column
  real *factor;                     // of each row, or null: what its activations are multiplied with
};

// Some rows of activations, `stride` apart and filled up with zeros to whole groups.
template <class Format> struct NarrowRows {
  typename Format::Activation *values;
  long stride;
  real *scale;  // of each row, where there are scales

  NarrowRows from(long row) const { return {values + row * stride, stride, scale + (Format::SCALED ? row : 0)}; }
  // What a matrix of `count` rows is multiplied with.
  void convert(long row, const real *numbers, long count, const NarrowMatrix<Format> &m) const {
    Format::convert(numbers, m.factor, count, stride, values + row * stride, scale + (Format::SCALED ? row : 0));
  }
};

// Vectors of a block of R rows, of a product of S vectors: all of them for a single row, for which so many sums do not
// wait for each other; as many as in other products for more.
constexpr int vectors_of(int S, int R) { return R == 1 && S <= 8 ? S : S < NV ? S : NV; }

// R rows times V vectors of columns, of the SPAN columns of a tile. `z` are rows of COLUMNS numbers; with start_stride
// 0 all rows start alike. Not inlined, as gate_panel.
template <class Format, int COLUMNS, int SPAN, int R, int V>
NOINLINE void narrow_panel(NarrowRows<Format> a, long groups, NarrowMatrix<Format> m, const real *start,
                           long start_stride, real *z) {
  using Sum = typename Format::Sum;
  // A sum waits for the one before it: few sums are taken in several parts, which do not wait for each other.
  constexpr int PARTS = R * V >= 6 ? 1 : R * V >= 3 ? 2 : R * V == 2 ? 4 : 8, STEP = SPAN * Format::GROUP;
  Sum sums[PARTS][R][V];
  UNROLL
  for (int r = 0; r < R; ++r) {
    UNROLL
    for (int j = 0; j < V; ++j) {
      if constexpr (Format::SCALED) sums[0][r][j] = (Sum)load_words(m.offset + j * W);
      else sums[0][r][j] = load(start + r * start_stride + j * W);
      UNROLL
      for (int p = 1; p < PARTS; ++p) sums[p][r][j] = Sum{};
    }
  }
  const auto *activations = a.values;
  const auto *weights = m.values;
  const auto next = [&](Sum (&part)[R][V]) __attribute__((always_inline)) {
    Format::multiply(part, activations, a.stride, weights);
    activations += Format::GROUP, weights += STEP;
  };
  if constexpr (PARTS == 1) {
    long g = 0;
    do next(sums[0]);  // one group at least: with a way around the loop, GCC keeps sums on the stack outside of it
    while (++g < groups);
  } else {
    for (long g = groups / PARTS; g > 0; --g) {
      UNROLL
      for (int p = 0; p < PARTS; ++p) next(sums[p]);
    }
    for (long g = groups % PARTS; g > 0; --g) next(sums[0]);
  }
  UNROLL
  for (int r = 0; r < R; ++r) {
    UNROLL
    for (int j = 0; j < V; ++j) {
      Sum sum = sums[0][r][j];
      UNROLL
      for (int p = 1; p < PARTS; ++p) sum += sums[p][r][j];
      if constexpr (Format::SCALED)
        store(z + r * COLUMNS + j * W,
              load(start + r * start_stride + j * W) +
                  __builtin_convertvector((mask)sum, vec) * (load(m.scale + j * W) * a.scale[r]));
      else store(z + r * COLUMNS + j * W, sum);
    }
  }
}

template <class Format, class Number>
INLINE real scale_of_weights([[maybe_unused]] Number number, [[maybe_unused]] long K) {
  if constexpr (Format::SCALED) return scale_of(number, K, Format::LARGEST);
  else return 0;
}

// The product of a matrix that goes into the columns of `Span`: see cell.h.
template <class Format, class Span> struct NarrowProduct {
  static constexpr int C = Span::C, FIRST = Span::FIRST, COUNT = Span::COUNT;

  // z (rows, C) = start + a · W for rows ≤ MR, of K activations each; columns of no product are start.
  static void compute(long rows, NarrowRows<Format> a, long K, NarrowMatrix<Format> m, const real *start,
                      long start_stride, real *z) {
    if (start != z)
      for (long r = 0; r < rows; ++r) copy_others(start + r * start_stride, z + r * C);
    WITH_ROWS(rows, compute_rows<R>(a, groups_of<Format>(K), m, start + FIRST, start_stride, z + FIRST))
  }

  // z (C) = start + a row of the matrix.
  static void add_row(long row, NarrowMatrix<Format> m, const real *start, real *z) {
    copy_others(start, z);
    for (int j = 0; j < COUNT; j += W) {
      vec weight = Format::value(m.values + (row / Format::GROUP * COUNT + j) * Format::GROUP, row % Format::GROUP);
      if constexpr (Format::SCALED) weight *= load(m.scale + j) * (m.factor ? m.factor[row] : real(1));
      store(z + FIRST + j, load(start + FIRST + j) + weight);
    }
  }

  static NarrowMatrix<Format> tile(NarrowMatrix<Format> m, long K, long u) {
    m.values += u * groups_of<Format>(K) * COUNT * Format::GROUP;
    if (Format::SCALED) m.scale += u * COUNT, m.offset += u * COUNT;
    return m;
  }

  // Packs unit tile u of the caller's matrix (gates · units, K).
  static void pack(const real *matrix, long K, long units, long u, NarrowMatrix<Format> m) {
    constexpr int G = Format::GROUP;
    for (int column = 0; column < COUNT; ++column) {
      const long unit = u * TILE + column % TILE;
      const real *row = unit < units ? matrix + (Span::gate(column / TILE) * units + unit) * K : nullptr;
      const auto number = [&](long k) { return !row || k >= K ? real(0) : m.factor ? row[k] / m.factor[k] : row[k]; };
      const real scale = scale_of_weights<Format>(number, K);
      int32_t sum = 0;
      for (long g = 0; g < groups_of<Format>(K); ++g) {
        real numbers[G];
        for (int k = 0; k < G; ++k) numbers[k] = number(g * G + k);
        auto *to = m.values + (g * COUNT + column) * G;
        Format::store_group(numbers, scale, to);
        if constexpr (Format::SCALED)
          for (int k = 0; k < G; ++k) sum += to[k];
      }
      if constexpr (Format::SCALED) m.scale[column] = scale, m.offset[column] = -Format::OFFSET * sum;
    }
  }

 private:
  INLINE void copy_others(const real *from, real *to) {
    if constexpr (FIRST > 0) std::memcpy(to, from, FIRST * sizeof(real));
    if constexpr (FIRST + COUNT < C)
      std::memcpy(to + FIRST + COUNT, from + FIRST + COUNT, (C - FIRST - COUNT) * sizeof(real));
  }

  template <int R>
  static void compute_rows(NarrowRows<Format> a, long groups, NarrowMatrix<Format> m, const real *start,
                           long start_stride, real *z) {
    constexpr int V = vectors_of(COUNT / W, R);
    static_assert(COUNT / W % V == 0, "whole blocks of vectors");
    for (int j = 0; j < COUNT; j += V * W) {
      NarrowMatrix<Format> from = m;
      from.values += j * Format::GROUP;
      if (Format::SCALED) from.scale += j, from.offset += j;
      narrow_panel<Format, C, COUNT, R, V>(a, groups, from, start + j, start_stride, z + j);
    }
  }
};

}  // namespace
