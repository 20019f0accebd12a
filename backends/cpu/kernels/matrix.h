// The products, in tiles: small blocks of rows and vectors whose sums stay in registers, and the packing of matrices
// into the order in which these blocks read them. Included by the files of this folder alone.
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
#ifndef BLOCK_K_
#define BLOCK_K_ 192
#endif
constexpr long BLOCK_K = BLOCK_K_;
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

// sums[r][j] += a[r][k] · b[k][j] for k < n; the rows of a are STRIDE apart, those of b stand one after another.
template <int STRIDE, int R, int V> INLINE void multiply(vec (&sums)[R][V], const real *a, const real *b, long n) {
  _Pragma("GCC unroll 4")
  for (long k = 0; k < n; ++k, b += V * W) {
    vec columns[V];
    UNROLL
    for (int j = 0; j < V; ++j) {
      columns[j] = load(b + j * W);
      if constexpr (R > 1) KEEP_IN_REGISTER(columns[j]);
    }
    UNROLL
    for (int r = 0; r < R; ++r) {
      const real factor = a[r * STRIDE + k];
      UNROLL
      for (int j = 0; j < V; ++j) sums[r][j] += factor * columns[j];
    }
  }
}

// In bfloat16 the products go by pairs: columns of b hold b[k][j], b[k + 1][j] side by side, and an odd n is rounded up
// to rows of zeros.
template <class Stored> constexpr long WHOLE = std::is_same_v<Stored, bfloat16> ? 2 : 1;  // rows that go together
template <class Stored> INLINE long whole(long rows) {
  return (rows + WHOLE<Stored> - 1) / WHOLE<Stored> * WHOLE<Stored>;
}

#if defined(__AVX512BF16__)
constexpr bool BFLOAT16 = SINGLE;  // compiled; whether this CPU has it is asked at run time
template <int STRIDE, int R, int V>
INLINE void multiply(vec (&sums)[R][V], const bfloat16 *a, const bfloat16 *b, long n) {
  for (long k = 0; k < n; k += 2, b += 2 * V * W) {
    __m512bh columns[V];
    UNROLL
    for (int j = 0; j < V; ++j) {
      columns[j] = (__m512bh)_mm512_loadu_si512(b + 2 * j * W);
      KEEP_IN_REGISTER(columns[j]);
    }
    UNROLL
    for (int r = 0; r < R; ++r) {
      int pair;
      std::memcpy(&pair, a + r * STRIDE + k, sizeof pair);
      const __m512bh factor = (__m512bh)_mm512_set1_epi32(pair);
      UNROLL
      for (int j = 0; j < V; ++j) sums[r][j] = (vec)_mm512_dpbf16_ps((__m512)sums[r][j], factor, columns[j]);
    }
  }
}
#else
constexpr bool BFLOAT16 = false;
#endif

// The same for `count` columns of a, which stand in tiles; where b goes on. What only fills up the last tile takes no
// part: 0 · NaN is NaN.
template <int R, int V, class Stored>
INLINE const Stored *multiply_tiles(vec (&sums)[R][V], const Stored *a, long stride, long count, const Stored *b) {
  _Pragma("GCC unroll 1")
  for (; count >= TILE; count -= TILE, a += stride, b += TILE * V * W) multiply<TILE>(sums, a, b, TILE);
  if (count == 0) return b;
  multiply<TILE>(sums, a, b, count);
  return b + whole<Stored>(count) * V * W;
}

// ---------------------------------------------------------------- forward: z = start + x · W + h · R

// One panel of V vectors for R rows. `x` and `h` point to the rows in their first tile; `panel` is [D + H][V·W].
// `start` and `z` are rows of COLUMNS numbers; with start_stride 0 all rows start alike.
//
// Not inlined, and ending in memory that another function reads: inlined into it, GCC runs out of registers and keeps
// the sums on the stack.
template <int COLUMNS, int R, int V, class Stored>
NOINLINE void gate_panel(const Stored *x, long x_stride, long D, const Stored *h, long h_stride, long H,
                         const Stored *panel, const real *start, long start_stride, real *z) {
  vec sums[R][V];
  UNROLL
  for (int r = 0; r < R; ++r) {
    UNROLL
    for (int j = 0; j < V; ++j) sums[r][j] = load(start + r * start_stride + j * W);
  }
  panel = multiply_tiles(sums, x, x_stride, D, panel);
  multiply_tiles(sums, h, h_stride, H, panel);
  UNROLL
  for (int r = 0; r < R; ++r) {
    UNROLL
    for (int j = 0; j < V; ++j) store(z + r * COLUMNS + j * W, sums[r][j]);
  }
}

