// Weights of fewer bits than float32, for inference in it: how each format stores them, what activations become beside
// them, and how vectors of both are multiplied. Included for float32 alone.
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
//   LARGEST         so; the largest weight as a whole number
//   store_group     a group of a column, as it is stored
//   value           vectors of weights of one row, as real again
//   multiply        sums[r][j] += the products of one group
#pragma once

#include "cell.h"
#include "kernels.h"
#include "matrix.h"
#include "tiles.h"

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
typedef uint32_t whole __attribute__((vector_size(VECTOR_BYTES)));  // may pass 2^32 on the way to a sum below 2^31

// What formats share whose activations stay as they are: their weights become float32 before they are multiplied. Each
// says in WIDENED_FROM from how many rows in a step on it is better to do that once a call: see narrow_walk.h.
struct Widened {
  using Activation = real;
  using Sum = vec;
  static constexpr bool SCALED = false;
  static void convert(const real *from, const real *, long count, long padded, real *to, real *) {
    for (long k = 0; k < padded; k += TILE) read_tile(from + k, count - k, to + k);
  }
};

// ---------------------------------------------------------------- bfloat16: the upper half of a float32

// Rounded to the nearest, ties to even; NaN stays NaN.
INLINE uint16_t upper_half(real a) {
  const uint32_t whole = uint32_t(word(&a));
  if ((whole & 0x7fffffff) > 0x7f800000) return uint16_t(whole >> 16 | 0x40);
  return uint16_t((whole + 0x7fff + (whole >> 16 & 1)) >> 16);
}

// The upper half of the word that is nearest to `a` among those with this lower half, but for denormal numbers, with
// which some CPUs multiply slowly. Of numbers that bfloat16 has room for.
INLINE uint16_t upper_half_above(real a, uint16_t lower) {
  const uint32_t sign = uint32_t(word(&a)) & 0x80000000, half = (uint32_t(word(&a)) & 0x7fffffff) >> 16;
  uint16_t nearest = 0;
  real least = __builtin_inff();
  for (uint32_t each = half < 1 ? 0 : half - 1; each <= half + 1 && each < 0x7f80; ++each) {
    const uint32_t candidate = sign | (each < 0x80 && lower ? 0x80 : each) << 16 | lower;
    real value;
    std::memcpy(&value, &candidate, sizeof value);
    const real off = __builtin_fabsf(value - a);
    if (off < least) least = off, nearest = uint16_t(candidate >> 16);
  }
  return nearest;
}

// Two rows in a word: the first in its lower half. Shifted up it is a float32. The second is the whole word, so that
// nothing has to be done to it: its upper half was chosen for that, and is off by no more than a rounding.
struct BFloat16 : Widened {
  using Weight = uint16_t;
  static constexpr int GROUP = 2;
  static constexpr long WIDENED_FROM = W == TILE ? 3 : 4;
  static void store_group(const real (&numbers)[GROUP], real, Weight *to) {
    to[0] = upper_half(numbers[0]);
    to[1] = upper_half_above(numbers[1], to[0]);
  }
  INLINE vec even(const void *pairs) {
#if defined(__AVX2__) && !defined(__AVX512F__)
    // Shifted by bytes: on Intel's CPUs not by one of the units that multiply.
    const __m256i up = _mm256_setr_epi8(-1, -1, 0, 1, -1, -1, 4, 5, -1, -1, 8, 9, -1, -1, 12, 13,  //
                                        -1, -1, 0, 1, -1, -1, 4, 5, -1, -1, 8, 9, -1, -1, 12, 13);
    return (vec)_mm256_shuffle_epi8((__m256i)load_words(pairs), up);
#else
    return (vec)(load_words(pairs) << 16);
#endif
  }
  INLINE vec odd(const void *pairs) { return (vec)load_words(pairs); }
  INLINE vec value(const Weight *group, int row) { return row ? odd(group) : even(group); }

