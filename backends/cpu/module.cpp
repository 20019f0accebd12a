// The Python module xlstm.backends.cpu._kernels: unpacks and checks arguments, finds memory, and calls the kernels,
// without the interpreter lock where that may take long. backends/cpu/layer.py and update.py are the only callers, and
// they check what a user can get wrong; the checks here only keep a mistake of ours from reading or writing outside of
// an array.
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>
#include <vector>

#ifdef _OPENMP
#include <omp.h>
#endif
#ifdef __linux__
#include <sys/mman.h>
#endif
#include <pthread.h>
#include <time.h>
#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#endif

#include "kernels.h"
#include "schedule.h"
#include "targets.h"

namespace {

using namespace xlstm;

constexpr int TARGET_COUNT = sizeof TARGETS / sizeof *TARGETS;

// ---------------------------------------------------------------- memory

struct Block {
  void *memory = nullptr;
  size_t bytes = 0;
};

// Blocks that were given back are kept: the first touch of fresh memory costs more than the work on it. Used with the
// interpreter lock held. Never destroyed: tapes may outlive the module's own end.
struct Workspaces {
  static constexpr size_t HUGE_PAGE = size_t(2) << 20, KEPT_BYTES = size_t(512) << 20, KEPT_BLOCKS = 32;
  std::vector<Block> kept;  // the longest unused first
  size_t total = 0;

  Workspaces() { kept.reserve(KEPT_BLOCKS + 1); }  // `give` runs where no exception may pass

  Block take(size_t bytes) {
    bytes = bytes < 4096 ? 4096 : bytes;
    size_t best = kept.size();
    for (size_t k = 0; k < kept.size(); ++k)
      if (kept[k].bytes >= bytes && kept[k].bytes / 2 <= bytes &&
          (best == kept.size() || kept[k].bytes <= kept[best].bytes))
        best = k;
    Block block;
    if (best < kept.size()) {
      block = kept[best];
      kept.erase(kept.begin() + best);
      total -= block.bytes;
    } else {
      const size_t unit = bytes >= HUGE_PAGE ? HUGE_PAGE : 4096;
      block.bytes = (bytes + unit - 1) / unit * unit;
      if (posix_memalign(&block.memory, unit, block.bytes)) return {};
#if defined(__linux__) && defined(MADV_HUGEPAGE)
      if (unit == HUGE_PAGE) madvise(block.memory, block.bytes, MADV_HUGEPAGE);
#endif
    }
#ifdef __SANITIZE_ADDRESS__  // see Carver in kernels.cpp
    __asan_unpoison_memory_region(block.memory, block.bytes);
#endif
#ifdef XLSTM_POISON  // for tests: whoever reads what nobody wrote reads NaN
    std::memset(block.memory, 0xff, block.bytes);
#endif
    return block;
  }

  void give(Block block) {
    if (!block.memory) return;
    if (block.bytes > KEPT_BYTES) return release(block);  // kept, it would push out all others
    kept.push_back(block);
    total += block.bytes;
    while (total > KEPT_BYTES || kept.size() > KEPT_BLOCKS) {
      total -= kept.front().bytes;
      release(kept.front());
      kept.erase(kept.begin());
    }
  }

