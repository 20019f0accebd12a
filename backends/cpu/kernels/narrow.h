// Weights of fewer bits than float32, for inference in it: how each format stores them, what activations become beside
// them, and one product, z = start + a · W, whose sums stay in registers. Included for float32 alone.
//
// One sequence at a time uses every weight once in a step: then the bytes of the weights are what a step waits for.
//
// A packed matrix is [unit tile][group][column][GROUP]: GROUP rows of a column side by side, as many as an instruction
// multiplies at once, or as fit into 32 bits. A format is a struct that has
//   GROUP           as above
//   Weight          of the packed matrix
//   Activation      what the activations are turned into, row by row, by `convert`
//   Sum             a vector of sums
//   SCALED          whether weights and activations are whole numbers times a scale: one a column, one a row
//   OFFSET          of SCALED formats, what is added to an activation
//   stored          a weight as it is stored
//   value           vectors of weights of one row, as real again
//   multiply        sums[r][j] += the products of one group
#pragma once

#include "cell.h"
#include "kernels.h"
#include "matrix.h"

#if defined(__AVX2__)
#include <immintrin.h>
#endif

namespace {

using namespace xlstm;

INLINE mask load_words(const void *from) {
  mask a;
  std::memcpy(&a, from, sizeof a);
  return a;
}
INLINE int32_t word(const void *from) {
  int32_t a;
  std::memcpy(&a, from, sizeof a);
  return a;
}
INLINE mask all_words(int32_t a) { return a - mask{}; }

// What formats share whose activations stay as they are.
struct Widened {
  using Activation = real;
  using Sum = vec;
  static constexpr bool SCALED = false;
  static void convert(const real *from, long count, long padded, real *to, real *) {
    std::memcpy(to, from, count * sizeof(real));
    for (long k = count; k < padded; ++k) to[k] = 0;
  }
};

// ---------------------------------------------------------------- bfloat16: the upper half of a float32

// Rounded to the nearest, ties to even; NaN stays NaN.
INLINE uint16_t upper_half(real a) {
  const uint32_t whole = uint32_t(word(&a));
  if ((whole & 0x7fffffff) > 0x7f800000) return uint16_t(whole >> 16 | 0x40);
  return uint16_t((whole + 0x7fff + (whole >> 16 & 1)) >> 16);
}

// Two rows in a word: the first in its lower half. Shifted up, or without the other half, it is a float32.
struct BFloat16 : Widened {
  using Weight = uint16_t;
  static constexpr int GROUP = 2;
  static Weight stored(real a, real) { return upper_half(a); }
  INLINE vec even(const void *pairs) { return (vec)(load_words(pairs) << 16); }
  INLINE vec odd(const void *pairs) { return (vec)(load_words(pairs) & all_words(int32_t(0xffff0000))); }
  INLINE vec value(const Weight *group, int row) { return row ? odd(group) : even(group); }

  template <int R, int V>
  INLINE void multiply(vec (&sums)[R][V], const real *a, long stride, const Weight *group) {
    vec columns[V];
    UNROLL
    for (int j = 0; j < V; ++j) columns[j] = even(group + 2 * j * W);
    add<0>(sums, a, stride, columns);
    UNROLL
    for (int j = 0; j < V; ++j) columns[j] = odd(group + 2 * j * W);
    add<1>(sums, a, stride, columns);
  }

 private:
  template <int ROW, int R, int V>
  INLINE void add(vec (&sums)[R][V], const real *a, long stride, const vec (&columns)[V]) {
    UNROLL
    for (int r = 0; r < R; ++r) {
      const real factor = a[r * stride + ROW];
      UNROLL
      for (int j = 0; j < V; ++j) sums[r][j] += factor * columns[j];
    }
  }
};

#if defined(__AVX512BF16__)
// An instruction multiplies pairs of them: then the activations are rounded too.
struct BFloat16Pairs {
  using Weight = uint16_t;
  using Activation = uint16_t;
  using Sum = vec;
  static constexpr int GROUP = 2;
  static constexpr bool SCALED = false;
  static Weight stored(real a, real) { return upper_half(a); }
  INLINE vec value(const Weight *group, int row) { return BFloat16::value(group, row); }
  static void convert(const real *from, long count, long padded, Activation *to, real *) {
    for (long k = 0; k < count; ++k) to[k] = upper_half(from[k]);
    for (long k = count; k < padded; ++k) to[k] = 0;
  }

