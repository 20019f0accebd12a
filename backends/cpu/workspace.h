// Where the memory of a call comes from, and what becomes of it afterwards: blocks that were given back are kept.
#pragma once

#include "lock.h"  // Python.h comes before any other header

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <utility>
#include <vector>

#include "kernels/clock.h"

#ifdef __linux__
#include <sys/mman.h>
#endif
#ifdef __GLIBC__
#include <malloc.h>
#endif
#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#endif

namespace xlstm {

// Large blocks come from the system itself, and go back to it: what malloc is given back it may keep, as it does with
// pieces of up to 32 MB, and a process would hold what earlier and smaller calls used beside what it needs. Not under
// the address sanitizer, which watches the ends of what malloc gives.
#if defined(__linux__) && !defined(__SANITIZE_ADDRESS__)
#define XLSTM_MAPPED
#endif

struct Block {
  void *memory = nullptr;
  size_t bytes = 0;
  double since = 0;  // when it was given back

  // The kernels forbid the sanitizer parts of a block (kernels/memory.h): allows them again.
  void allow_all() const {
#ifdef __SANITIZE_ADDRESS__
    __asan_unpoison_memory_region(memory, bytes);
#endif
  }
};

// The first touch of fresh memory costs more than the work on it.
class Workspaces {
 public:
  Workspaces() { kept_.reserve(KEPT_BLOCKS + 1); }  // `give` runs where no exception may pass

  // A block of `bytes` or more; one without memory where the system gives none.
  Block take(size_t bytes) {
    const Locked locked;
    bytes = bytes < PAGE ? PAGE : bytes;
    size_t best = kept_.size();
    for (size_t k = 0; k < kept_.size(); ++k)
      if (kept_[k].bytes >= bytes && kept_[k].bytes / TOO_LARGE <= bytes &&
          (best == kept_.size() || kept_[k].bytes <= kept_[best].bytes))
        best = k;
    Block block;
    if (best < kept_.size()) {
      block = kept_[best];
      forget(best);
    } else {
      replace(bytes);
      const size_t unit = bytes > HUGE_PAGE - PAGE ? HUGE_PAGE : PAGE;  // so that `release` knows it by its size
      block.bytes = (bytes + unit - 1) / unit * unit;
      block.memory = fresh(unit, block.bytes);
      if (!block.memory) {
        release_kept();  // what is kept may be what is missing
        block.memory = fresh(unit, block.bytes);
        if (!block.memory) return {};
      }
#if defined(__linux__) && defined(MADV_HUGEPAGE)
      if (unit == HUGE_PAGE) madvise(block.memory, block.bytes, MADV_HUGEPAGE);
#endif
    }
    block.allow_all();
#ifdef XLSTM_POISON  // for tests: whoever reads what nobody wrote reads NaN
    std::memset(block.memory, 0xff, block.bytes);
#endif
    return block;
  }

  void give(Block block) {
    if (!block.memory) return;
    const Locked locked;
    if (block.bytes > KEPT_BYTES) return release(block);  // kept, it would push out all others
    block.since = seconds();
    kept_.push_back(block);
    total_ += block.bytes;
    while (total_ > KEPT_BYTES || kept_.size() > KEPT_BLOCKS || block.since - kept_.front().since > keep_for_) {
      release(kept_.front());
      forget(0);
    }
  }

  // Gives all that is kept back to the system; returns how many bytes that was.
  size_t release_all() {
    const Locked locked;
    return release_kept();
  }

  // What no call took for so many seconds is released by the next. Returns what it was before.
  double keep_for(double seconds) {
    const Locked locked;
    return std::exchange(keep_for_, seconds);
  }

 private:
  size_t release_kept() {
    for (Block block : kept_) release(block);
    kept_.clear();
#ifdef __GLIBC__
    malloc_trim(0);  // which would keep small blocks for itself
#endif
    return std::exchange(total_, 0);
  }

  // A block is coming that does what the next smaller one is kept for: where calls grow, each would leave one behind.
  void replace(size_t bytes) {
    size_t outgrown = kept_.size();
    for (size_t k = 0; k < kept_.size(); ++k)
      if (kept_[k].bytes < bytes && kept_[k].bytes >= bytes / TOO_LARGE &&
          (outgrown == kept_.size() || kept_[k].bytes > kept_[outgrown].bytes))
        outgrown = k;
    if (outgrown == kept_.size()) return;
    release(kept_[outgrown]);
    forget(outgrown);
  }

  static constexpr size_t PAGE = 4096, HUGE_PAGE = size_t(2) << 20;
  static constexpr size_t TOO_LARGE = 4;  // times what is asked for: kept for larger calls
  static constexpr size_t KEPT_BYTES = size_t(512) << 20, KEPT_BLOCKS = 32;
  std::vector<Block> kept_;  // the longest unused first
  size_t total_ = 0;
  double keep_for_ = 30;

  void forget(size_t place) {
    total_ -= kept_[place].bytes;
    kept_.erase(kept_.begin() + place);
  }

  // So many bytes, a multiple of `unit`, at an address that is one; or null.
  static void *fresh(size_t unit, size_t bytes) {
#ifdef XLSTM_MAPPED
    if (unit == HUGE_PAGE) {
      void *found = mmap(nullptr, bytes + unit, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
      if (found == MAP_FAILED) return nullptr;
      char *begin = (char *)found, *memory = (char *)((uintptr_t(begin) + unit - 1) / unit * unit);
      if (memory > begin) munmap(begin, memory - begin);
      munmap(memory + bytes, begin + unit - memory);  // never empty: pages begin at multiples of less than `unit`
      return memory;
    }
#endif
    void *memory = nullptr;
    return posix_memalign(&memory, unit, bytes) ? nullptr : memory;
  }

  static void release(Block block) {
    block.allow_all();
#ifdef XLSTM_MAPPED
    if (block.bytes >= HUGE_PAGE) {
      munmap(block.memory, block.bytes);
      return;
    }
#endif
    std::free(block.memory);
  }
};

// Never destroyed: tapes may outlive the module's own end.
inline Workspaces &workspaces() {
  static Workspaces *all = new Workspaces;
  return *all;
}

// A block for as long as this lives.
class Borrowed {
 public:
  explicit Borrowed(size_t bytes) : block_(workspaces().take(bytes)) {}
  ~Borrowed() { workspaces().give(block_); }
  Borrowed(const Borrowed &) = delete;
  void *memory() const { return block_.memory; }

 private:
  Block block_;
};

}  // namespace xlstm
