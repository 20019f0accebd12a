// Whether the system lets this process start more threads: where it does not, GNU's OpenMP ends the process.
#pragma once

#include <pthread.h>

#include <cstdlib>
#include <cstring>

namespace {

// The bytes that GNU's OpenMP gives the stack of a thread, as it reads them from the environment: 0 is the system's own
// number. Digits, and B, K, M or G; K without a letter.
inline size_t stack_of_openmp() {
  for (const char *name : {"OMP_STACKSIZE", "GOMP_STACKSIZE"}) {
    const char *text = std::getenv(name);
    if (!text) continue;
    char *end;
    const unsigned long number = std::strtoul(text, &end, 10);
    while (*end == ' ' || *end == '\t') ++end;
    const char *const letters = "bBkKmMgG", *letter = *end ? std::strchr(letters, *end) : "k";
    if (end != text && letter) return size_t(number) << (*end ? (letter - letters) / 2 * 10 : 10);
  }
  return 0;
}

// Whether `more` threads, that live at the same time, can be started now: by starting them.
inline bool threads_start(long more) {
  const long tried = more + 1;  // the stack of one stands for the memory that OpenMP takes for itself
  pthread_t *threads = (pthread_t *)std::malloc(tried * sizeof(pthread_t));
  if (!threads) return false;
  pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  if (const size_t stack = stack_of_openmp()) pthread_attr_setstacksize(&attributes, stack);  // refuses too few
  const auto wait = [](void *shut) -> void * {
    pthread_mutex_lock((pthread_mutex_t *)shut);
    pthread_mutex_unlock((pthread_mutex_t *)shut);
    return nullptr;
  };
  pthread_mutex_lock(&gate);
  long started = 0;
  while (started < tried && !pthread_create(&threads[started], &attributes, wait, &gate)) ++started;
  pthread_mutex_unlock(&gate);
  for (long k = 0; k < started; ++k) pthread_join(threads[k], nullptr);
  pthread_attr_destroy(&attributes);
  std::free(threads);
  return started == tried;
}

}  // namespace
