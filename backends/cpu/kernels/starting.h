// Whether the system lets this process start more threads: where it does not, GNU's OpenMP ends the process.
#pragma once

#include <pthread.h>

#include <cstdlib>

namespace {

// Whether `more` threads, that live at the same time, can be started now: by starting them.
inline bool threads_start(long more) {
  const long tried = more + 1;  // the stack of one stands for the memory that OpenMP takes for itself
  pthread_t *threads = (pthread_t *)std::malloc(tried * sizeof(pthread_t));
  if (!threads) return false;
  pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;
  const auto wait = [](void *shut) -> void * {
    pthread_mutex_lock((pthread_mutex_t *)shut);
    pthread_mutex_unlock((pthread_mutex_t *)shut);
    return nullptr;
  };
  pthread_mutex_lock(&gate);
  long started = 0;
  while (started < tried && !pthread_create(&threads[started], nullptr, wait, &gate)) ++started;
  pthread_mutex_unlock(&gate);
  for (long k = 0; k < started; ++k) pthread_join(threads[k], nullptr);
  std::free(threads);
  return started == tried;
}

}  // namespace