  template <int R, int V>
  INLINE void multiply(vec (&sums)[R][V], const Activation *a, long stride, const Weight *group) {
    __m512bh columns[V];
    UNROLL
    for (int j = 0; j < V; ++j) {
      columns[j] = (__m512bh)_mm512_loadu_si512(group + 2 * j * W);
      if constexpr (R > 1) KEEP_IN_REGISTER(columns[j]);
    }
    UNROLL
    for (int r = 0; r < R; ++r) {
      const __m512bh factor = (__m512bh)_mm512_set1_epi32(word(a + r * stride));
      UNROLL
      for (int j = 0; j < V; ++j) sums[r][j] = (vec)_mm512_dpbf16_ps((__m512)sums[r][j], factor, columns[j]);
    }
  }
};
#endif

// ---------------------------------------------------------------- float16: 10 bits of mantissa, up to 65504

#if defined(__F16C__)
struct Float16 : Widened {
  using Weight = uint16_t;
  static constexpr int GROUP = 1;
  static Weight stored(real a, real) { return _cvtss_sh(a, _MM_FROUND_TO_NEAREST_INT); }
  INLINE vec value(const Weight *group, int) {
#if defined(__AVX512F__)
    return (vec)_mm512_maskz_cvtph_ps(0xffff, _mm256_loadu_si256((const __m256i *)group));
#else
    return (vec)_mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)group));
#endif
  }

  template <int R, int V>
  INLINE void multiply(vec (&sums)[R][V], const real *a, long stride, const Weight *group) {
    vec columns[V];
    UNROLL
    for (int j = 0; j < V; ++j) columns[j] = value(group + j * W, 0);
    UNROLL
    for (int r = 0; r < R; ++r) {
      const real factor = a[r * stride];
      UNROLL
      for (int j = 0; j < V; ++j) sums[r][j] += factor * columns[j];
    }
  }
};
#endif

// ---------------------------------------------------------------- int8: whole numbers from -127 to 127, times a scale

// The scale of so many numbers, whose largest magnitude becomes 127: NaN where one of them is not finite, and so is
// then every product with them; 0 where all of them are as good as 0.
INLINE real scale_of(const real *numbers, long count) {
  int32_t most = 0;  // as whole numbers, NaN comes after infinity, which comes after all others
  for (long k = 0; k < count; ++k) {
    const int32_t magnitude = word(numbers + k) & 0x7fffffff;
    most = magnitude > most ? magnitude : most;
  }
  real largest;
  std::memcpy(&largest, &most, sizeof largest);
  return most >= 0x7f800000 ? real(__builtin_nanf("")) : largest < real(1e-30) ? real(0) : largest / 127;
}
INLINE real inverse_of(real scale) { return scale > 0 ? 1 / scale : real(0); }  // of NaN 0 too

// To the nearest, ties to even: in the lowest byte, for the sum has room for no more than whole numbers.
INLINE int32_t rounded(real a) {
  const real sum = a + real(12582912);
  return word(&sum);
}

#if defined(__AVX512VNNI__) || (defined(__AVXVNNI__) && !defined(__AVX512F__))
constexpr bool HAS_VNNI = true;  // compiled; whether this CPU has it is asked at run time
#else
constexpr bool HAS_VNNI = false;
#endif

#if defined(__AVX2__)
// A compiler that may use VNNI must not make it of the additions that stand in for it: they run where a CPU has none.
template <class V> INLINE V apart(V pairs) {
  asm("" : "+v"(pairs));
  return pairs;
}

