// The clock by which waiting is measured.
#pragma once

#include <time.h>

namespace {

// In a namespace without a name, as all functions of the kernels: the linker keeps one of several inline functions of a
// name, and that one may be compiled for an instruction set that this CPU has not.
inline double seconds() {
  timespec now;
#if defined(__APPLE__)  // its CLOCK_MONOTONIC counts microseconds
  clock_gettime(CLOCK_MONOTONIC_RAW, &now);
#else
  clock_gettime(CLOCK_MONOTONIC, &now);
#endif
  return now.tv_sec + 1e-9 * now.tv_nsec;
}

}  // namespace
