// How a walk is run: with memory for its time, on as many threads as it may use, without the interpreter lock.
#pragma once

#include "arguments.h"
#include "attempts.h"
#include "workspace.h"

namespace xlstm {

// `bytes` and `walk` are the kernels' functions for `given`, a Forward or a Backward.
template <class Given> bool run(size_t (*bytes)(const Given &), void (*walk)(const Given &), Given &given) {
  Attempt attempt(&given.pass);
  Borrowed scratch(bytes(given));
  if (!scratch.memory()) {
    PyErr_NoMemory();
    return false;
  }
  given.scratch = scratch.memory();
  Py_BEGIN_ALLOW_THREADS;
  walk(given);
  Py_END_ALLOW_THREADS;
  attempt.ended();
  return true;
}

inline bool run_forward(const CellKernels &cell, Forward &f) { return run(cell.forward_bytes, cell.forward, f); }
inline bool run_backward(const CellKernels &cell, Backward &b) { return run(cell.backward_bytes, cell.backward, b); }

}  // namespace xlstm