// The gates of a tile of 16 units: COLUMNS = 16 · gates of them, in panels of numbers stored as real or bfloat16.
template <int COLUMNS> struct GatePanels {
  static constexpr int V = NV * W < COLUMNS ? NV : COLUMNS / W;
  static constexpr int WIDTH = V * W, COUNT = COLUMNS / WIDTH;

  // z (rows, COLUMNS) = start + x · W + h · R; `weights` are those of the tile, [COUNT][K][WIDTH], of which the rows
  // from `skip` on are used (skip = D leaves out x). `done(first, rows)` is called for groups of at most MR rows, when
  // their z is whole and near.
  //
  // In blocks of k, each panel for all rows: the block of a panel then stays in the first-level cache.
  template <class Stored, class Done>
  static void compute(long rows, const Stored *x, long x_stride, long D, const Stored *h, long h_stride, long H,
                      const Stored *weights, long K, long skip, const real *start, long start_stride, real *z,
                      Done done) {
    const long blocks = (D + H + BLOCK_K - 1) / BLOCK_K > 1 ? (D + H + BLOCK_K - 1) / BLOCK_K : 1;
    const long block = tiles((D + H + blocks - 1) / blocks) * TILE;
    long x_done = 0, h_done = 0;
    do {
      const long dx = smaller(D - x_done, block), dh = smaller(H - h_done, block - tiles(dx) * TILE);
      const bool last = x_done + dx == D && h_done + dh == H;
      const Stored *x_block = x + x_done / TILE * x_stride, *h_block = h + h_done / TILE * h_stride;
      for (int p = 0; p < COUNT; ++p) {
        const Stored *panel = weights + (p * K + skip) * WIDTH;
        row_groups(rows, [&](long r, long size) {
          WITH_ROWS(size, gate_panel<COLUMNS, R, V>(x_block + r * TILE, x_stride, dx, h_block + r * TILE, h_stride, dh, panel,
                                                    start + r * start_stride + p * WIDTH, start_stride,
                                                    z + r * COLUMNS + p * WIDTH))
          if (last && p == COUNT - 1) done(r, size);
        });
      }
      skip += whole<Stored>(dx) + whole<Stored>(dh);
      x_done += dx, h_done += dh;
      start = z, start_stride = COLUMNS;
    } while (x_done < D || h_done < H);
  }
};

// Writes columns [first, first + 16) of a tile's panels for k < K: from 16 rows of `matrix` (row stride K), of which
// `rows` exist. The others become 0.
template <int COLUMNS>
INLINE void pack_rows(const real *matrix, long K, long rows, real *weights, long weights_K, int first) {
  using Panels = GatePanels<COLUMNS>;
  UNROLL
  for (int half = 0; half < TILE / W; ++half) {
    const int column = first + half * W;
    real *to = weights + (column / Panels::WIDTH) * weights_K * Panels::WIDTH + column % Panels::WIDTH;
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
        for (int i = 0; i < W; ++i) store(to + (k + i) * Panels::WIDTH, block[i]);
      }
    }
    for (; k < K; ++k)
      for (int i = 0; i < W; ++i) to[k * Panels::WIDTH + i] = i < here ? from[i * K + k] : real(0);
  }
}

// The same in bfloat16, in pairs of rows.
template <int COLUMNS>
INLINE void pack_rows(const real *matrix, long K, long rows, bfloat16 *weights, long weights_K, int first) {
  using Panels = GatePanels<COLUMNS>;
  for (int i = 0; i < TILE; ++i) {
    const int column = first + i;
    bfloat16 *to = weights + (column / Panels::WIDTH) * weights_K * Panels::WIDTH + column % Panels::WIDTH * 2;
    for (long k = 0; k < whole<bfloat16>(K); ++k)
      put(to + (k / 2) * 2 * Panels::WIDTH + k % 2, i < rows && k < K ? matrix[i * K + k] : real(0));
  }
}

// ---------------------------------------------------------------- backward: d_input = dz · W

