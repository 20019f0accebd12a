// The table of the kernels, by target, dtype and cell: the instruction sets of this architecture, best first. What each
// has for a dtype comes from kernels/kernels.cpp, which was compiled once for each (setup.py has the flags).
#pragma once

#include <cstring>

#include "kernels/kernels.h"

#define XLSTM_DECLARE(name) extern const xlstm::Kernels kernels_##name##_float, kernels_##name##_double;
#define XLSTM_TARGET_ROW(name, condition) \
  {#name, [] { return bool(condition); }, {&kernels_##name##_float, &kernels_##name##_double}}

namespace xlstm {

struct Target {
  const char *name;
  bool (*runs_here)();
  const Kernels *dtypes[2];
};

}  // namespace xlstm

#if defined(__x86_64__)

XLSTM_DECLARE(avx512)
XLSTM_DECLARE(avx2)
XLSTM_DECLARE(sse2)

namespace xlstm {
static const Target TARGETS[] = {
    XLSTM_TARGET_ROW(avx512, __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
                                 __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq")),
    XLSTM_TARGET_ROW(avx2, __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")),
    XLSTM_TARGET_ROW(sse2, true),
};
}

#elif defined(__aarch64__)

XLSTM_DECLARE(neon)

namespace xlstm {
static const Target TARGETS[] = {XLSTM_TARGET_ROW(neon, true)};
}

#else

XLSTM_DECLARE(generic)

namespace xlstm {
static const Target TARGETS[] = {XLSTM_TARGET_ROW(generic, true)};
}

#endif

namespace xlstm {

// The kernels of these names; null where there are none, or this CPU lacks their instruction set.
inline const Kernels *find_kernels(const char *target, const char *dtype) {
  for (const Target &row : TARGETS)
    if (!std::strcmp(row.name, target) && row.runs_here())
      for (const Kernels *kernels : row.dtypes)
        if (!std::strcmp(kernels->dtype, dtype)) return kernels;
  return nullptr;
}

inline const CellKernels *find_cell(const Kernels &kernels, const char *cell) {
  for (size_t k = 0; k < kernels.cell_count; ++k)
    if (!std::strcmp(kernels.cells[k].cell, cell)) return kernels.cells + k;
  return nullptr;
}

}  // namespace xlstm
