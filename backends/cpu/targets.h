// The instruction sets of this architecture, best first: kernels.cpp was compiled once for each (setup.py has the
// flags).
#pragma once

#include "kernels.h"

#define XLSTM_DECLARE(name) extern const xlstm::Kernels kernels_##name##_float[], kernels_##name##_double[];
#define XLSTM_TARGET_ROW(name, condition) \
  {#name, [] { return bool(condition); }, {kernels_##name##_float, kernels_##name##_double}}

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
