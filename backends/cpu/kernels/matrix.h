// Products in tiles: small blocks of rows and vectors whose sums stay in registers, and the packing of matrices into
// the order in which these blocks read them. Here those of the backward pass; the forward one is in gate_panels.h.
// Included by the files of this folder alone.
//
// Everything that runs over hidden units or features stands in tiles of 16 of them, whatever the instruction set:
// [tile][row][16], a row being one time step of one sequence. So the same memory is read along its rows by every
// product of the forward and the backward pass, and nothing is ever transposed or packed again.
#pragma once

#include "vector.h"

namespace {

constexpr int TILE = 16;
constexpr int NV = (REGISTERS == 32 ? 4 : 2) * W >= TILE ? (REGISTERS == 32 ? 4 : 2) : TILE / W;  // vectors of a panel
constexpr int NR = NV * W;                                                                   // its columns
constexpr int PANEL_TILES = NR / TILE;                                                       // its tiles
// Rows of a block: MR·NV sums, NV columns, a factor and a product fit the registers.
constexpr int MR = REGISTERS >= 2 * NV + 2 ? (REGISTERS - NV - 2) / NV : 1;
static_assert(NR % TILE == 0 && MR >= 1 && MR <= 6, "WITH_ROWS knows up to 6");

INLINE long smaller(long a, long b) { return a < b ? a : b; }
INLINE long tiles(long units) { return (units + TILE - 1) / TILE; }
INLINE long panel_count(long column_tiles) { return (column_tiles + PANEL_TILES - 1) / PANEL_TILES; }

// Calls f(first, rows) for groups of at most MR rows of nearly equal size: a small last group would take almost as long
// as a full one.
template <class F> INLINE void row_groups(long rows, F f) {
  const long groups = (rows + MR - 1) / MR;
  for (long k = 0, first = 0; k < groups; ++k) {
    const long size = rows / groups + (k < rows % groups);
    f(first, size);
    first += size;
  }
}

// Runs the statement with a constant R for the number of rows.
#define WITH_ROWS(rows, ...)                                                   \
  switch (rows) {                                                              \
    case 1: { constexpr int R = 1; __VA_ARGS__; break; }                       \
    case 2: if constexpr (MR >= 2) { constexpr int R = 2; __VA_ARGS__; } break; \
    case 3: if constexpr (MR >= 3) { constexpr int R = 3; __VA_ARGS__; } break; \
    case 4: if constexpr (MR >= 4) { constexpr int R = 4; __VA_ARGS__; } break; \
    case 5: if constexpr (MR >= 5) { constexpr int R = 5; __VA_ARGS__; } break; \
    case 6: if constexpr (MR >= 6) { constexpr int R = 6; __VA_ARGS__; } break; \
  }

// sums[r][FIRST + j] += a[r][k] · b[k][j] for k < n and j < COUNT vectors; the rows of a are STRIDE apart, those of b
// stand one after another.
template <int STRIDE, int FIRST, int COUNT, int R, int V>
INLINE void multiply(vec (&sums)[R][V], const real *a, const real *b, long n) {
  _Pragma("GCC unroll 4")
  for (long k = 0; k < n; ++k, b += COUNT * W) {
    vec columns[COUNT];
    UNROLL
    for (int j = 0; j < COUNT; ++j) {
      columns[j] = load(b + j * W);
      if constexpr (R > 1) KEEP_IN_REGISTER(columns[j]);
    }
    UNROLL
    for (int r = 0; r < R; ++r) {
      const real factor = a[r * STRIDE + k];
      UNROLL
      for (int j = 0; j < COUNT; ++j) sums[r][FIRST + j] += factor * columns[j];
    }
  }
}

// The same for `count` columns of a, which stand in tiles `stride` apart. What only fills up the last tile takes no
// part: 0 · NaN is NaN.
template <int FIRST, int COUNT, int R, int V>
INLINE void multiply_tiles(vec (&sums)[R][V], const real *a, long stride, long count, const real *b) {
  _Pragma("GCC unroll 1")
  for (; count >= TILE; count -= TILE, a += stride, b += TILE * COUNT * W)
    multiply<TILE, FIRST, COUNT>(sums, a, b, TILE);
  if (count > 0) multiply<TILE, FIRST, COUNT>(sums, a, b, count);
}

// ---------------------------------------------------------------- backward: d_input = dz · W

// R rows times one panel, over `count` tiles of STEP gate gradients each, of rows that are STRIDE apart. `out` are the
// rows in the panel's first tile.
template <int STRIDE, int STEP, int R, int V>
NOINLINE void input_panel(const real *dz, long dz_stride, long count, const real *panel, real *out, long out_stride,
                          bool first, bool alike) {
  constexpr int S = TILE / W;
  // A sum waits for the one before it: few sums are taken in several parts, which do not wait for each other. Not where
  // the bits of a row are to be alike among how many rows it ever is.
  constexpr int PARTS = R * V >= 6 ? 1 : R * V >= 3 ? 2 : R * V == 2 ? 4 : 8, EACH = STEP / PARTS;
  vec sums[PARTS][R][V] = {};
  UNROLL
  for (int r = 0; r < R; ++r) {
    UNROLL
    for (int j = 0; j < V; ++j)
      sums[0][r][j] = first ? vec{} : load(out + (j / S) * out_stride + r * TILE + (j % S) * W);
  }
  for (long u = 0; u < count; ++u, dz += dz_stride, panel += STEP * V * W) {
    if (PARTS == 1 || alike) {
      multiply<STRIDE, 0, V>(sums[0], dz, panel, STEP);
    } else {
      _Pragma("GCC unroll 1")  // unrolled, it runs out of registers where there are 16
      for (int k = 0; k < EACH; ++k) {
        UNROLL
        for (int p = 0; p < PARTS; ++p)
          multiply<STRIDE, 0, V>(sums[p], dz + p * EACH + k, panel + (p * EACH + k) * V * W, 1);
      }
    }
  }
  UNROLL
  for (int r = 0; r < R; ++r) {
    UNROLL
    for (int j = 0; j < V; ++j) {
      UNROLL
      for (int p = 1; p < PARTS; ++p) sums[0][r][j] += sums[p][r][j];
      store(out + (j / S) * out_stride + r * TILE + (j % S) * W, sums[0][r][j]);
    }
  }
}

// A matrix (units · gates, columns) in panels of up to PANEL_TILES tiles of its columns: [panel][unit
// tile][STEP][width]. Span says which columns of dz it is multiplied with, and which gate each block of them is.
template <class Span> struct InputPanels {
  static constexpr int STEP = Span::COUNT;
  const real *packed;
  long unit_tiles, column_tiles;

  static long size(long unit_tiles, long column_tiles) { return unit_tiles * STEP * column_tiles * TILE; }

  static long width(long column_tiles, long panel) {
    return smaller(PANEL_TILES, column_tiles - panel * PANEL_TILES);
  }

  // Packs unit tile u of `matrix`; gate g of unit k is its row g · units + k.
  static void pack(const real *matrix, long units, long columns, long u, real *packed) {
    const long unit_tiles = tiles(units), column_tiles = tiles(columns);
    for (long p = 0; p * PANEL_TILES < column_tiles; ++p) {
      const long w = width(column_tiles, p) * TILE, first = p * PANEL_TILES * TILE;
      const long real_w = smaller(w, columns - first);
      real *to = packed + p * unit_tiles * STEP * NR + u * STEP * w;
      for (int b = 0; b < STEP / TILE; ++b) {
        for (long k = u * TILE; k < (u + 1) * TILE; ++k, to += w) {
          const long copied = k < units ? real_w : 0;
          std::memcpy(to, matrix + (Span::gate(b) * units + k) * columns + first, copied * sizeof(real));
          std::memset(to + copied, 0, (w - copied) * sizeof(real));
        }
      }
    }
  }

  // out (rows in tiles) = or += dz · matrix for the unit tiles [u, u + count) and the panels [p0, p1), the last of them
  // first where `turned`. With `alike` a row's bits do not depend on `rows`.
  void compute(long rows, const real *dz, long dz_stride, long u, long count, long p0, long p1, real *out,
               long out_stride, bool first, bool turned, bool alike = false) const {
    for (long k = p0; k < p1; ++k) {
      const long p = turned ? p0 + p1 - 1 - k : k;
      const long w = width(column_tiles, p);
      const real *panel = packed + p * unit_tiles * STEP * NR + u * STEP * w * TILE;
      row_groups(rows, [&](long r, long size) {
        const real *a = dz + u * dz_stride + r * Span::C + Span::FIRST;
        real *o = out + p * PANEL_TILES * out_stride + r * TILE;
        with_width(w, size, a, dz_stride, count, panel, o, out_stride, first, alike);
      });
    }
  }

 private:
  static void with_width(long w, long rows, const real *a, long dz_stride, long count, const real *panel, real *o,
                         long out_stride, bool first, bool alike) {
    constexpr int S = TILE / W;
    if (w == PANEL_TILES) {
      WITH_ROWS(rows, input_panel<Span::C, STEP, R, NV>(a, dz_stride, count, panel, o, out_stride, first, alike))
    } else if constexpr (PANEL_TILES > 1) {
      if (w == 1) {
        WITH_ROWS(rows, input_panel<Span::C, STEP, R, S>(a, dz_stride, count, panel, o, out_stride, first, alike))
      } else if constexpr (PANEL_TILES > 2) {
        if (w == 2) {
          WITH_ROWS(rows, input_panel<Span::C, STEP, R, 2 * S>(a, dz_stride, count, panel, o, out_stride, first, alike))
        } else {
          WITH_ROWS(rows, input_panel<Span::C, STEP, R, 3 * S>(a, dz_stride, count, panel, o, out_stride, first, alike))
        }
      }
    }
  }
};

// ---------------------------------------------------------------- weight gradients: dW = dzᵀ · x

// R gate gradients, of rows that are STRIDE apart, times V vectors of the inputs, summed over `rows` rows. `sums` is
// [R][V·W].
template <int STRIDE, int R, int V>
NOINLINE void weight_block(const real *dz, const real *x, long x_stride, long rows, real *sums_memory, bool first) {
  constexpr int S = TILE / W;
  vec sums[R][V];
  UNROLL
  for (int r = 0; r < R; ++r) {
    UNROLL
    for (int j = 0; j < V; ++j) sums[r][j] = first ? vec{} : load(sums_memory + (r * V + j) * W);
  }
  for (long k = 0; k < rows; ++k) {
    __builtin_prefetch((const void *)((uintptr_t)dz + (k + 16) * STRIDE * sizeof(real)));  // at last beyond the array
    vec columns[V];
    UNROLL
    for (int j = 0; j < V; ++j) {
      columns[j] = load(x + (j / S) * x_stride + k * TILE + (j % S) * W);
      if constexpr (R > 1) KEEP_IN_REGISTER(columns[j]);
    }
    UNROLL
    for (int r = 0; r < R; ++r) {
      const real factor = dz[k * STRIDE + r];
      UNROLL
      for (int j = 0; j < V; ++j) sums[r][j] += factor * columns[j];
    }
  }
  UNROLL
  for (int r = 0; r < R; ++r) {
    UNROLL
    for (int j = 0; j < V; ++j) store(sums_memory + (r * V + j) * W, sums[r][j]);
  }
}

// One of the equal parts into which something is cut.
struct Cut {
  long part, parts;
  long begin(long total) const { return total * part / parts; }
  long end(long total) const { return total * (part + 1) / parts; }
};

// The gate gradients of a unit tile that Span has come in so many groups of MR, the last of which may have fewer.
template <class Span> constexpr long GATE_GROUPS = (Span::COUNT + MR - 1) / MR;

// The gate gradients of a cut of them, times one panel of w tiles: sums is [Span::COUNT][w · 16].
template <class Span, int V>
INLINE void weight_tile(const real *dz, const real *x, long x_stride, long rows, real *sums, bool first, Cut cut) {
  constexpr int LAST = Span::COUNT % MR;
  dz += Span::FIRST;
  const long end = cut.end(GATE_GROUPS<Span>) * MR;
  long r = cut.begin(GATE_GROUPS<Span>) * MR;
  for (; r + MR <= smaller(end, Span::COUNT); r += MR)
    weight_block<Span::C, MR, V>(dz + r, x, x_stride, rows, sums + r * V * W, first);
  if constexpr (LAST != 0)
    if (end > Span::COUNT) weight_block<Span::C, LAST, V>(dz + r, x, x_stride, rows, sums + r * V * W, first);
}

template <class Span>
INLINE void weight_panel(long w, const real *dz, const real *x, long x_stride, long rows, real *sums, bool first,
                         Cut cut) {
  constexpr int S = TILE / W;
  if (w == PANEL_TILES) {
    weight_tile<Span, NV>(dz, x, x_stride, rows, sums, first, cut);
  } else if constexpr (PANEL_TILES > 1) {
    if (w == 1) weight_tile<Span, S>(dz, x, x_stride, rows, sums, first, cut);
    else if constexpr (PANEL_TILES > 2) {
      if (w == 2) weight_tile<Span, 2 * S>(dz, x, x_stride, rows, sums, first, cut);
      else weight_tile<Span, 3 * S>(dz, x, x_stride, rows, sums, first, cut);
    }
  }
}

INLINE void write_sums(const real *sums, long count, real *to, bool accumulate) {
  if (accumulate)
    for (long j = 0; j < count; ++j) to[j] += sums[j];
  else
    std::memcpy(to, sums, count * sizeof(real));
}

// Writes the sums of one panel to rows of the gradient (gates · units, columns), or adds them: gate g of unit k is row
// g · units + k.
template <class Span>
INLINE void write_weight_panel(const real *sums, long w, long u, long units, long column, long columns, real *gradient,
                               bool accumulate) {
  const long width = w * TILE, copied = smaller(width, columns - column), last = smaller(TILE, units - u * TILE);
  for (int b = 0; b < Span::COUNT / TILE; ++b)
    for (long k = 0; k < last; ++k) {
      real *to = gradient + (Span::gate(b) * units + u * TILE + k) * columns + column;
      const real *from = sums + (b * TILE + k) * width;
      write_sums(from, copied, to, accumulate);
    }
}

}  // namespace