 private:
  static void release(Block block) {
#ifdef __SANITIZE_ADDRESS__
    __asan_unpoison_memory_region(block.memory, block.bytes);
#endif
    std::free(block.memory);
  }
};

Workspaces &workspaces() {
  static Workspaces *all = new Workspaces;
  return *all;
}

// A block for the time of a call.
struct Borrowed {
  Block block;
  explicit Borrowed(size_t bytes) : block(workspaces().take(bytes)) {}
  ~Borrowed() { workspaces().give(block); }
  Borrowed(const Borrowed &) = delete;
};

// ---------------------------------------------------------------- threads

long limit = 0;              // what set_threads was given; 0 for none
bool steady = false;         // whether a call always uses that many, though it waits for them
bool forked = false;         // whether this is a child process: the threads that its parent may have started, by these
                             // kernels or another library, are not in it, and GNU's OpenMP would wait for them for ever

long usable_threads() {
  if (forked) return 1;
#ifdef _OPENMP
  const long most = omp_get_max_threads();  // OMP_NUM_THREADS, the processors allowed, threadpoolctl
  return limit > 0 && limit < most ? limit : most;
#else
  return 1;
#endif
}

// ---------------------------------------------------------------- arguments

// A new reference, or null.
struct Owned {
  PyObject *object;
  explicit Owned(PyObject *given) : object(given) {}
  ~Owned() { Py_XDECREF(object); }
  Owned(const Owned &) = delete;
  PyObject *release() {
    PyObject *given = object;
    object = nullptr;
    return given;
  }
};

// F as a method: memory may end wherever C++ allocates some.
template <PyObject *(*F)(PyObject *, PyObject *const *, Py_ssize_t)>
PyObject *guarded(PyObject *self, PyObject *const *arguments, Py_ssize_t count) {
  try {
    return F(self, arguments, count);
  } catch (const std::bad_alloc &) {
    return PyErr_NoMemory();
  }
}

// An array argument, or none. Released when it goes out of scope.
struct Array {
  Py_buffer view;
  bool held = false;

