// A GPU on the CPU: kernels of backends/cuda/kernels run here from their own source, compiled by g++.
//
// The threads of a KERNEL are fibres (ucontext), resumed in turn or, with a seed, in a shuffled order at every round; they
// wait at block_sync() until all threads of their block are there. Shared memory is poisoned. A block whose threads wait
// for ever, or that has ended in part while the others wait, is reported. The threads of a LONE_KERNEL are plain calls.
// As on a device where CuPy compiles, float32 subnormals are flushed to zero.
#pragma once
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <ucontext.h>
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

constexpr size_t STACK = 64 * 1024, SHARED_MEMORY = 48 * 1024;  // the latter as every GPU has it

struct Size { i64 x = 1, y = 1; };
struct Fibre {
  ucontext_t context;
  i64 x, y;
  bool done = false, waiting = false;
  size_t shared_used = 0;
};

inline Size grid, block, here;      // of the launch; `here` is the block that runs
inline i64 lone_x, lone_y;          // the thread, in a lone kernel
inline Fibre *current = nullptr;    // the thread, in a kernel whose threads share
inline ucontext_t scheduler;
inline std::vector<char> memory;    // the shared memory of the block
inline std::vector<std::vector<char>> stacks;  // of the fibres: made once, for touching new memory takes most of the time
inline const char *fault = nullptr; // what a kernel did that a GPU forbids
inline void (*body)(void **);
inline void **arguments;

inline i64 thread_x() { return current ? current->x : lone_x; }
inline i64 thread_y() { return current ? current->y : lone_y; }

inline void *shared(size_t bytes) {
  static char nothing[SHARED_MEMORY];
  if (!current) return fault = "a LONE_KERNEL asked for shared memory", nothing;
  size_t at = (current->shared_used + 15) / 16 * 16;
  if (at + bytes > SHARED_MEMORY) return fault = "more than 48 KB of shared memory", nothing;
  current->shared_used = at + bytes;
  return memory.data() + at;
}

inline void wait_for_block() {
  if (!current) { fault = "a LONE_KERNEL waited for its block"; return; }
  Fibre *self = current;
  self->waiting = true;
  swapcontext(&self->context, &scheduler);
}

inline void enter() {
  body(arguments);
  current->done = true;
}

inline void run_block(u32 &random) {
  std::vector<Fibre> fibres(size_t(block.x * block.y));
  std::vector<Fibre *> order;
  while (stacks.size() < fibres.size()) stacks.emplace_back(STACK);
  std::memset(memory.data(), 0xAB, memory.size());
  for (i64 y = 0, k = 0; y < block.y; y++)
    for (i64 x = 0; x < block.x; x++, k++) {
      Fibre &f = fibres[size_t(k)];
      f.x = x, f.y = y;
      getcontext(&f.context);
      f.context.uc_stack.ss_sp = stacks[size_t(k)].data(), f.context.uc_stack.ss_size = STACK, f.context.uc_link = &scheduler;
      makecontext(&f.context, enter, 0);
      order.push_back(&f);
    }
  for (;;) {
    if (random)
      for (size_t i = order.size() - 1; i > 0; i--) {
        random = random * 1664525u + 1013904223u;
        std::swap(order[i], order[(random >> 8) % (i + 1)]);
      }
    size_t ended = 0;
    for (Fibre *f : order) {
      if (!f->done) {
        current = f;
        swapcontext(&scheduler, &f->context);
        current = nullptr;
      }
      ended += f->done;
    }
    if (ended == order.size()) return;
    // On a device, some threads at a barrier while others have returned is undefined.
    if (ended) { fault = "some threads of a block wait for others that have returned"; return; }
    for (Fibre *f : order) f->waiting = false;
  }
}

inline const char *launch(void (*f)(void **), void **args, bool lone, i64 gx, i64 gy, i64 bx, i64 by, u32 seed) {
  body = f, arguments = args, fault = nullptr, grid = {gx, gy}, block = {bx, by};
  memory.resize(SHARED_MEMORY);
#if defined(__SSE__)
  unsigned before = _mm_getcsr();
  if (sizeof(REAL) == 4) _mm_setcsr(before | 0x8040);  // flush to zero, and read subnormals as zero
#endif
  i64 blocks = gx * gy;
  i64 step = 1, first = 0;
  if (seed && blocks > 1) {  // blocks run in any order on a device: here from some block on, forward or backward
    first = seed % blocks, step = seed & 1 ? 1 : blocks - 1;
  }
  for (i64 k = 0, at = first; k < blocks && !fault; k++, at = (at + step) % blocks) {
    here = {at % gx, at / gx};
    if (!lone) {
      run_block(seed);
      continue;
    }
    for (lone_y = 0; lone_y < by; lone_y++)
      for (lone_x = 0; lone_x < bx; lone_x++) body(arguments);
  }
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
DEVICE i64 block_height() { return simt::block.y; }
DEVICE i64 grid_width() { return simt::grid.x; }
DEVICE i64 grid_height() { return simt::grid.y; }
DEVICE void block_sync() { simt::wait_for_block(); }
