// What the kernels ask of OpenMP, by plain threads that begin and end with each call: for sanitized.py --threads, since
// the thread sanitizer does not see how the threads of libgomp wait for one another, and reports what they order.
#include <pthread.h>
#include <unistd.h>

#include <cstdlib>
#include <vector>

namespace {

thread_local int number = 0, team = 1;

struct Part {
  void (*work)(void *);
  void *data;
  int number, team;
};

void *begin(void *given) {
  const Part &part = *static_cast<Part *>(given);
  number = part.number, team = part.team;
  part.work(part.data);
  return nullptr;
}

int processors() { return int(sysconf(_SC_NPROCESSORS_ONLN)); }

}  // namespace

extern "C" {

void GOMP_parallel(void (*work)(void *), void *data, unsigned threads, unsigned) {
  std::vector<Part> parts(threads);
  std::vector<pthread_t> started(threads);
  for (unsigned k = 1; k < threads; ++k) {
    parts[k] = {work, data, int(k), int(threads)};
    if (pthread_create(&started[k], nullptr, begin, &parts[k]) != 0) std::abort();
  }
  const int number_before = number, team_before = team;
  number = 0, team = int(threads);
  work(data);
  number = number_before, team = team_before;
  for (unsigned k = 1; k < threads; ++k) pthread_join(started[k], nullptr);
}

int omp_get_thread_num() { return number; }
int omp_get_num_threads() { return team; }
int omp_get_num_procs() { return processors(); }
int omp_get_thread_limit() {
  const char *limit = std::getenv("OMP_THREAD_LIMIT");
  return limit ? std::atoi(limit) : 1 << 16;
}
int omp_get_max_threads() {
  const char *asked = std::getenv("OMP_NUM_THREADS");
  return asked ? std::atoi(asked) : processors();
}
}
