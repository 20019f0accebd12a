// Makes the table of the kernels of one instruction set and dtype: all cells of cells.h. Compiled for each of them, by
// two macros:
//   XLSTM_TARGET  the name of the instruction set, as in setup.py's table
//   XLSTM_REAL    float or double
//
// Whatever is compiled here stands in a namespace without a name: the linker would keep one of several functions of the
// same name, and that one may be of an instruction set that this CPU has not.
//
// N batch, T time, D features, H hidden, V tokens; M valid steps of all rows; C columns of a unit tile.

#include <array>

#include "kernels.h"

using real = XLSTM_REAL;

#include "backward.h"
#include "forward.h"
#include "optimiser.h"

#define IS_SINGLE_float 1
#define IS_SINGLE_double 0
#define IS_SINGLE_(real) IS_SINGLE_##real
#define IS_SINGLE(real) IS_SINGLE_(real)
#if IS_SINGLE(XLSTM_REAL)
#include "narrow_walk.h"
#endif
#if defined(__F16C__)
#include <cpuid.h>
#endif

// What no compiler's __builtin_cpu_supports can be asked for: not every version of GCC and Clang knows these names.
// That the system keeps the vector registers is known from the instruction set.
#if defined(__F16C__)
inline bool has_f16c() {
  unsigned a, b, c, d;
  return __get_cpuid(1, &a, &b, &c, &d) && c & bit_F16C;
}
#endif
#if defined(__AVXVNNI__)
inline bool has_avx_vnni() {
  unsigned a, b, c, d;
  return __get_cpuid_count(7, 1, &a, &b, &c, &d) && a & (1u << 4);
}
#endif

namespace {

bool has(Precision precision) {
  switch (SINGLE ? precision : Precision::FULL) {
    case Precision::FULL: return precision == Precision::FULL;
    case Precision::BFLOAT16: return true;
#if defined(__AVX512BF16__)
    case Precision::BFLOAT16_PAIRS: return __builtin_cpu_supports("avx512bf16");
#endif
#if defined(__F16C__)
    case Precision::FLOAT16: return has_f16c();
#endif
#if defined(__AVX2__)
    case Precision::INT8: return true;
#endif
#if defined(__AVX512VNNI__)
    case Precision::INT8_VNNI: return __builtin_cpu_supports("avx512vnni");
#elif defined(__AVXVNNI__)
    case Precision::INT8_VNNI: return has_avx_vnni();
#endif
    default: return false;
  }
}

template <class Walk> size_t bytes_of(const Forward &f) {
  size_t bytes;
  Walk(f, Carver{nullptr}, &bytes);
  return bytes;
}
template <class Walk> void run(const Forward &f) { Walk(f, Carver{(char *)f.scratch}).run(); }

// Two sides of one choice: what packs weights, and what reads them.
template <class Cell> struct Full {
  static size_t forward_bytes(const Forward &f) { return bytes_of<ForwardWalk<Cell>>(f); }
  static void forward(const Forward &f) { run<ForwardWalk<Cell>>(f); }
  static size_t packed_bytes(long D, long H) {
    Carver memory{nullptr};
    packed_in<Cell>(memory, D, H);
    return memory.used;
  }
  static void pack(const void *weight_ih, const void *weight_hh, const void *bias, const void *second_bias, long D,
                   long H, void *to) {
    pack_all<Cell>(weight_ih, weight_hh, bias, second_bias, D, H, to);
  }
};

#if IS_SINGLE(XLSTM_REAL)
template <class Cell, class Format> struct Narrow {
  using Walk = NarrowWalk<Cell, Format>;
  static size_t forward_bytes(const Forward &f) {
    return walk(f, [&](auto kind) { return bytes_of<typename decltype(kind)::type>(f); });
  }
  static void forward(const Forward &f) {
    walk(f, [&](auto kind) { run<typename decltype(kind)::type>(f); });
  }
  static size_t packed_bytes(long D, long H) {
    Carver memory{nullptr};
    NarrowWeights<Cell, Format>(memory, D, H);
    return memory.used;
  }
  static void pack(const void *weight_ih, const void *weight_hh, const void *bias, const void *second_bias, long D,
                   long H, void *to) {
    Carver memory{(char *)to};
    NarrowWeights<Cell, Format>(memory, D, H)
        .pack({(const real *)weight_ih, (const real *)weight_hh, (const real *)bias, (const real *)second_bias});
  }

 private:
  template <class T> struct Type {
    using type = T;
  };
  template <class F> static auto walk([[maybe_unused]] const Forward &f, F call) {
    if constexpr (std::is_base_of_v<Widened, Format>)
      if (widening_pays<Cell, Format>(f)) return call(Type<WidenedWalk<Cell, Format>>());
    return call(Type<Walk>());
  }
};
#endif

// Calls f with the side of a precision that `has`.
template <class Cell, class F> auto with_precision([[maybe_unused]] Precision precision, F f) {
#if IS_SINGLE(XLSTM_REAL)
  switch (precision) {
    case Precision::BFLOAT16: return f(Narrow<Cell, BFloat16>());
#if defined(__AVX512BF16__)
    case Precision::BFLOAT16_PAIRS: return f(Narrow<Cell, BFloat16Pairs>());
#endif
#if defined(__F16C__)
    case Precision::FLOAT16: return f(Narrow<Cell, Float16>());
#endif
#if defined(__AVX2__)
    case Precision::INT8: return f(Narrow<Cell, Int8<false>>());
    case Precision::INT8_VNNI: return f(Narrow<Cell, Int8<HAS_VNNI>>());
#endif
    default: break;
  }
#endif
  return f(Full<Cell>());
}

template <class Cell> constexpr CellKernels kernels_of() {
  return {
      Cell::NAME,
      Cell::GATES,
      Cell::HAS_C,
      Cell::SECOND_BIAS,
      [](long D, long H, Precision precision) {
        return with_precision<Cell>(precision, [&](auto side) { return side.packed_bytes(D, H); });
      },
      [](const void *weight_ih, const void *weight_hh, const void *bias, const void *second_bias, long D, long H,
         Precision precision, void *to) {
        with_precision<Cell>(precision,
                             [&](auto side) { side.pack(weight_ih, weight_hh, bias, second_bias, D, H, to); });
      },
      [](const Pass &pass) {
        size_t bytes;
        Kept<Cell>(pass, Carver{nullptr}, &bytes);
        return bytes;
      },
      [](const Forward &f) {
        return with_precision<Cell>(f.pass.precision, [&](auto side) { return side.forward_bytes(f); });
      },
      [](const Forward &f) {
        with_precision<Cell>(f.pass.precision, [&](auto side) { side.forward(f); });
      },
      [](const Backward &f) {
        size_t bytes;
        BackwardWalk<Cell>(f, Carver{nullptr}, &bytes);
        return bytes;
      },
      [](const Backward &f) { BackwardWalk<Cell>(f, Carver{(char *)f.scratch}).run(); },
  };
}

template <class... Cell> constexpr std::array<CellKernels, sizeof...(Cell)> rows_of(CellTable<Cell...>) {
  return {kernels_of<Cell>()...};
}
constexpr auto ROWS = rows_of(Cells{});

}  // namespace

#define JOIN_(a, b, c) a##_##b##_##c
#define JOIN(a, b, c) JOIN_(a, b, c)
#define TABLE JOIN(kernels, XLSTM_TARGET, XLSTM_REAL)

extern const xlstm::Kernels TABLE;
const xlstm::Kernels TABLE = {
    SINGLE ? "float32" : "float64", sizeof(real), has, update, ROWS.data(), ROWS.size(),
};