  ~Array() {
    if (held) PyBuffer_Release(&view);
  }
  // False with an exception set where `object` is no C-contiguous array of `count` items of `item` bytes.
  bool take(PyObject *object, const char *name, long count, size_t item, bool written = false) {
    if (object == Py_None) return true;
    if (PyObject_GetBuffer(object, &view, PyBUF_C_CONTIGUOUS | (written ? PyBUF_WRITABLE : 0))) return false;
    held = true;
    if (view.len != Py_ssize_t(count * item) || view.itemsize != Py_ssize_t(item)) {
      PyErr_Format(PyExc_ValueError, "%s: %zd bytes in items of %zd, expected %ld items of %zu", name, view.len,
                   view.itemsize, count, item);
      return false;
    }
    return true;
  }
  // Whether `object` is a C-contiguous, aligned array of three dimensions, of class `type` and the item's format, or
  // None if `optional`. No exception is set.
  bool fits(PyObject *object, PyObject *type, char format, bool optional) {
    if (optional && object == Py_None) return true;
    if ((PyObject *)Py_TYPE(object) != type) return false;
    if (PyObject_GetBuffer(object, &view, PyBUF_C_CONTIGUOUS | PyBUF_FORMAT)) {
      PyErr_Clear();
      return false;
    }
    held = true;
    return view.ndim == 3 && view.format[0] == format && !view.format[1] && uintptr_t(view.buf) % view.itemsize == 0;
  }
  bool has_shape(long first, long second, long third) const {
    return !held || (view.shape[0] == first && view.shape[1] == second && view.shape[2] == third);
  }
  void *data() const { return held ? view.buf : nullptr; }
};

struct Selected {
  const Kernels *kernels;
  size_t item;  // bytes of a number
  long gates;
};

// `which` numbers target, dtype and cell: (target · 2 + dtype) · 2 + cell.
bool select(PyObject *which, Selected *selected) {
  const long number = PyLong_AsLong(which);
  if (PyErr_Occurred()) return false;
  const long cell = number % CELLS, dtype = number / CELLS % DTYPES, target = number / CELLS / DTYPES;
  if (number < 0 || target >= TARGET_COUNT || !TARGETS[target].runs_here()) {
    PyErr_SetString(PyExc_ValueError, "no such kernels here");
    return false;
  }
  *selected = {TARGETS[target].kernels[dtype] + cell, dtype == 0 ? size_t(4) : size_t(8), cell == 0 ? 4L : 1L};
  return true;
}

bool read_longs(PyObject *tuple, long *values, Py_ssize_t count, const char *name) {
  if (!PyTuple_Check(tuple) || PyTuple_GET_SIZE(tuple) != count) {
    PyErr_Format(PyExc_TypeError, "%s must be a tuple of %zd integers", name, count);
    return false;
  }
  for (Py_ssize_t k = 0; k < count; ++k) {
    values[k] = PyLong_AsLong(PyTuple_GET_ITEM(tuple, k));
    if (PyErr_Occurred()) return false;
    if (values[k] < 0) {
      PyErr_Format(PyExc_ValueError, "%s holds %ld", name, values[k]);
      return false;
    }
  }
  return true;
}

bool read_lengths(PyObject *object, long rows, long time, std::vector<int64_t> *lengths) {
  if (object == Py_None) return true;
  if (!PyList_Check(object) || PyList_GET_SIZE(object) != rows) {
    PyErr_SetString(PyExc_TypeError, "lengths must be a list of one integer for each row");
    return false;
  }
  lengths->resize(rows);
  for (long n = 0; n < rows; ++n) {
    (*lengths)[n] = PyLong_AsLong(PyList_GET_ITEM(object, n));
    if (PyErr_Occurred()) return false;
    if ((*lengths)[n] < 1 || (*lengths)[n] > time) {
      PyErr_SetString(PyExc_ValueError, "a length is outside 1 to T");
      return false;
    }
  }
  return true;
}

// What a forward call leaves for its backward call, in a capsule.
struct Tape {
  Selected selected;
  Size size;
  std::unique_ptr<OwnedSchedule> schedule;
  bool initial_state;
  Block block;
};

constexpr char TAPE[] = "xlstm tape", PACKED[] = "xlstm packed weights";

void free_tape(PyObject *capsule) {
  Tape *tape = (Tape *)PyCapsule_GetPointer(capsule, TAPE);
  workspaces().give(tape->block);
  delete tape;
}

struct PackedWeights {
  const Kernels *kernels;
  long D, H;
  bool bfloat16;
  Block block;
};

void free_packed(PyObject *capsule) {
  PackedWeights *packed = (PackedWeights *)PyCapsule_GetPointer(capsule, PACKED);
  workspaces().give(packed->block);
  delete packed;
}

// Weights of more than 8 MB come from memory in every step: twice as many rows then share a reading of them.
long rows_of_a_task(long gates, long D, long H) { return gates * H * (D + H) * 4 > (8 << 20) ? 64 : 32; }

// ---------------------------------------------------------------- functions

PyObject *targets(PyObject *, PyObject *) {
  PyObject *all = PyList_New(0);
  for (int k = 0; all && k < TARGET_COUNT; ++k) {
    PyObject *pair = Py_BuildValue("(sO)", TARGETS[k].name, TARGETS[k].runs_here() ? Py_True : Py_False);
    if (!pair || PyList_Append(all, pair)) Py_CLEAR(all);
    Py_XDECREF(pair);
  }
  return all;
}

// Where another program has the processors, a call on several threads waits for the one that is not let run, for the
// milliseconds that a scheduler's turn takes: many times what it takes on one. After a call that mostly waited, calls
// run on one thread for some time, and for twice that time if the next attempt is no better. The results are the same
// bits.
//
// Likewise, where two cores share no cache, threads do not share the hidden units of small steps: this is measured in a
// call that would gain by it otherwise, and then again after some time.
class Attempts {
 public:
  bool next() {
    if (until_ > 0 && seconds() < until_) return false;
    until_ = 0;
    return true;
  }
  void ended(bool well) {
    if (!well) until_ = seconds() + pause_;
    pause_ = well ? SHORTEST : pause_ < LONGEST ? 2 * pause_ : pause_;
  }

 private:
  static constexpr double SHORTEST = 0.02, LONGEST = 1;  // seconds
  double until_ = 0, pause_ = SHORTEST;

  static double seconds() {
    timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec + 1e-9 * now.tv_nsec;
  }
} several_threads, shared_steps;

// What a pass may use, and what is learnt from how it went.
struct Attempt {
  Report report = {-1, false, false};

