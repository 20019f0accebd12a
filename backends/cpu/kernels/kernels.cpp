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

namespace {

bool has_bfloat16() {
#if defined(__AVX512BF16__)
  return BFLOAT16 && __builtin_cpu_supports("avx512bf16");
#else
  return false;
#endif
}

template <class Cell, class Stored> size_t packed_bytes(long D, long H) {
  Carver memory{nullptr};
  packed_in<Cell, Stored>(memory, D, H);
  return memory.used;
}

template <class Cell, class Stored> size_t forward_bytes(const Forward &f) {
  size_t bytes;
  ForwardWalk<Cell, Stored>(f, Carver{nullptr}, &bytes);
  return bytes;
}

// What stands for bfloat16 where it is not compiled: its code is then never reached, nor made twice.
using half = std::conditional_t<BFLOAT16, bfloat16, real>;

template <class Cell> constexpr CellKernels kernels_of() {
  return {
      Cell::NAME,
      Cell::GATES,
      Cell::HAS_C,
      Cell::SECOND_BIAS,
      [](long D, long H, bool narrow) {
        return narrow ? packed_bytes<Cell, half>(D, H) : packed_bytes<Cell, real>(D, H);
      },
      [](const void *weight_ih, const void *weight_hh, const void *bias, const void *second_bias, long D, long H,
         bool narrow, void *to) {
        (narrow ? pack_all<Cell, half> : pack_all<Cell, real>)(weight_ih, weight_hh, bias, second_bias, D, H, to);
      },
      [](const Pass &pass) {
        size_t bytes;
        Kept<Cell>(pass, Carver{nullptr}, &bytes);
        return bytes;
      },
      [](const Forward &f) { return f.pass.bfloat16 ? forward_bytes<Cell, half>(f) : forward_bytes<Cell, real>(f); },
      [](const Forward &f) {
        if (f.pass.bfloat16) ForwardWalk<Cell, half>(f, Carver{(char *)f.scratch}).run();
        else ForwardWalk<Cell, real>(f, Carver{(char *)f.scratch}).run();
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
    SINGLE ? "float32" : "float64", sizeof(real), has_bfloat16, update, ROWS.data(), ROWS.size(),
};