  template <int R, int V>
  INLINE void multiply(vec (&sums)[R][V], const real *a, long stride, const Weight *group) {
    if constexpr (R == 1) {
      UNROLL
      for (int j = 0; j < V; ++j) {
        mask pairs = load_words(group + 2 * j * W);
        KEEP_IN_REGISTER(pairs);  // GCC would load it twice, and loads are what a single row waits for
        sums[0][j] += a[0] * even(&pairs);
        sums[0][j] += a[1] * odd(&pairs);
      }
    } else {
      vec columns[V];
      UNROLL
      for (int j = 0; j < V; ++j) columns[j] = even(group + 2 * j * W);
      add<0>(sums, a, stride, columns);
      UNROLL
      for (int j = 0; j < V; ++j) columns[j] = odd(group + 2 * j * W);
      add<1>(sums, a, stride, columns);
    }
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
  static void store_group(const real (&numbers)[GROUP], real, Weight *to) {
    for (int k = 0; k < GROUP; ++k) to[k] = upper_half(numbers[k]);
  }
  INLINE vec value(const Weight *group, int row) {
    const mask pairs = load_words(group);
    return row ? (vec)(pairs & all_words(int32_t(0xffff0000))) : (vec)(pairs << 16);
  }
  static void convert(const real *from, const real *, long count, long padded, Activation *to, real *) {
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
  static constexpr long WIDENED_FROM = W == TILE ? 2 : 4;  // AVX-512 widens in the time of two products
  static void store_group(const real (&numbers)[GROUP], real, Weight *to) {
    *to = _cvtss_sh(numbers[0], _MM_FROUND_TO_NEAREST_INT);
  }
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

// The scale of so many numbers, whose largest magnitude becomes `limit`: NaN where one of them is not finite, and so is
// then every product with them; 0 where all of them are as good as 0.
template <class Number> INLINE real scale_of(Number number, long count, int limit) {
  int32_t most = 0;  // as whole numbers, NaN comes after infinity, which comes after all others
  for (long k = 0; k < count; ++k) {
    const real each = number(k);
    const int32_t magnitude = word(&each) & 0x7fffffff;
    most = magnitude > most ? magnitude : most;
  }
  real largest;
  std::memcpy(&largest, &most, sizeof largest);
  return most >= 0x7f800000 ? real(__builtin_nanf("")) : largest < real(1e-30) ? real(0) : largest / real(limit);
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

// sums += the products of each word's four bytes: activations without a sign, and weights. Without VNNI, products are
// first added by pairs into 16 bits.
template <bool VNNI> INLINE whole plus_products(whole sums, mask a, mask weights) {
#if defined(__AVX512F__)
  const __m512i w = (__m512i)weights;
#if defined(__AVX512VNNI__)
  if constexpr (VNNI) return (whole)_mm512_dpbusd_epi32((__m512i)sums, (__m512i)a, w);
#endif
  const __m512i pairs = _mm512_maddubs_epi16((__m512i)a, w);
  return sums + (whole)apart(_mm512_madd_epi16(pairs, _mm512_set1_epi16(1)));
#else
#if defined(__AVXVNNI__)
  if constexpr (VNNI) return (whole)_mm256_dpbusd_avx_epi32((__m256i)sums, (__m256i)a, (__m256i)weights);
#endif
  const __m256i pairs = _mm256_maddubs_epi16((__m256i)a, (__m256i)weights);
  return sums + (whole)apart(_mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
#endif
}

// To activations 128 is added, and taken off the sums again by those of the weights. Without VNNI weights are of 7
// bits: 2 · 255 · 64 fits into 16. With 8, each product would need an instruction to move the sign of the activation to
// the weight: a third more time.
template <bool VNNI> struct Int8 {
  using Weight = int8_t;
  using Activation = uint8_t;
  using Sum = whole;
  static constexpr int GROUP = 4;
  static constexpr bool SCALED = true;
  static constexpr int OFFSET = 128, LARGEST = VNNI ? 127 : 64;
  static void store_group(const real (&numbers)[GROUP], real scale, Weight *to) {
    for (int k = 0; k < GROUP; ++k) to[k] = Weight(rounded(numbers[k] * inverse_of(scale)));
  }
  INLINE vec value(const Weight *group, int row) {
    return __builtin_convertvector(load_words(group) << (24 - 8 * row) >> 24, vec);
  }
  static void convert(const real *from, const real *factor, long count, long padded, Activation *to, real *scale) {
    const auto given = [&](long k) __attribute__((always_inline)) { return factor ? from[k] * factor[k] : from[k]; };
    *scale = scale_of(given, count, 127);
    const real inverse = inverse_of(*scale);
    for (long k = 0; k < count; ++k) to[k] = Activation(rounded(given(k) * inverse) ^ OFFSET);
    for (long k = count; k < padded; ++k) to[k] = OFFSET;
  }

  template <int R, int V>
  INLINE void multiply(whole (&sums)[R][V], const Activation *a, long stride, const Weight *group) {
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

}  // namespace
