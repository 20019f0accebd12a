// Vectors of `real` of whatever width the target has, in the vector extensions of GCC and Clang, and the
// exponential functions of the gates. Included by the files of this folder alone; kernels.cpp defines `real`.
//
// Every function is right for NaN (comparisons are written so that NaN passes) and for infinity.
#pragma once

#if defined(__SSE2__)
#include <immintrin.h>
#endif

#include <cstdint>
#include <cstring>
#include <type_traits>

#define INLINE static inline __attribute__((always_inline))
#define NOINLINE static __attribute__((noinline))
#define UNROLL _Pragma("GCC unroll 16")

namespace {

#if defined(__AVX512F__)
constexpr int VECTOR_BYTES = 64, REGISTERS = 32;
#elif defined(__AVX__)
constexpr int VECTOR_BYTES = 32, REGISTERS = 16;
#elif defined(__aarch64__)
constexpr int VECTOR_BYTES = 16, REGISTERS = 32;
#else
constexpr int VECTOR_BYTES = 16, REGISTERS = 16;
#endif

constexpr bool SINGLE = sizeof(real) == 4;
constexpr int W = VECTOR_BYTES / sizeof(real);  // numbers in a vector

using bits = std::conditional_t<SINGLE, int32_t, int64_t>;
typedef real vec __attribute__((vector_size(VECTOR_BYTES)));
typedef bits mask __attribute__((vector_size(VECTOR_BYTES)));

INLINE vec load(const real *from) {
  vec a;
  std::memcpy(&a, from, sizeof a);  // one unaligned load
  return a;
}
INLINE void store(real *to, vec a) { std::memcpy(to, &a, sizeof a); }
INLINE vec all(real a) { return a - vec{}; }

// Keeps a loaded vector in its register: GCC would load it again for every row that it is multiplied with.
#if defined(__x86_64__)
#define KEEP_IN_REGISTER(a) asm("" : "+v"(a))
#elif defined(__aarch64__)
#define KEEP_IN_REGISTER(a) asm("" : "+w"(a))
#else
#define KEEP_IN_REGISTER(a)
#endif

// The lesser and the greater of a and a limit; a where it is NaN. On x86 that is one instruction, asked for by name
// since GCC 12 makes a comparison and a blend of the plain form: four instructions' work by AVX2.
#if defined(__AVX512F__)
#define OF_LIMIT(name) \
  (SINGLE ? (vec)_mm512_maskz_##name##_ps(0xffff, (__m512)all(limit), (__m512)a) \
          : (vec)_mm512_maskz_##name##_pd(0xff, (__m512d)all(limit), (__m512d)a))
#elif defined(__AVX__)
#define OF_LIMIT(name) \
  (SINGLE ? (vec)_mm256_##name##_ps((__m256)all(limit), (__m256)a) \
          : (vec)_mm256_##name##_pd((__m256d)all(limit), (__m256d)a))
#elif defined(__SSE2__)
#define OF_LIMIT(name) \
  (SINGLE ? (vec)_mm_##name##_ps((__m128)all(limit), (__m128)a) \
          : (vec)_mm_##name##_pd((__m128d)all(limit), (__m128d)a))
#endif
#if defined(OF_LIMIT)
INLINE vec at_most(vec a, real limit) { return OF_LIMIT(min); }
INLINE vec at_least(vec a, real limit) { return OF_LIMIT(max); }
#else
INLINE vec at_most(vec a, real limit) { return all(limit) < a ? all(limit) : a; }
INLINE vec at_least(vec a, real limit) { return all(limit) > a ? all(limit) : a; }
#endif

// ---------------------------------------------------------------- exponentials
//
// float32: exp(x) = 2^y with y = x / ln 2, a whole number n and a fraction f from -1/2 to 1/2 (from 0 to 1 by AVX-512's
// instructions): 2^n times a polynomial of f. That is off by what rounding y costs, which is no more than rounding x
// did.

struct Power {
  vec fraction;  // f
  vec scale;     // 2^n
};

// Of 2^(x · factor), where that is within 2^±126.
INLINE Power power_of(vec x, real factor) {
  // Adding this rounds to a whole number, and leaves that number + the exponent's bias in the low bits.
  constexpr real ROUND = 12582912 + 127;
  const vec rounded = x * factor + ROUND;
  return {x * factor - (rounded - ROUND), (vec)((mask)rounded << 23)};
}

// float64: x = n·ln 2 + r with n whole and |r| ≤ ln 2 / 2; then exp(x) = 2^n·exp(r). ln 2 is subtracted in two parts,
// the first of which has so few digits that n times it is exact.
struct Reduced {
  vec scale;  // 2^n
  vec expm1;  // exp(r) - 1
};

// x from -700 to 709. Error of expm1: 1e-17 of its value before rounding.
INLINE Reduced reduce(vec x) {
  constexpr real ROUND = real(6755399441055744.0 + 1023);
  const vec rounded = x * real(1.44269504088896340736) + ROUND, n = rounded - ROUND;
  const vec r = x - n * real(0.69314718036912381649) - n * real(1.90821492927058770002e-10);
  vec p = all(real(1.0 / 6227020800));  // the Taylor series: 1 / k! from k = 13 down to 2
  p = p * r + real(1.0 / 479001600);
  p = p * r + real(1.0 / 39916800);
  p = p * r + real(1.0 / 3628800);
  p = p * r + real(1.0 / 362880);
  p = p * r + real(1.0 / 40320);
  p = p * r + real(1.0 / 5040);
  p = p * r + real(1.0 / 720);
  p = p * r + real(1.0 / 120);
  p = p * r + real(1.0 / 24);
  p = p * r + real(1.0 / 6);
  p = p * r + real(0.5);
  return {(vec)((mask)rounded << (SINGLE ? 0 : 52)), p * (r * r) + r};
}

// AVX-512 has instructions that split a number at its binary point and that multiply by a power of 2, right for NaN,
// infinity and whatever leaves the range. In float64 they would gain nothing.
#if defined(__AVX512DQ__)
// y - floor(y), y - the nearest whole number, and a · 2^floor(y)
// (all of them under a mask of ones, for GCC 12 takes the plain forms for reading something uninitialised)
INLINE __m512 above_floor(__m512 y) { return _mm512_maskz_reduce_ps(0xffff, y, _MM_FROUND_TO_NEG_INF); }
INLINE __m512 from_nearest(__m512 y) { return _mm512_maskz_reduce_ps(0xffff, y, _MM_FROUND_TO_NEAREST_INT); }
INLINE __m512 scaled(__m512 a, __m512 y) { return _mm512_maskz_scalef_ps(0xffff, a, y); }
#endif

// Divisions take longest here: the functions are numerators and denominators, so that a product of two is one division.

// The denominator of sigmoid(x) = 1 / (1 + exp(-x)). Its relative error is small down to exp(-87), where a gate is all
// but shut: 4e-6, and 1e-12 in float64.
INLINE vec sigmoid_denominator(vec x) {
  if constexpr (SINGLE) {
#if defined(__AVX512DQ__)
    // At most 2^126: not infinity, whose inverse is 0, which times an infinite c is NaN.
    const vec y = at_most(x * real(-1.44269504088896340736), 126), f = (vec)above_floor((__m512)y);
    vec p = all(real(0.000217022556842));  // 2^f, minimax in the relative error: 1.9e-9
    p = p * f + real(0.00124396877005);
    p = p * f + real(0.00967884101831);
    p = p * f + real(0.0554833419683);
    p = p * f + real(0.240229836279);
    p = p * f + real(0.69314698384);
    p = p * f + real(1.00000000186);
    return (vec)scaled((__m512)p, (__m512)y) + real(1);
#else
    constexpr double FACTOR = -1.44269504088896340736;  // what float32 lacks of it counts where x is large
    const vec bounded = at_least(at_most(x, 87), -87);
    const Power power = power_of(bounded, real(FACTOR));
    const vec f = power.fraction + bounded * real(FACTOR - real(FACTOR));
    vec p = all(real(0.000153458120451));  // 2^f, minimax in the relative error: 1.9e-9
    p = p * f + real(0.00133999313627);
    p = p * f + real(0.00961848895821);
    p = p * f + real(0.0555032877661);
    p = p * f + real(0.240226468906);
    p = p * f + real(0.693147205737);
    p = p * f + real(1);
    return p * power.scale + real(1);
#endif
  } else {
    const Reduced e = reduce(at_least(at_most(-x, 709), -700));  // twice the result is still finite
    return (e.expm1 * e.scale + e.scale) + real(1);
  }
}

// tanh(x) = -e / (2 + e) with e = exp(-2|x|) - 1, and the sign of x: exact to the last digits near 0, ±1 far from it.
struct Tanh {
  vec numerator, denominator;  // the denominator is from 1 to 2
};

INLINE Tanh tanh_parts(vec x) {
  const mask sign = (mask)all(real(-0.0));
  vec expm1;  // ≤ 0
  if constexpr (SINGLE) {
#if defined(__AVX512DQ__)
    const vec y = (vec)((mask)x | sign) * real(2.88539008177792681472), f = (vec)from_nearest((__m512)y);
    const vec scale = (vec)scaled((__m512)all(1), (__m512)(y - f));
#else
    const Power power = power_of(at_least((vec)((mask)x | sign), -20), real(2.88539008177792681472));
    const vec f = power.fraction, scale = power.scale;
#endif
    vec p = all(real(0.000154035123676));  // (2^f - 1) / f, minimax in the relative error: 1.1e-8
    p = p * f + real(0.00133907354776);
    p = p * f + real(0.00961823749491);
    p = p * f + real(0.0555035743364);
    p = p * f + real(0.24022649795);
    p = p * f + real(0.693147187927);
    expm1 = (p * f) * scale + (scale - real(1));
  } else {
    const Reduced e = reduce(at_least((vec)((mask)x | sign) * real(2), -80));
    expm1 = e.expm1 * e.scale + (e.scale - real(1));
  }
  return {(vec)(((mask)expm1 & ~sign) | ((mask)x & sign)), expm1 + real(2)};
}

INLINE vec tanh(vec x) {
  const Tanh t = tanh_parts(x);
  return t.numerator / t.denominator;
}

// ---------------------------------------------------------------- transposition

template <int HALF> INLINE vec interleave(vec a, vec b) {
  // a0 b0 a1 b1 … of the lower (HALF = 0) or the upper (1) halves.
#if defined(__clang__)
  vec c;
  for (int k = 0; k < W; ++k) c[k] = (k & 1 ? b : a)[HALF * W / 2 + k / 2];
  return c;
#else
  mask order;
  for (int k = 0; k < W; ++k) order[k] = HALF * W / 2 + k / 2 + (k & 1 ? W : 0);
  return __builtin_shuffle(a, b, order);
#endif
}

// rows[i][k] becomes rows[k][i]: log2(W) rounds of interleaving the first half of the rows with the second.
INLINE void transpose(vec (&rows)[W]) {
  UNROLL
  for (int round = 1; round < W; round *= 2) {
    vec next[W];
    UNROLL
    for (int i = 0; i < W / 2; ++i) {
      next[2 * i] = interleave<0>(rows[i], rows[i + W / 2]);
      next[2 * i + 1] = interleave<1>(rows[i], rows[i + W / 2]);
    }
    UNROLL
    for (int i = 0; i < W; ++i) rows[i] = next[i];
  }
}

}  // namespace