  explicit Attempt(Size *size) {
    size->threads = steady || several_threads.next() ? usable_threads() : 1;
    size->share = steady || shared_steps.next();
    size->steady = steady;
    size->report = &report;
  }
  void ended() const {
    if (report.waited >= 0) several_threads.ended(report.waited <= 0.5);
    if (report.measured) shared_steps.ended(!report.apart);
  }
};

PyObject *threads(PyObject *, PyObject *) { return PyLong_FromLong(usable_threads()); }

PyObject *set_threads(PyObject *, PyObject *arguments) {
  int wanted, always;
  if (!PyArg_ParseTuple(arguments, "ip", &wanted, &always)) return nullptr;
  limit = wanted, steady = always, several_threads = shared_steps = Attempts();
  Py_RETURN_NONE;
}

// has_bfloat16(which) -> bool
PyObject *has_bfloat16(PyObject *, PyObject *which) {
  Selected selected;
  if (!select(which, &selected)) return nullptr;
  return PyBool_FromLong(selected.kernels->has_bfloat16());
}

// pack(which, D, H, weight_ih, weight_hh, bias, bfloat16) -> packed weights
PyObject *pack(PyObject *, PyObject *const *a, Py_ssize_t count) {
  if (count != 7) return PyErr_Format(PyExc_TypeError, "pack takes 7 arguments, got %zd", count);
  Selected selected;
  if (!select(a[0], &selected)) return nullptr;
  const long D = PyLong_AsLong(a[1]), H = PyLong_AsLong(a[2]), GH = selected.gates * H;
  const int bfloat16 = PyObject_IsTrue(a[6]);
  if (PyErr_Occurred()) return nullptr;
  if (bfloat16 && !selected.kernels->has_bfloat16()) return PyErr_Format(PyExc_ValueError, "no bfloat16 here");
  Array weight_ih, weight_hh, bias;
  if (!weight_ih.take(a[3], "weight_ih", GH * D, selected.item)) return nullptr;
  if (!weight_hh.take(a[4], "weight_hh", GH * H, selected.item)) return nullptr;
  if (!bias.take(a[5], "bias", GH, selected.item)) return nullptr;
  if (D < 1 || H < 1 || !weight_ih.held || !weight_hh.held || !bias.held)
    return PyErr_Format(PyExc_ValueError, "an array is missing, or a size is below 1");
  std::unique_ptr<PackedWeights> packed(new PackedWeights{selected.kernels, D, H, bfloat16 != 0, {}});
  packed->block = workspaces().take(selected.kernels->packed_bytes(D, H, bfloat16));
  if (!packed->block.memory) return PyErr_NoMemory();
  selected.kernels->pack(weight_ih.data(), weight_hh.data(), bias.data(), D, H, bfloat16, packed->block.memory);
  PyObject *capsule = PyCapsule_New(packed.get(), PACKED, free_packed);
  if (!capsule) {
    workspaces().give(packed->block);
    return nullptr;
  }
  packed.release();
  return capsule;
}

// On as many threads as may be used. False with an exception set.
bool run(const Kernels *kernels, Forward &f) {
  Attempt attempt(&f.size);
  Borrowed scratch(kernels->forward_bytes(f));
  if (!scratch.block.memory) {
    PyErr_NoMemory();
    return false;
  }
  f.scratch = scratch.block.memory;
  Py_BEGIN_ALLOW_THREADS;
  kernels->forward(f);
  Py_END_ALLOW_THREADS;
  attempt.ended();
  return true;
}

// forward(which, (N, T, D, H, V, one_hot, reverse, keep, output_width, output_column), lengths, x, ids, table,
//         weight_ih, weight_hh, bias, packed, h0, c0, outputs, h, c) -> tape or None
PyObject *forward(PyObject *, PyObject *const *a, Py_ssize_t count) {
  if (count != 15) return PyErr_Format(PyExc_TypeError, "forward takes 15 arguments, got %zd", count);
  Selected selected;
  long n[10];
  if (!select(a[0], &selected) || !read_longs(a[1], n, 10, "the sizes")) return nullptr;
  const long N = n[0], T = n[1], D = n[2], H = n[3], V = n[4], width = n[8], column = n[9];
  const bool one_hot = n[5], reverse = n[6], keep = n[7];
  const long GH = selected.gates * H;
  const size_t item = selected.item;
  if (N < 1 || T < 1 || D < 1 || H < 1 || column + H > width || (one_hot && V != D))
    return PyErr_Format(PyExc_ValueError, "sizes that do not fit");
  std::vector<int64_t> lengths;
  if (!read_lengths(a[2], N, T, &lengths)) return nullptr;
  Array x, ids, table, weight_ih, weight_hh, bias, h0, c0, outputs, h, c;
  if (!x.take(a[3], "x", N * T * D, item) || !ids.take(a[4], "ids", N * T, 8) ||
      !table.take(a[5], "table", V * D, item) || !weight_ih.take(a[6], "weight_ih", GH * D, item) ||
      !weight_hh.take(a[7], "weight_hh", GH * H, item) || !bias.take(a[8], "bias", GH, item) ||
      !h0.take(a[10], "h0", N * H, item) || !c0.take(a[11], "c0", N * H, item) ||
      !outputs.take(a[12], "outputs", N * T * width, item, true) || !h.take(a[13], "h", N * H, item, true) ||
      !c.take(a[14], "c", N * H, item, true))
    return nullptr;
  const PackedWeights *packed = nullptr;
  if (a[9] != Py_None) {
    packed = (const PackedWeights *)PyCapsule_GetPointer(a[9], PACKED);
    if (!packed) return nullptr;
    if (packed->kernels != selected.kernels || packed->D != D || packed->H != H)
      return PyErr_Format(PyExc_ValueError, "packed for other kernels or sizes");
    if (packed->bfloat16 && (keep || V > 0)) return PyErr_Format(PyExc_ValueError, "bfloat16 is for dense inference");
  } else if (!weight_ih.held || !weight_hh.held || !bias.held) {
    return PyErr_Format(PyExc_ValueError, "no weights");
  }
  if (!h.held || (GH != H && !c.held) || x.held == ids.held || ids.held != (V > 0) ||
      (ids.held && table.held == one_hot))
    return PyErr_Format(PyExc_ValueError, "an array is missing, or one too many");

  std::unique_ptr<OwnedSchedule> schedule(new OwnedSchedule(N, T, lengths.empty() ? nullptr : lengths.data(), reverse,
                                                            rows_of_a_task(selected.gates, D, H)));
  if (ids.held) {
    for (long row = 0; row < N; ++row)
      for (long t = 0; t < (lengths.empty() ? T : lengths[row]); ++t) {
        const int64_t id = ((const int64_t *)ids.data())[row * T + t];
        if (id < 0 || id >= V)
          return PyErr_Format(PyExc_IndexError, "token %lld of row %ld: expected 0 to %ld", (long long)id, row, V - 1);
      }
  }
  Forward f = {};
  f.size = {&schedule->schedule, D, H, V, one_hot, keep, packed && packed->bfloat16, 1, false, false, nullptr};
  f.x = x.data(), f.ids = (const int64_t *)ids.data(), f.table = table.data();
  f.weight_ih = weight_ih.data(), f.weight_hh = weight_hh.data(), f.bias = bias.data();
  f.packed = packed ? packed->block.memory : nullptr;
  f.h0 = h0.data(), f.c0 = c0.data(), f.h = h.data(), f.c = c.data();
  f.outputs = outputs.held ? (char *)outputs.data() + column * item : nullptr, f.output_stride = width;

  std::unique_ptr<Tape> tape;
  if (keep) {
    tape.reset(new Tape{selected, f.size, nullptr, h0.held, workspaces().take(selected.kernels->tape_bytes(f.size))});
    if (!tape->block.memory) return PyErr_NoMemory();
    f.tape = tape->block.memory;
  }
  if (!run(selected.kernels, f)) {
    if (tape) workspaces().give(tape->block);
    return nullptr;
  }
  if (!tape) Py_RETURN_NONE;
  tape->schedule = std::move(schedule);
  PyObject *capsule = PyCapsule_New(tape.get(), TAPE, free_tape);
  if (!capsule) {
    workspaces().give(tape->block);
    return nullptr;
  }
  tape.release();
  return capsule;
}

// An inference call that is told no more than x and state, for steps so short that unpacking other arguments counts.
struct Frozen {
  Selected selected;
  char format;
  const PackedWeights *packed;
  PyObject *capsule, *array, *empty, *dtype;  // of packed; numpy.ndarray, numpy.empty and the dtype: owned
};

constexpr char FROZEN[] = "xlstm frozen layer";

void free_frozen(PyObject *capsule) {
  Frozen *frozen = (Frozen *)PyCapsule_GetPointer(capsule, FROZEN);
  for (PyObject *owned : {frozen->capsule, frozen->array, frozen->empty, frozen->dtype}) Py_DECREF(owned);
  delete frozen;
}

// numpy.empty((first, second, third), dtype), and its memory.
PyObject *empty_array(const Frozen &frozen, long first, long second, long third, Array *memory) {
  Owned shape(Py_BuildValue("(lll)", first, second, third));
  PyObject *arguments[] = {shape.object, frozen.dtype};
  if (!shape.object) return nullptr;
  Owned made(PyObject_Vectorcall(frozen.empty, arguments, 2, nullptr));
  if (!made.object || !memory->take(made.object, "numpy.empty", first * second * third, frozen.selected.item, true))
    return nullptr;
  return made.release();
}

// call(x, state) -> (outputs, state), or None where they are not just as the kernels read them
PyObject *call_frozen(PyObject *self, PyObject *const *a, Py_ssize_t count) {
  if (count != 2) return PyErr_Format(PyExc_TypeError, "a frozen layer takes 2 arguments, got %zd", count);
  const Frozen *frozen = (const Frozen *)PyCapsule_GetPointer(self, FROZEN);
  if (!frozen) return nullptr;
  const bool has_c = frozen->selected.gates > 1;
  PyObject *halves[2] = {a[1], Py_None};
  if (has_c && a[1] != Py_None) {
    if (!PyTuple_CheckExact(a[1]) || PyTuple_GET_SIZE(a[1]) != 2) Py_RETURN_NONE;
    halves[0] = PyTuple_GET_ITEM(a[1], 0), halves[1] = PyTuple_GET_ITEM(a[1], 1);
  }
  Array x, h0, c0, outputs, h, c;
  if (!x.fits(a[0], frozen->array, frozen->format, false) || !h0.fits(halves[0], frozen->array, frozen->format, true) ||
      !c0.fits(halves[1], frozen->array, frozen->format, true))
    Py_RETURN_NONE;
  const long N = x.view.shape[0], T = x.view.shape[1], D = frozen->packed->D, H = frozen->packed->H;
  if (N < 1 || T < 1 || x.view.shape[2] != D || !h0.has_shape(1, N, H) || !c0.has_shape(1, N, H)) Py_RETURN_NONE;

  Owned new_outputs(empty_array(*frozen, N, T, H, &outputs));
  if (!new_outputs.object) return nullptr;
  Owned new_h(empty_array(*frozen, 1, N, H, &h));
  if (!new_h.object) return nullptr;
  Owned new_c(has_c ? empty_array(*frozen, 1, N, H, &c) : nullptr);
  if (has_c && !new_c.object) return nullptr;
  const OwnedSchedule schedule(N, T, nullptr, false, rows_of_a_task(frozen->selected.gates, D, H));
  Forward f = {};
  f.size = {&schedule.schedule, D, H, 0, false, false, frozen->packed->bfloat16, 1, false, false, nullptr};
  f.x = x.data(), f.packed = frozen->packed->block.memory, f.h0 = h0.data(), f.c0 = c0.data();
  f.outputs = outputs.data(), f.output_stride = H, f.h = h.data(), f.c = c.data();
  if (!run(frozen->selected.kernels, f)) return nullptr;
  if (!has_c) return PyTuple_Pack(2, new_outputs.object, new_h.object);
  Owned state(PyTuple_Pack(2, new_h.object, new_c.object));
  return state.object ? PyTuple_Pack(2, new_outputs.object, state.object) : nullptr;
}

PyMethodDef CALL_FROZEN = {"call", (PyCFunction)(void (*)())guarded<call_frozen>, METH_FASTCALL, nullptr};

// frozen(which, packed, numpy.ndarray, numpy.empty, dtype) -> call
PyObject *frozen(PyObject *, PyObject *const *a, Py_ssize_t count) {
  if (count != 5) return PyErr_Format(PyExc_TypeError, "frozen takes 5 arguments, got %zd", count);
  Selected selected;
  if (!select(a[0], &selected)) return nullptr;
  const PackedWeights *packed = (const PackedWeights *)PyCapsule_GetPointer(a[1], PACKED);
  if (!packed) return nullptr;
  if (packed->kernels != selected.kernels) return PyErr_Format(PyExc_ValueError, "packed for other kernels");
  std::unique_ptr<Frozen> made(new Frozen{selected, selected.item == 4 ? 'f' : 'd', packed, a[1], a[2], a[3], a[4]});
  Owned capsule(PyCapsule_New(made.get(), FROZEN, free_frozen));
  if (!capsule.object) return nullptr;
  made.release();
  for (int k = 1; k < 5; ++k) Py_INCREF(a[k]);
  return PyCFunction_New(&CALL_FROZEN, capsule.object);
}

// backward(tape, output_width, output_column, table, weight_ih, weight_hh, d_outputs, dh, dc, dx, d_table, dh0,
//          dc0, d_weight_ih, d_weight_hh, d_bias, accumulate)
PyObject *backward(PyObject *, PyObject *const *a, Py_ssize_t count) {
  if (count != 17) return PyErr_Format(PyExc_TypeError, "backward takes 17 arguments, got %zd", count);
  const Tape *tape = (const Tape *)PyCapsule_GetPointer(a[0], TAPE);
  if (!tape) return nullptr;
  const long width = PyLong_AsLong(a[1]), column = PyLong_AsLong(a[2]);
  const int accumulate = PyObject_IsTrue(a[16]);
  if (PyErr_Occurred()) return nullptr;
  const Schedule &s = tape->schedule->schedule;
  const long N = s.rows, T = s.time, D = tape->size.D, H = tape->size.H, V = tape->size.vocabulary;
  const size_t item = tape->selected.item;
  Array table, weight_ih, weight_hh, d_outputs, dh, dc, dx, d_table, dh0, dc0, d_weight_ih, d_weight_hh, d_bias;
  const long GH = tape->selected.gates * H;
  if (!table.take(a[3], "table", V * D, item) || !weight_ih.take(a[4], "weight_ih", GH * D, item) ||
      !weight_hh.take(a[5], "weight_hh", GH * H, item) ||
      !d_outputs.take(a[6], "d_outputs", N * T * width, item) || !dh.take(a[7], "dh", N * H, item) ||
      !dc.take(a[8], "dc", N * H, item) || !dx.take(a[9], "dx", N * T * D, item, true) ||
      !d_table.take(a[10], "d_table", V * D, item, true) || !dh0.take(a[11], "dh0", N * H, item, true) ||
      !dc0.take(a[12], "dc0", N * H, item, true) ||
      !d_weight_ih.take(a[13], "d_weight_ih", GH * D, item, true) ||
      !d_weight_hh.take(a[14], "d_weight_hh", GH * H, item, true) || !d_bias.take(a[15], "d_bias", GH, item, true))
    return nullptr;
  const bool embedded = V > 0 && !tape->size.one_hot;
  if (column < 0 || width < 0 || (!weight_ih.held && (dx.held || d_table.held)) || !weight_hh.held ||
      !d_weight_ih.held || !d_weight_hh.held || !d_bias.held || (d_outputs.held && column + H > width) ||
      table.held != embedded || (dx.held && V > 0) || (d_table.held && !embedded))
    return PyErr_Format(PyExc_ValueError, "an array is missing, or one too many");

  Backward b = {};
  b.size = tape->size;
  b.size.schedule = &s;
  Attempt attempt(&b.size);
  b.table = table.data(), b.weight_ih = weight_ih.data(), b.weight_hh = weight_hh.data();
  b.tape = tape->block.memory, b.initial_state = tape->initial_state;
  b.d_outputs = d_outputs.held ? (char *)d_outputs.data() + column * item : nullptr, b.d_output_stride = width;
  b.dh = dh.data(), b.dc = dc.data(), b.dx = dx.data(), b.d_table = d_table.data();
  b.dh0 = dh0.data(), b.dc0 = dc0.data();
  b.d_weight_ih = d_weight_ih.data(), b.d_weight_hh = d_weight_hh.data(), b.d_bias = d_bias.data();
  b.accumulate = accumulate != 0;
  Borrowed scratch(tape->selected.kernels->backward_bytes(b));
  if (!scratch.block.memory) return PyErr_NoMemory();
  b.scratch = scratch.block.memory;
  Py_BEGIN_ALLOW_THREADS;
  tape->selected.kernels->backward(b);
  Py_END_ALLOW_THREADS;
  attempt.ended();
  Py_RETURN_NONE;
}

// update(which, solver, updates, parameters, gradients, moments, decayed,
//        (rate, alpha, momentum, beta_1, beta_2, epsilon, max_norm))
PyObject *update(PyObject *, PyObject *const *a, Py_ssize_t count) {
  if (count != 8) return PyErr_Format(PyExc_TypeError, "update takes 8 arguments, got %zd", count);
  Selected selected;
  if (!select(a[0], &selected)) return nullptr;
  Update u = {};
  const long solver = PyLong_AsLong(a[1]);
  u.updates = PyLong_AsLong(a[2]);
  if (PyErr_Occurred()) return nullptr;
  const Py_ssize_t moments = solver == Update::SGD ? 1 : 2;
  if (solver < 0 || solver > 2 || !PyList_Check(a[5]) || PyList_GET_SIZE(a[5]) != moments || !PyTuple_Check(a[7]) ||
      PyTuple_GET_SIZE(a[7]) != 7)
    return PyErr_Format(PyExc_ValueError, "no such solver, or not its moments");
  u.solver = Update::Solver(solver);
  double *numbers[] = {&u.rate, &u.alpha, &u.momentum, &u.beta_1, &u.beta_2, &u.epsilon, &u.max_norm};
  for (int k = 0; k < 7; ++k) *numbers[k] = PyFloat_AsDouble(PyTuple_GET_ITEM(a[7], k));
  u.count = PyObject_Size(a[3]);
  if (PyErr_Occurred()) return nullptr;
  Array parameters, gradients, first, second, decayed;
  if (!parameters.take(a[3], "parameters", u.count, selected.item, true) ||
      !gradients.take(a[4], "gradients", u.count, selected.item) ||
      !first.take(PyList_GET_ITEM(a[5], 0), "the first moment", u.count, selected.item, true) ||
      (moments == 2 && !second.take(PyList_GET_ITEM(a[5], 1), "the second moment", u.count, selected.item, true)) ||
      !decayed.take(a[6], "decayed", u.count, selected.item))
    return nullptr;
  if (!parameters.held || !gradients.held || !first.held || (moments == 2 && !second.held) || !decayed.held)
    return PyErr_Format(PyExc_ValueError, "an array is missing");
  u.parameters = parameters.data(), u.gradients = gradients.data(), u.decayed = decayed.data();
  u.moments[0] = first.data(), u.moments[1] = second.data();
  u.threads = usable_threads();
  Py_BEGIN_ALLOW_THREADS;
  selected.kernels->update(u);
  Py_END_ALLOW_THREADS;
  Py_RETURN_NONE;
}

PyMethodDef METHODS[] = {
    {"targets", targets, METH_NOARGS, "[(name, whether this CPU runs it)], best first"},
    {"threads", threads, METH_NOARGS, "how many threads a call may use"},
    {"set_threads", set_threads, METH_VARARGS, "(at most so many, or 0 for no limit; whether even where they wait)"},
    {"has_bfloat16", has_bfloat16, METH_O, "whether these kernels can multiply in bfloat16 here"},
    {"pack", (PyCFunction)(void (*)())guarded<pack>, METH_FASTCALL, nullptr},
    {"forward", (PyCFunction)(void (*)())guarded<forward>, METH_FASTCALL, nullptr},
    {"frozen", (PyCFunction)(void (*)())guarded<frozen>, METH_FASTCALL, nullptr},
    {"backward", (PyCFunction)(void (*)())guarded<backward>, METH_FASTCALL, nullptr},
    {"update", (PyCFunction)(void (*)())guarded<update>, METH_FASTCALL, nullptr},
    {nullptr, nullptr, 0, nullptr}};

PyModuleDef MODULE = {PyModuleDef_HEAD_INIT, "_kernels", nullptr, -1, METHODS, nullptr, nullptr, nullptr, nullptr};

}  // namespace

PyMODINIT_FUNC PyInit__kernels() {
  pthread_atfork(nullptr, nullptr, [] { forked = true; });
  return PyModule_Create(&MODULE);
}
