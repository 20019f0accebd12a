// A GPU on the CPU: kernels of backends/cuda/kernels run here from their own source, compiled by g++.
//
// The threads of a KERNEL are fibres, resumed in turn or, with a seed, in a shuffled order at every round; they
// wait at block_sync() until all threads of their block are there. Shared memory is poisoned, with a guard behind each
// array. Reported are: a block that has ended in part while the others wait, too much shared or local memory, a launch
// that does not end. The threads of a LONE_KERNEL are plain calls, in some order.
// As on a device where CuPy compiles, float32 subnormals are flushed to zero.
#pragma once
#include <cmath>
#include <csetjmp>
#include <csignal>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <memory>
#include <sys/time.h>
#include <ucontext.h>
#include <utility>
#include <vector>
#if defined(__SSE__)
#include <xmmintrin.h>
#endif

#define XLSTM_EMULATOR
#define KERNEL static
#define LONE_KERNEL static
#define DEVICE static inline
#define SHARED(type, name, size) type *name = static_cast<type *>(simt::shared(sizeof(type) * (size)))

using i64 = long long;
using u32 = unsigned int;
using std::exp;
using std::fabs;
using std::isfinite;
using std::log;
using std::log1p;
using std::sqrt;
using std::tanh;

namespace simt {

constexpr size_t SPARE = 4096, STACK = 64 * 1024 + SPARE, SHARED_MEMORY = 48 * 1024;  // the latter as every GPU has it
constexpr size_t GAP = 64, GAPS = 64;                               // bytes behind each shared array; at most so many
constexpr int POISON = 0xFF, CANARY = 0xCD;                         // the former is NaN in floats

struct Size { i64 x = 1, y = 1; };
// A thread of a block. Fibres and their stacks stay from block to block and from launch to launch: a new one costs more
// than most kernels do.
struct Fibre {
  ucontext_t start;
  jmp_buf at;
  i64 x, y;
  bool started = false, done = true;
  size_t shared_used = 0, shared_bytes = 0;
  std::unique_ptr<char[]> stack{new char[STACK]};
};

inline Size grid, block, here;      // of the launch; `here` is the block that runs
inline i64 lone_x, lone_y;          // the thread, in a lone kernel
inline std::deque<Fibre> fibres;
inline Fibre *current = nullptr;    // the thread, in a kernel whose threads share
inline jmp_buf scheduler;
inline sigjmp_buf too_late;
alignas(16) inline char memory[SHARED_MEMORY + GAP * GAPS];  // the shared memory of the block
inline std::vector<size_t> gaps;    // where in it the guards are
inline const char *fault = nullptr; // what a kernel did that a GPU forbids
inline void (*body)(void **);
inline void **arguments;

inline i64 thread_x() { return current ? current->x : lone_x; }
inline i64 thread_y() { return current ? current->y : lone_y; }

inline void *shared(size_t bytes) {
  static char nothing[SHARED_MEMORY];
  if (!current) return fault = "a LONE_KERNEL asked for shared memory", nothing;
  size_t at = (current->shared_used + 15) / 16 * 16;
  current->shared_bytes += bytes;
  if (current->shared_bytes > SHARED_MEMORY || at + bytes + GAP > sizeof memory)
    return fault = "more than 48 KB of shared memory", nothing;
  current->shared_used = at + bytes + GAP;
  if (gaps.empty() || at + bytes > gaps.back()) gaps.push_back(at + bytes);
  return memory + at;
}

// Back to the scheduler, which goes on with another thread.
inline void leave(Fibre *self) {
  if (!_setjmp(self->at)) _longjmp(scheduler, 1);
}

inline void wait_for_block() {
  if (current) leave(current);
  else fault = "a LONE_KERNEL waited for its block";
}

// What a fibre does for ever: a thread of one block after another.
inline void live() {
  for (;;) {
    body(arguments);
    current->done = true;
    leave(current);
  }
}

inline void resume(Fibre &f) {
  if (_setjmp(scheduler)) return;
  current = &f;
  if (f.started) _longjmp(f.at, 1);
  f.started = true;
  std::memset(f.stack.get(), CANARY, SPARE);  // the end that a stack grows to
  getcontext(&f.start);
  f.start.uc_stack.ss_sp = f.stack.get(), f.start.uc_stack.ss_size = STACK, f.start.uc_link = nullptr;
  makecontext(&f.start, live, 0);
  setcontext(&f.start);
}

inline bool is_filled(const char *from, int with) {
  for (size_t k = 0; k < GAP; k++)
    if (from[k] != char(with)) return false;
  return true;
}

inline void run_block(u32 &random) {
  static std::vector<Fibre *> order;
  order.clear();
  std::memset(memory, POISON, sizeof memory);
  while (fibres.size() < size_t(block.x * block.y)) fibres.emplace_back();
  for (i64 y = 0, k = 0; y < block.y; y++)
    for (i64 x = 0; x < block.x; x++, k++) {
      Fibre &f = fibres[size_t(k)];
      if (!f.done) f.started = false;  // it was left waiting by a launch that went wrong
      f.x = x, f.y = y, f.done = false, f.shared_used = f.shared_bytes = 0;
      order.push_back(&f);
    }
  for (bool waiting = true; waiting;) {
    if (random)
      for (size_t i = order.size() - 1; i > 0; i--) {
        random = random * 1664525u + 1013904223u;
        std::swap(order[i], order[(random >> 8) % (i + 1)]);
      }
    size_t ended = 0;
    for (Fibre *f : order) {
      resume(*f);
      ended += f->done;
    }
    current = nullptr;
    // On a device, some threads at a barrier while others have returned is undefined.
    if (ended && ended < order.size()) fault = "some threads of a block wait for others that have returned";
    waiting = !ended && !fault;
  }
  for (size_t at : gaps)
    if (!is_filled(memory + at, POISON)) fault = "a thread wrote behind the end of a shared array";
  for (Fibre *f : order)
    if (!is_filled(f->stack.get() + SPARE - GAP, CANARY)) {
      fault = "a thread needs more than 64 KB of local memory";
      f->started = false;
    }
}

inline void run_lone_block(bool backward) {
  i64 threads = block.x * block.y;
  for (i64 k = 0; k < threads; k++) {
    i64 thread = backward ? threads - 1 - k : k;
    lone_x = thread % block.x, lone_y = thread / block.x;
    body(arguments);
  }
}

inline void stop(int) { siglongjmp(too_late, 1); }

// `seconds` of the processor's time are what a launch may take.
inline const char *launch(void (*f)(void **), void **args, bool lone, i64 gx, i64 gy, i64 bx, i64 by, u32 seed,
                          double seconds) {
  body = f, arguments = args, fault = nullptr, grid = {gx, gy}, block = {bx, by};
  gaps.clear();
#if defined(__SSE__)
  unsigned before = _mm_getcsr();
  if (sizeof(REAL) == 4) _mm_setcsr(before | 0x8040);  // flush to zero, and read subnormals as zero
#endif
  struct sigaction action = {}, action_before;
  action.sa_handler = stop;
  sigaction(SIGVTALRM, &action, &action_before);
  i64 whole = i64(seconds);
  itimerval timer = {{0, 0}, {whole, suseconds_t((seconds - double(whole)) * 1e6)}}, none = {};
  if (sigsetjmp(too_late, 1)) {
    fault = "it does not end";
  } else {
    setitimer(ITIMER_VIRTUAL, &timer, nullptr);
    i64 blocks = gx * gy;
    i64 step = 1, first = 0;
    if (seed && blocks > 1) {  // blocks run in any order on a device: here from some block on, forward or backward
      first = seed % blocks, step = seed & 1 ? 1 : blocks - 1;
    }
    bool backward = seed && !(seed & 1);
    for (i64 k = 0, at = first; k < blocks && !fault; k++, at = (at + step) % blocks) {
      here = {at % gx, at / gx};
      if (lone) run_lone_block(backward);
      else run_block(seed);
    }
  }
  setitimer(ITIMER_VIRTUAL, &none, nullptr);
  sigaction(SIGVTALRM, &action_before, nullptr);
  current = nullptr;
#if defined(__SSE__)
  _mm_setcsr(before);
#endif
  return fault;
}

}  // namespace simt

DEVICE i64 thread_x() { return simt::thread_x(); }
DEVICE i64 thread_y() { return simt::thread_y(); }
DEVICE i64 block_x() { return simt::here.x; }
DEVICE i64 block_y() { return simt::here.y; }
DEVICE i64 block_width() { return simt::block.x; }
DEVICE i64 grid_width() { return simt::grid.x; }
DEVICE void block_sync() { simt::wait_for_block(); }
