// What the first-level cache of this machine holds: how many weights a product takes at a time.
#pragma once

#if defined(__APPLE__)
#include <sys/sysctl.h>
#elif defined(__unix__)
#include <unistd.h>
#endif

namespace xlstm {

// Bytes for data, of a core. Where the system does not tell (musl, Windows, some virtual machines): 32 KB, which every
// CPU of the last twenty years has.
inline long first_level_cache() {
  static const long bytes = [] {
    long found = 0;
#if defined(__APPLE__)
    size_t size = sizeof found;
    if (sysctlbyname("hw.l1dcachesize", &found, &size, nullptr, 0) != 0) found = 0;
#elif defined(_SC_LEVEL1_DCACHE_SIZE)
    found = sysconf(_SC_LEVEL1_DCACHE_SIZE);
#endif
    return found >= 8 << 10 && found <= 1 << 20 ? found : 32 << 10;
  }();
  return bytes;
}

}  // namespace xlstm