// R rows times one panel, over `count` tiles of STEP gate gradients each. `out` are the rows in the panel's first tile.
template <int STEP, int R, int V>
NOINLINE void input_panel(const real *dz, long dz_stride, long count, const real *panel, real *out, long out_stride,
                          bool first) {
  constexpr int S = TILE / W;
  // A sum waits for the one before it: few sums are taken in several parts, which do not wait for each other.
  constexpr int PARTS = R * V >= 6 ? 1 : R * V >= 3 ? 2 : R * V == 2 ? 4 : 8, EACH = STEP / PARTS;
  vec sums[PARTS][R][V] = {};
  UNROLL
  for (int r = 0; r < R; ++r) {
    UNROLL
    for (int j = 0; j < V; ++j)
      sums[0][r][j] = first ? vec{} : load(out + (j / S) * out_stride + r * TILE + (j % S) * W);
  }
  for (long u = 0; u < count; ++u, dz += dz_stride, panel += STEP * V * W) {
    if constexpr (PARTS == 1) {
      multiply<STEP>(sums[0], dz, panel, STEP);
    } else {
      _Pragma("GCC unroll 1")  // unrolled, it runs out of registers where there are 16
      for (int k = 0; k < EACH; ++k) {
        UNROLL
        for (int p = 0; p < PARTS; ++p) multiply<STEP>(sums[p], dz + p * EACH + k, panel + (p * EACH + k) * V * W, 1);
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
// tile][STEP][width].
template <int STEP> struct InputPanels {
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
      for (int g = 0; g < STEP / TILE; ++g) {
        for (long k = u * TILE; k < (u + 1) * TILE; ++k, to += w) {
          const long copied = k < units ? real_w : 0;
          std::memcpy(to, matrix + (g * units + k) * columns + first, copied * sizeof(real));
          std::memset(to + copied, 0, (w - copied) * sizeof(real));
        }
      }
    }
  }

  // out (rows in tiles) = or += dz · matrix for the unit tiles [u, u + count) and the panels [p0, p1), the last of them
  // first where `turned`.
  void compute(long rows, const real *dz, long dz_stride, long u, long count, long p0, long p1, real *out,
               long out_stride, bool first, bool turned) const {
    for (long k = p0; k < p1; ++k) {
      const long p = turned ? p0 + p1 - 1 - k : k;
      const long w = width(column_tiles, p);
      const real *panel = packed + p * unit_tiles * STEP * NR + u * STEP * w * TILE;
      row_groups(rows, [&](long r, long size) {
        const real *a = dz + u * dz_stride + r * STEP;
        real *o = out + p * PANEL_TILES * out_stride + r * TILE;
        with_width(w, size, a, dz_stride, count, panel, o, out_stride, first);
      });
    }
  }

 private:
  static void with_width(long w, long rows, const real *a, long dz_stride, long count, const real *panel, real *o,
                         long out_stride, bool first) {
    constexpr int S = TILE / W;
    if (w == PANEL_TILES) {
      WITH_ROWS(rows, input_panel<STEP, R, NV>(a, dz_stride, count, panel, o, out_stride, first))
    } else if constexpr (PANEL_TILES > 1) {
      if (w == 1) {
        WITH_ROWS(rows, input_panel<STEP, R, S>(a, dz_stride, count, panel, o, out_stride, first))
      } else if constexpr (PANEL_TILES > 2) {
        if (w == 2) {
          WITH_ROWS(rows, input_panel<STEP, R, 2 * S>(a, dz_stride, count, panel, o, out_stride, first))
        } else {
          WITH_ROWS(rows, input_panel<STEP, R, 3 * S>(a, dz_stride, count, panel, o, out_stride, first))
        }
      }
    }
  }
};

// ---------------------------------------------------------------- weight gradients: dW = dzᵀ · x

// R gate gradients times V vectors of the inputs, summed over `rows` rows. `sums` is [R][V·W].
template <int STEP, int R, int V>
NOINLINE void weight_block(const real *dz, const real *x, long x_stride, long rows, real *sums_memory, bool first) {
  constexpr int S = TILE / W;
  vec sums[R][V];
  UNROLL
  for (int r = 0; r < R; ++r) {
    UNROLL
    for (int j = 0; j < V; ++j) sums[r][j] = first ? vec{} : load(sums_memory + (r * V + j) * W);
  }
  for (long k = 0; k < rows; ++k) {
    __builtin_prefetch(dz + (k + 16) * STEP);
    vec columns[V];
    UNROLL
    for (int j = 0; j < V; ++j) {
      columns[j] = load(x + (j / S) * x_stride + k * TILE + (j % S) * W);
      if constexpr (R > 1) KEEP_IN_REGISTER(columns[j]);
    }
    UNROLL
    for (int r = 0; r < R; ++r) {
      const real factor = dz[k * STEP + r];
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

// All STEP gate gradients of a unit tile times one panel of w tiles: sums is [STEP][w · 16].
template <int STEP, int V>
INLINE void weight_tile(const real *dz, const real *x, long x_stride, long rows, real *sums, bool first) {
  int r = 0;
  for (; r + MR <= STEP; r += MR) weight_block<STEP, MR, V>(dz + r, x, x_stride, rows, sums + r * V * W, first);
  if constexpr (STEP % MR != 0)
    weight_block<STEP, STEP % MR, V>(dz + r, x, x_stride, rows, sums + r * V * W, first);
}

template <int STEP>
INLINE void weight_panel(long w, const real *dz, const real *x, long x_stride, long rows, real *sums, bool first) {
  constexpr int S = TILE / W;
  if (w == PANEL_TILES) {
    weight_tile<STEP, NV>(dz, x, x_stride, rows, sums, first);
  } else if constexpr (PANEL_TILES > 1) {
    if (w == 1) weight_tile<STEP, S>(dz, x, x_stride, rows, sums, first);
    else if constexpr (PANEL_TILES > 2) {
      if (w == 2) weight_tile<STEP, 2 * S>(dz, x, x_stride, rows, sums, first);
      else weight_tile<STEP, 3 * S>(dz, x, x_stride, rows, sums, first);
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
template <int STEP>
INLINE void write_weight_panel(const real *sums, long w, long u, long units, long column, long columns, real *gradient,
                               bool accumulate) {
  const long width = w * TILE, copied = smaller(width, columns - column), last = smaller(TILE, units - u * TILE);
  for (int g = 0; g < STEP / TILE; ++g)
    for (long k = 0; k < last; ++k) {
      real *to = gradient + (g * units + u * TILE + k) * columns + column;
      const real *from = sums + (g * TILE + k) * width;
      write_sums(from, copied, to, accumulate);
    }
}

}  // namespace
