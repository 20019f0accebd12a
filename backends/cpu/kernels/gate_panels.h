// The forward product, z = start + x · W + h · R: the packed weights of a tile of 16 units in panels, and the blocks of
// rows that are multiplied with them. Included by the files of this folder alone.
#pragma once

#include <utility>

#include "matrix.h"

namespace {

// One panel of V vectors for R rows: the X_COUNT from X_FIRST on are fed by x, the H_COUNT from H_FIRST on by h. `x`
// and `h` point to the rows in their first tile; `by_x` is [D][X_COUNT·W], `by_h` is [H][H_COUNT·W]. `start` and `z`
// are rows of COLUMNS numbers; with start_stride 0 all rows start alike.
//
// Not inlined, and ending in memory that another function reads: inlined into it, GCC runs out of registers and keeps
// the sums on the stack.
template <int COLUMNS, int R, int V, int X_FIRST, int X_COUNT, int H_FIRST, int H_COUNT>
NOINLINE void gate_panel([[maybe_unused]] const real *x, [[maybe_unused]] long x_stride, [[maybe_unused]] long D,
                         [[maybe_unused]] const real *h, [[maybe_unused]] long h_stride, [[maybe_unused]] long H,
                         [[maybe_unused]] const real *by_x, [[maybe_unused]] const real *by_h, const real *start,
                         long start_stride, real *z) {
  vec sums[R][V];
  UNROLL
  for (int r = 0; r < R; ++r) {
    UNROLL
    for (int j = 0; j < V; ++j) sums[r][j] = load(start + r * start_stride + j * W);
  }
  if constexpr (X_COUNT > 0) multiply_tiles<X_FIRST, X_COUNT>(sums, x, x_stride, D, by_x);
  if constexpr (H_COUNT > 0) multiply_tiles<H_FIRST, H_COUNT>(sums, h, h_stride, H, by_h);
  UNROLL
  for (int r = 0; r < R; ++r) {
    UNROLL
    for (int j = 0; j < V; ++j) store(z + r * COLUMNS + j * W, sums[r][j]);
  }
}

// Calls f with the constants 0 to COUNT - 1.
template <class F, int... K> INLINE void for_constants(std::integer_sequence<int, K...>, F f) {
  (f(std::integral_constant<int, K>{}), ...);
}
template <int COUNT, class F> INLINE void for_constants(F f) {
  for_constants(std::make_integer_sequence<int, COUNT>{}, f);
}

// The gates of a tile of 16 units, in panels. X and H are the spans of its columns that are fed by x and by h: see
// cell.h.
//
// The weights of a tile stand as [panel]{[K_x][columns that x feeds], [K_h][columns that h feeds]}, K_x and K_h being D
// and H.
template <class X, class H> struct GatePanels {
  static constexpr int C = X::C, V = NV * W < C ? NV : C / W, WIDTH = V * W, COUNT = C / WIDTH;

  // How many inputs' weights of a panel are half of a first-level cache of so many bytes: the rest is for the rows.
  static long inputs_of(long first_level) {
    const long inputs = first_level / 2 / long(WIDTH * sizeof(real)) / TILE * TILE;
    return inputs > TILE ? inputs : TILE;
  }

  // What a span has of panel p: its first column in the panel, how many there, and how many in the panels before.
  template <class Span> static constexpr int first(int p) {
    const int column = Span::FIRST - p * WIDTH;
    return column < 0 ? 0 : column < WIDTH ? column : WIDTH;
  }
  template <class Span> static constexpr int count(int p) {
    const int end = Span::FIRST + Span::COUNT - p * WIDTH;
    return (end < 0 ? 0 : end < WIDTH ? end : WIDTH) - first<Span>(p);
  }
  template <class Span> static constexpr int before(int p) {
    return p == 0 ? 0 : before<Span>(p - 1) + count<Span>(p - 1);
  }

  static long size(long K_x, long K_h) { return K_x * X::COUNT + K_h * H::COUNT; }

  // Of a tile's weights those of panel p that are multiplied with x, and those with h.
  template <class Number> static Number *by_x(Number *weights, int p, long K_x, long K_h) {
    return weights + before<X>(p) * K_x + before<H>(p) * K_h;
  }
  template <class Number> static Number *by_h(Number *weights, int p, long K_x, long K_h) {
    return weights + before<X>(p + 1) * K_x + before<H>(p) * K_h;
  }

  // A sum waits for the one before it, and the processor has work for about 8 of them meanwhile. Up to FEW rows have no
  // more than half as many in a panel: theirs are summed for several panels at a time, of one unit tile and, where that
  // is not enough, of neighbours. The order of each sum stays as it is.
  static constexpr int FEW = 4 / V < MR ? 4 / V : MR;
  static constexpr int panels_together(int rows) {
    return rows * V > 4 ? 1 : rows * V > 2 ? 2 : rows * V > 1 ? 4 : 8;
  }
  // The most unit tiles of so many rows.
  static constexpr int tiles_together(int rows) {
    return panels_together(rows) > COUNT ? panels_together(rows) / COUNT : 1;
  }

  // z = start + x · W + h · R: D and `units` are how many columns of x and h take part. `start` and z hold rows of C
  // numbers; with start_stride 0 all rows start alike.
  struct Product {
    const real *x;
    long x_stride, D;
    const real *h;
    long h_stride, units;
    const real *weights;  // of the first unit tile; those of the next follow
    long K_x, K_h;
    const real *start;
    long start_stride, start_tiles;  // from row to row, and from unit tile to unit tile
    real *z;                         // [unit tile][row][C]
    long x_before = 0, h_before = 0;  // rows of the weights that the blocks of inputs before this one took
  };

  // R rows of TILES unit tiles, all inputs at once: several tiles only for R ≤ FEW, and at most tiles_together(R).
  template <int R, int TILES> static void compute_group(const Product &p) {
    if constexpr (R <= FEW) {
      constexpr int AT_ONCE = panels_together(R) / TILES, PANELS = AT_ONCE < COUNT ? AT_ONCE : COUNT;
      static_assert(COUNT % PANELS == 0, "whole groups of panels");
      for_constants<COUNT / PANELS>([&](auto n) { few_panels<R, TILES, decltype(n)::value * PANELS, PANELS>(p); });
    } else {
      static_assert(TILES == 1);
      for_constants<COUNT>([&](auto panel) { one_panel<R, decltype(panel)::value>(p, 0); });
    }
  }

  // A unit tile. `done(first, rows)` is called for groups of at most MR rows, when their z is whole and near.
  //
  // Of more rows in blocks of `most` inputs, each panel for all rows: the block of a panel then stays in the
  // first-level cache. The order of the sums is that without blocks.
  template <class Done> static void compute(long rows, const Product &whole, long most, Done done) {
    if (rows <= MR) {
      WITH_ROWS(rows, compute_group<R, 1>(whole))
      return done(0, rows);
    }
    Product p = whole;
    const long D = p.D, units = p.units, K = D + units, blocks = K > most ? (K + most - 1) / most : 1;
    const long block = blocks == 1 ? tiles(D) * TILE + units : tiles((K + blocks - 1) / blocks) * TILE;
    do {
      p.D = smaller(D - p.x_before, block), p.units = smaller(units - p.h_before, block - tiles(p.D) * TILE);
      const bool last = p.x_before + p.D == D && p.h_before + p.units == units;
      for_constants<COUNT>([&](auto panel) {
        constexpr int P = decltype(panel)::value;
        row_groups(rows, [&](long r, long size) {
          WITH_ROWS(size, one_panel<R, P>(p, r))
          if (last && P == COUNT - 1) done(r, size);
        });
      });
      p.x_before += p.D, p.h_before += p.units;
      p.x += p.D / TILE * p.x_stride, p.h += p.units / TILE * p.h_stride;
      p.start = p.z, p.start_stride = C;
    } while (p.x_before < D || p.h_before < units);
  }

  // z (C) = start + row `k` of W: the product with an x that is 1 in one place.
  static void choose(const real *weights, long K_x, long K_h, long k, const real *start, real *z) {
    for_constants<COUNT>([&](auto panel) {
      constexpr int P = decltype(panel)::value, F = first<X>(P), N = count<X>(P);
      const real *row = by_x(weights, P, K_x, K_h) + k * N - F;
      UNROLL
      for (int j = 0; j < WIDTH; j += W) {
        const vec from = load(start + P * WIDTH + j);
        store(z + P * WIDTH + j, j >= F && j < F + N ? load(row + j) + from : from);
      }
    });
  }

  // Packs the 16 columns of block B that Span has, from 16 rows of `matrix` (K columns), of which `rows` exist. `part`
  // is what by_x or by_h gives for the panel that B is in.
  template <class Span, int B>
  static void pack(const real *matrix, long K, long rows, real *part) {
    constexpr int P = B * TILE / WIDTH;
    pack_rows<count<Span>(P)>(matrix, K, rows, part, B * TILE - P * WIDTH - first<Span>(P));
  }

 private:
  // Panel P for R rows from row r on.
  template <int R, int P> static void one_panel(const Product &p, long r) {
    constexpr int XF = first<X>(P) / W, XN = count<X>(P) / W, HF = first<H>(P) / W, HN = count<H>(P) / W;
    gate_panel<C, R, V, XN ? XF : 0, XN, HN ? HF : 0, HN>(
        p.x + r * TILE, p.x_stride, p.D, p.h + r * TILE, p.h_stride, p.units,
        by_x(p.weights, P, p.K_x, p.K_h) + p.x_before * XN * W, by_h(p.weights, P, p.K_x, p.K_h) + p.h_before * HN * W,
        p.start + r * p.start_stride + P * WIDTH, p.start_stride, p.z + r * C + P * WIDTH);
  }

  // PANELS panels, from panel P on, of TILES unit tiles, for R rows. Not inlined, as gate_panel.
  template <int R, int TILES, int P, int PANELS> NOINLINE void few_panels(const Product &p) {
    vec sums[TILES * PANELS][R][V];
    UNROLL
    for (int g = 0; g < TILES * PANELS; ++g) {
      UNROLL
      for (int r = 0; r < R; ++r) {
        UNROLL
        for (int j = 0; j < V; ++j)
          sums[g][r][j] = load(p.start + g / PANELS * p.start_tiles + r * p.start_stride +
                               (P + g % PANELS) * WIDTH + j * W);
      }
    }
    const real *weights[TILES * PANELS];
    if (p.D > 0) {
      for_constants<TILES * PANELS>([&](auto g) {
        weights[g] = by_x(p.weights + g / PANELS * size(p.K_x, p.K_h), P + g % PANELS, p.K_x, p.K_h);
      });
      multiply_few<X, P, PANELS>(sums, p.x, p.x_stride, p.D, weights);
    }
    if (p.units > 0) {
      for_constants<TILES * PANELS>([&](auto g) {
        weights[g] = by_h(p.weights + g / PANELS * size(p.K_x, p.K_h), P + g % PANELS, p.K_x, p.K_h);
      });
      multiply_few<H, P, PANELS>(sums, p.h, p.h_stride, p.units, weights);
    }
    UNROLL
    for (int g = 0; g < TILES * PANELS; ++g) {
      UNROLL
      for (int r = 0; r < R; ++r) {
        UNROLL
        for (int j = 0; j < V; ++j)
          store(p.z + (g / PANELS * R + r) * C + (P + g % PANELS) * WIDTH + j * W, sums[g][r][j]);
      }
    }
  }

  // sums[g][r] += a[r] · weights[g] for what the panels have of Span; `columns` columns of a, which stand in tiles
  // `stride` apart. `weights` go on to the rows behind these columns.
  template <class Span, int P, int PANELS, int G, int R>
  INLINE void multiply_few(vec (&sums)[G][R][V], const real *a, long stride, long columns,
                           const real *(&weights)[G]) {
    _Pragma("GCC unroll 1")
    for (; columns > 0; columns -= TILE, a += stride) {
      const long here = smaller(columns, TILE);
      _Pragma("GCC unroll 2")
      for (long k = 0; k < here; ++k) {
        UNROLL
        for (int g = 0; g < G; ++g) {
          const int from = first<Span>(P + g % PANELS) / W, vectors = count<Span>(P + g % PANELS) / W;
          UNROLL
          for (int j = 0; j < V; ++j) {
            if (j < from || j >= from + vectors) continue;
            const vec column = load(weights[g] + (j - from) * W);
            UNROLL
            for (int r = 0; r < R; ++r) sums[g][r][j] += a[r * TILE + k] * column;
          }
          weights[g] += vectors * W;
        }
      }
    }
  }

  // Columns [column, column + 16) of rows of N numbers. Rows that do not exist become 0.
  template <int N> static void pack_rows(const real *matrix, long K, long rows, real *part, int column) {
    UNROLL
    for (int half = 0; half < TILE / W; ++half) {
      real *to = part + column + half * W;
      const real *from = matrix + half * W * K;
      const long here = rows - half * W;
      long k = 0;
      if (here >= W) {
        for (; k + W <= K; k += W) {
          vec block[W];
          UNROLL
          for (int i = 0; i < W; ++i) block[i] = load(from + i * K + k);
          transpose(block);
          UNROLL
          for (int i = 0; i < W; ++i) store(to + (k + i) * N, block[i]);
        }
      }
      for (; k < K; ++k)
        for (int i = 0; i < W; ++i) to[k * N + i] = i < here ? from[i * K + k] : real(0);
    }
  }
};

}  // namespace