// sums += the products of each word's four bytes. VNNI: an instruction takes activations without a sign, and weights.
template <bool VNNI> INLINE mask plus_products(mask sums, mask a, mask weights) {
#if defined(__AVX512F__)
  const __m512i w = (__m512i)weights;
#if defined(__AVX512VNNI__)
  if constexpr (VNNI) return (mask)_mm512_dpbusd_epi32((__m512i)sums, (__m512i)a, w);
#endif
  const __m512i turned = _mm512_mask_sub_epi8(w, _mm512_movepi8_mask((__m512i)a), __m512i{}, w);
  const __m512i pairs = _mm512_maddubs_epi16(_mm512_maskz_abs_epi8(~__mmask64(0), (__m512i)a), turned);
  return sums + (mask)apart(_mm512_madd_epi16(pairs, _mm512_set1_epi16(1)));
#else
#if defined(__AVXVNNI__)
  if constexpr (VNNI) return (mask)_mm256_dpbusd_avx_epi32((__m256i)sums, (__m256i)a, (__m256i)weights);
#endif
  const __m256i turned = _mm256_sign_epi8((__m256i)weights, (__m256i)a);
  const __m256i pairs = _mm256_maddubs_epi16(_mm256_abs_epi8((__m256i)a), turned);
  return sums + (mask)apart(_mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
#endif
}

// With VNNI 128 is added to the activations, and taken off the sums again by those of the weights. Without it, the
// activations' signs go to the weights: products of two bytes, of which the first has no sign, are added by pairs into
// 16 bits, and 2 · 127 · 127 fits.
template <bool VNNI> struct Int8 {
  using Weight = int8_t;
  using Activation = uint8_t;
  using Sum = mask;
  static constexpr int GROUP = 4;
  static constexpr bool SCALED = true;
  static constexpr int OFFSET = VNNI ? 128 : 0;
  static Weight stored(real a, real scale) { return Weight(rounded(a * inverse_of(scale))); }
  INLINE vec value(const Weight *group, int row) {
    return __builtin_convertvector(load_words(group) << (24 - 8 * row) >> 24, vec);
  }
  static void convert(const real *from, long count, long padded, Activation *to, real *scale) {
    *scale = scale_of(from, count);
    const real inverse = inverse_of(*scale);
    for (long k = 0; k < count; ++k) to[k] = Activation(rounded(from[k] * inverse) ^ OFFSET);
    for (long k = count; k < padded; ++k) to[k] = OFFSET;
  }

  template <int R, int V>
  INLINE void multiply(mask (&sums)[R][V], const Activation *a, long stride, const Weight *group) {
    mask columns[V];
    UNROLL
    for (int j = 0; j < V; ++j) {
      columns[j] = load_words(group + 4 * j * W);
      if constexpr (R > 1) KEEP_IN_REGISTER(columns[j]);
    }
    UNROLL
    for (int r = 0; r < R; ++r) {
      const mask factor = all_words(word(a + r * stride));
      UNROLL
      for (int j = 0; j < V; ++j) sums[r][j] = plus_products<VNNI>(sums[r][j], factor, columns[j]);
    }
  }
};
#endif

// ---------------------------------------------------------------- packed matrices and rows of activations

template <class Format> INLINE long groups_of(long rows) { return (rows + Format::GROUP - 1) / Format::GROUP; }

template <class Format> struct NarrowMatrix {
  typename Format::Weight *values;  // [unit tile][group][COLUMNS][GROUP]
  real *scale;                      // [unit tile][COLUMNS], where there are scales
  int32_t *offset;                  // so; where the sums begin: minus OFFSET times the sum of a column
};

// Some rows of activations, `stride` apart and filled up with zeros to whole groups.
template <class Format> struct NarrowRows {
  typename Format::Activation *values;
  long stride;
  real *scale;  // of each row, where there are scales

  NarrowRows from(long row) const { return {values + row * stride, stride, scale + (Format::SCALED ? row : 0)}; }
  void convert(long row, const real *numbers, long count) const {
    Format::convert(numbers, count, stride, values + row * stride, scale + (Format::SCALED ? row : 0));
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
      if constexpr (Format::SCALED) sums[0][r][j] = load_words(m.offset + j * W);
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
        store(z + r * COLUMNS + j * W, load(start + r * start_stride + j * W) +
                                           __builtin_convertvector(sum, vec) * (load(m.scale + j * W) * a.scale[r]));
      else store(z + r * COLUMNS + j * W, sum);
    }
  }
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
      if constexpr (Format::SCALED) weight *= load(m.scale + j);
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
    for (int column = 0; column < COUNT; ++column) {
      const long unit = u * TILE + column % TILE;
      const real *row = unit < units ? matrix + (Span::gate(column / TILE) * units + unit) * K : nullptr;
      const real scale = Format::SCALED && row ? scale_of(row, K) : real(0);
      int32_t sum = 0;
      for (long k = 0; k < groups_of<Format>(K) * Format::GROUP; ++k) {
        auto &to = m.values[(k / Format::GROUP * COUNT + column) * Format::GROUP + k % Format::GROUP];
        to = Format::stored(row && k < K ? row[k] : real(0), scale);
        if constexpr (Format::SCALED) sum += to;
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
