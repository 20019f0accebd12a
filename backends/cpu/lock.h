// The lock of what calls share, in free-threaded Python. Elsewhere the interpreter's own does that.
#pragma once

#include "arguments.h"  // Python.h comes before any other header

#include <pthread.h>

namespace xlstm {

#ifdef Py_GIL_DISABLED

inline pthread_mutex_t shared_state = PTHREAD_MUTEX_INITIALIZER;

// For as long as this lives. Short, not one within another, and nothing of Python is called meanwhile.
class Locked {
 public:
  Locked() { pthread_mutex_lock(&shared_state); }
  ~Locked() { pthread_mutex_unlock(&shared_state); }
  Locked(const Locked &) = delete;
};

// A child process has none but the thread that forked: another's lock nobody would open there.
inline void lock_for_fork() { pthread_mutex_lock(&shared_state); }
inline void unlock_after_fork() { pthread_mutex_unlock(&shared_state); }

#else

struct Locked {
  Locked() {}
};
inline void lock_for_fork() {}
inline void unlock_after_fork() {}

#endif

}  // namespace xlstm
