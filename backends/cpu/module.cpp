// The Python module xlstm.backends.cpu._kernels: its functions, which unpack their arguments and call the kernels.
// backends/cpu/__init__.py, cell.py, update.py and loss.py are the only callers, and they check what a user can get
// wrong; the checks here only keep a mistake of ours from reading or writing outside of an array.
#include "arguments.h"  // Python.h comes before any other header

#include <dlfcn.h>
#include <pthread.h>

#include <utility>

#include "attempts.h"
#include "controls.h"
#include "frozen.h"
#include "handles.h"
#include "loss.h"
#include "run.h"
#include "schedule.h"
#include "targets.h"

namespace {

using namespace xlstm;

// ---------------------------------------------------------------- which kernels there are

// targets() -> [(name, whether this CPU runs it)], best first
PyObject *targets(PyObject *, PyObject *) {
  PyObject *all = PyList_New(0);
  for (const Target &target : TARGETS) {
    Owned pair(Py_BuildValue("(sO)", target.name, target.runs_here() ? Py_True : Py_False));
    if (all && (!pair.object || PyList_Append(all, pair.object))) Py_CLEAR(all);
  }
  return all;
}

// table() -> [(target, dtype, cell)], every row of the table
PyObject *table(PyObject *, PyObject *) {
  PyObject *all = PyList_New(0);
  for (const Target &target : TARGETS)
    for (const Kernels *kernels : target.dtypes)
      for (size_t k = 0; k < kernels->cell_count; ++k) {
        Owned row(Py_BuildValue("(sss)", target.name, kernels->dtype, kernels->cells[k].cell));
        if (all && (!row.object || PyList_Append(all, row.object))) Py_CLEAR(all);
      }
  return all;
}

// find(target, dtype, cell) -> (kernels, whether the state has a c, the name of its second bias or None, the names of
// the precisions in which `pack` can store weights for this CPU); None where no kernels have these names, or this CPU
// does not run them
PyObject *find(PyObject *, PyObject *const *a, Py_ssize_t count) {
  const char *names[3];
  if (!read_names(a, count, names, 3)) return nullptr;
  const Kernels *kernels = find_kernels(names[0], names[1]);
  const CellKernels *cell = kernels ? find_cell(*kernels, names[2]) : nullptr;
  if (!cell) Py_RETURN_NONE;
  Owned capsule(capsule_of(std::unique_ptr<Selected>(new Selected{kernels, cell})));
  if (!capsule.object) return nullptr;
  Owned precisions(PyList_New(0));
  for (int k = 0; precisions.object && k < int(std::size(PRECISION_NAMES)); ++k) {
    if (!kernels->has(Precision(k))) continue;
    Owned name(PyUnicode_FromString(PRECISION_NAMES[k]));
    if (!name.object || PyList_Append(precisions.object, name.object)) return nullptr;
  }
  if (!precisions.object) return nullptr;
  return Py_BuildValue("(OOzO)", capsule.object, cell->has_c ? Py_True : Py_False, cell->second_bias,
                       precisions.object);
}

// find_update(target, dtype) -> the optimiser's kernels, or None as above
PyObject *find_update(PyObject *, PyObject *const *a, Py_ssize_t count) {
  const char *names[2];
  if (!read_names(a, count, names, 2)) return nullptr;
  const Kernels *kernels = find_kernels(names[0], names[1]);
  if (!kernels) Py_RETURN_NONE;
  return capsule_of(std::unique_ptr<SelectedUpdate>(new SelectedUpdate{kernels}));
}

// ---------------------------------------------------------------- lengths

// Reads the lengths that a call is given for a batch of `rows` and `time`. `order` becomes the order in a capsule, or
// one made of a list of lengths, which `made` then owns; null for None, where all rows are full. Returns false, with an
// exception set, where the object is none of these or is of another batch.
bool read_order(PyObject *object, long rows, long time, std::unique_ptr<Order> *made, const Order **order) {
  *order = nullptr;
  if (object == Py_None) return true;
  if (PyCapsule_CheckExact(object)) {
    const BatchOrder *given = held_by<BatchOrder>(object);
    if (!given) return false;
    *order = &given->order;
    if (long(given->order.rows.size()) == rows && given->order.time == time) return true;
    PyErr_Format(PyExc_ValueError, "the order is of another batch than one of %ld rows and %ld steps", rows, time);
    return false;
  }
  std::vector<int64_t> lengths;
  if (!read_lengths(object, rows, time, &lengths)) return false;
  made->reset(new Order(time, std::move(lengths)));
  *order = made->get();
  return true;
}

// order(lengths, N, T) -> what `forward` takes in place of the list: checked and sorted once for all layers and
// directions of a batch
PyObject *order(PyObject *, PyObject *const *a, Py_ssize_t count) {
  if (count != 3) return PyErr_Format(PyExc_TypeError, "order takes 3 arguments, got %zd", count);
  const long N = PyLong_AsLong(a[1]), T = PyLong_AsLong(a[2]);
  if (PyErr_Occurred()) return nullptr;
  if (N < 1 || T < 1) return PyErr_Format(PyExc_ValueError, "a batch has a row and a step at least");
  std::vector<int64_t> lengths;
  if (!read_lengths(a[0], N, T, &lengths)) return nullptr;
  return capsule_of(std::unique_ptr<BatchOrder>(new BatchOrder{Order(T, std::move(lengths))}));
}

// lengths(order) -> the list that it was made from
PyObject *lengths(PyObject *, PyObject *capsule) {
  const BatchOrder *given = held_by<BatchOrder>(capsule);
  if (!given) return nullptr;
  const std::vector<int64_t> &values = given->order.lengths;
  PyObject *list = PyList_New(values.size());
  for (size_t n = 0; list && n < values.size(); ++n) {
    PyObject *length = PyLong_FromLong(values[n]);
    if (!length) Py_CLEAR(list);
    else PyList_SET_ITEM(list, n, length);
  }
  return list;
}

// ---------------------------------------------------------------- a cell

// pack(kernels, D, H, weight_ih, weight_hh, bias, second_bias, precision) -> packed weights. `second_bias` is None for
// a cell that has none, here and below
PyObject *pack(PyObject *, PyObject *const *a, Py_ssize_t count) {
  if (count != 8) return PyErr_Format(PyExc_TypeError, "pack takes 8 arguments, got %zd", count);
  const Selected *selected = held_by<Selected>(a[0]);
  if (!selected) return nullptr;
  const CellKernels &cell = *selected->cell;
  const long D = PyLong_AsLong(a[1]), H = PyLong_AsLong(a[2]), GH = cell.gates * H;
  const char *name = PyUnicode_AsUTF8(a[7]);
  if (PyErr_Occurred()) return nullptr;
  int chosen = 0;
  while (chosen < int(std::size(PRECISION_NAMES)) && std::strcmp(PRECISION_NAMES[chosen], name)) ++chosen;
  if (chosen == int(std::size(PRECISION_NAMES)) || !selected->kernels->has(Precision(chosen)))
    return PyErr_Format(PyExc_ValueError, "no precision %s here", name);
  const Precision precision = Precision(chosen);
  Array weight_ih, weight_hh, bias, second_bias;
  if (!weight_ih.take(a[3], "weight_ih", GH * D, selected->item())) return nullptr;
  if (!weight_hh.take(a[4], "weight_hh", GH * H, selected->item())) return nullptr;
  if (!bias.take(a[5], "bias", GH, selected->item())) return nullptr;
  if (!second_bias.take(a[6], "second_bias", H, selected->item())) return nullptr;
  if (D < 1 || H < 1 || !weight_ih.held || !weight_hh.held || !bias.held || second_bias.held != !!cell.second_bias)
    return PyErr_Format(PyExc_ValueError, "an array is missing, or a size is below 1");
  std::unique_ptr<PackedWeights> packed(
      new PackedWeights{&cell, D, H, precision, Borrowed(cell.packed_bytes(D, H, precision))});
  if (!packed->block.memory()) return PyErr_NoMemory();
  cell.pack(weight_ih.data(), weight_hh.data(), bias.data(), second_bias.data(), D, H, precision,
            packed->block.memory());
  return capsule_of(std::move(packed));
}

// forward(kernels, (N, T, D, H, V, one_hot, reverse, keep, output_width, output_column), lengths, x, ids, table,
//         weight_ih, weight_hh, bias, second_bias, packed, h0, c0, outputs, h, c) -> tape or None. `lengths`: None,
//         list or order
PyObject *forward(PyObject *, PyObject *const *a, Py_ssize_t count) {
  if (count != 16) return PyErr_Format(PyExc_TypeError, "forward takes 16 arguments, got %zd", count);
  const Selected *selected = held_by<Selected>(a[0]);
  long n[10];
  if (!selected || !read_longs(a[1], n, 10, "the sizes")) return nullptr;
  const CellKernels &cell = *selected->cell;
  const long N = n[0], T = n[1], D = n[2], H = n[3], V = n[4], width = n[8], column = n[9];
  const bool one_hot = n[5], reverse = n[6], keep = n[7];
  const long GH = cell.gates * H;
  const size_t item = selected->item();
  if (N < 1 || T < 1 || D < 1 || H < 1 || column + H > width || (one_hot && V != D))
    return PyErr_Format(PyExc_ValueError, "sizes that do not fit");
  std::unique_ptr<Order> made;
  const Order *order;
  if (!read_order(a[2], N, T, &made, &order)) return nullptr;
  Array x, ids, table, weight_ih, weight_hh, bias, second_bias, h0, c0, outputs, h, c;
  if (!x.take(a[3], "x", N * T * D, item) || !ids.take(a[4], "ids", N * T, 8) ||
      !table.take(a[5], "table", V * D, item) || !weight_ih.take(a[6], "weight_ih", GH * D, item) ||
      !weight_hh.take(a[7], "weight_hh", GH * H, item) || !bias.take(a[8], "bias", GH, item) ||
      !second_bias.take(a[9], "second_bias", H, item) || !h0.take(a[11], "h0", N * H, item) ||
      !c0.take(a[12], "c0", N * H, item) || !outputs.take(a[13], "outputs", N * T * width, item, true) ||
      !h.take(a[14], "h", N * H, item, true) || !c.take(a[15], "c", N * H, item, true))
    return nullptr;
  const PackedWeights *packed = nullptr;
  if (a[10] != Py_None) {
    packed = held_by<PackedWeights>(a[10]);
    if (!packed) return nullptr;
    if (packed->cell != &cell || packed->D != D || packed->H != H)
      return PyErr_Format(PyExc_ValueError, "packed for other kernels or sizes");
    if (packed->precision != Precision::FULL && keep)
      return PyErr_Format(PyExc_ValueError, "weights of fewer bits are for inference");
  } else if (!weight_ih.held || !weight_hh.held || !bias.held || second_bias.held != !!cell.second_bias) {
    return PyErr_Format(PyExc_ValueError, "no weights");
  }
  if (!h.held || (cell.has_c && !c.held) || x.held == ids.held || ids.held != (V > 0) ||
      (ids.held && table.held == one_hot))
    return PyErr_Format(PyExc_ValueError, "an array is missing, or one too many");

  std::unique_ptr<OwnedSchedule> schedule(
      new OwnedSchedule(N, T, order, reverse, rows_of_a_task(cell.gates, D, H), H, usable_threads()));
  // What is checked is a copy: another thread of Python may write to the array once the interpreter's lock is released.
  std::unique_ptr<int64_t[]> checked_ids;
  if (ids.held) {
    checked_ids.reset(new int64_t[N * T]);
    for (long row = 0; row < N; ++row)
      for (long t = 0; t < (order ? order->lengths[row] : T); ++t) {
        const int64_t id = checked_ids[row * T + t] = ((const volatile int64_t *)ids.data())[row * T + t];
        if (id < 0 || id >= V)
          return PyErr_Format(PyExc_IndexError, "token %lld of row %ld: expected 0 to %ld", (long long)id, row, V - 1);
      }
  }
  Forward f = {};
  f.pass.schedule = &schedule->schedule, f.pass.D = D, f.pass.H = H, f.pass.vocabulary = V, f.pass.one_hot = one_hot;
  f.pass.keep = keep, f.pass.precision = packed ? packed->precision : Precision::FULL;
  f.x = x.data(), f.ids = checked_ids.get(), f.table = table.data();
  f.weight_ih = weight_ih.data(), f.weight_hh = weight_hh.data();
  f.bias = bias.data(), f.second_bias = second_bias.data();
  f.packed = packed ? packed->block.memory() : nullptr;
  f.h0 = h0.data(), f.c0 = c0.data(), f.h = h.data(), f.c = c.data();
  f.outputs = outputs.held ? (char *)outputs.data() + column * item : nullptr, f.output_stride = width;

  std::unique_ptr<Tape> tape;
  if (keep) {
    tape.reset(new Tape{*selected, f.pass, nullptr, h0.held, Borrowed(cell.tape_bytes(f.pass))});
    if (!tape->block.memory()) return PyErr_NoMemory();
    f.tape = tape->block.memory();
  }
  if (!run_forward(cell, f)) return nullptr;
  if (!tape) Py_RETURN_NONE;
  tape->schedule = std::move(schedule);
  return capsule_of(std::move(tape));
}

// backward(tape, output_width, output_column, table, weight_ih, weight_hh, d_outputs, dh, dc, dx, d_table, dh0,
//          dc0, d_weight_ih, d_weight_hh, d_bias, d_second_bias, accumulate)
PyObject *backward(PyObject *, PyObject *const *a, Py_ssize_t count) {
  if (count != 18) return PyErr_Format(PyExc_TypeError, "backward takes 18 arguments, got %zd", count);
  const Tape *tape = held_by<Tape>(a[0]);
  if (!tape) return nullptr;
  const long width = PyLong_AsLong(a[1]), column = PyLong_AsLong(a[2]);
  const int accumulate = PyObject_IsTrue(a[17]);
  if (PyErr_Occurred()) return nullptr;
  const CellKernels &cell = *tape->selected.cell;
  const Schedule &s = tape->schedule->schedule;
  const long N = s.rows, T = s.time, D = tape->pass.D, H = tape->pass.H, V = tape->pass.vocabulary;
  const size_t item = tape->selected.item();
  Array table, weight_ih, weight_hh, d_outputs, dh, dc, dx, d_table, dh0, dc0, d_weight_ih, d_weight_hh, d_bias;
  Array d_second_bias;
  const long GH = cell.gates * H;
  if (!table.take(a[3], "table", V * D, item) || !weight_ih.take(a[4], "weight_ih", GH * D, item) ||
      !weight_hh.take(a[5], "weight_hh", GH * H, item) ||
      !d_outputs.take(a[6], "d_outputs", N * T * width, item) || !dh.take(a[7], "dh", N * H, item) ||
      !dc.take(a[8], "dc", N * H, item) || !dx.take(a[9], "dx", N * T * D, item, true) ||
      !d_table.take(a[10], "d_table", V * D, item, true) || !dh0.take(a[11], "dh0", N * H, item, true) ||
      !dc0.take(a[12], "dc0", N * H, item, true) ||
      !d_weight_ih.take(a[13], "d_weight_ih", GH * D, item, true) ||
      !d_weight_hh.take(a[14], "d_weight_hh", GH * H, item, true) || !d_bias.take(a[15], "d_bias", GH, item, true) ||
      !d_second_bias.take(a[16], "d_second_bias", H, item, true))
    return nullptr;
  const bool embedded = V > 0 && !tape->pass.one_hot;
  if (column < 0 || width < 0 || (!weight_ih.held && (dx.held || d_table.held)) || !weight_hh.held ||
      !d_weight_ih.held || !d_weight_hh.held || !d_bias.held || d_second_bias.held != !!cell.second_bias ||
      (d_outputs.held && column + H > width) ||
      table.held != embedded || (dx.held && V > 0) || (d_table.held && !embedded))
    return PyErr_Format(PyExc_ValueError, "an array is missing, or one too many");

  Backward b = {};
  b.pass = tape->pass;
  b.pass.schedule = &s;
  b.table = table.data(), b.weight_ih = weight_ih.data(), b.weight_hh = weight_hh.data();
  b.tape = tape->block.memory(), b.initial_state = tape->initial_state;
  b.d_outputs = d_outputs.held ? (char *)d_outputs.data() + column * item : nullptr, b.d_output_stride = width;
  b.dh = dh.data(), b.dc = dc.data(), b.dx = dx.data(), b.d_table = d_table.data();
  b.dh0 = dh0.data(), b.dc0 = dc0.data();
  b.d_weight_ih = d_weight_ih.data(), b.d_weight_hh = d_weight_hh.data();
  b.d_bias = d_bias.data(), b.d_second_bias = d_second_bias.data();
  b.accumulate = accumulate != 0;
  if (!run_backward(cell, b)) return nullptr;
  Py_RETURN_NONE;
}

// ---------------------------------------------------------------- the optimiser

// update(kernels, solver, updates, parameters, gradients, moments, decayed,
//        (rate, alpha, momentum, beta_1, beta_2, epsilon, max_norm))
PyObject *update(PyObject *, PyObject *const *a, Py_ssize_t count) {
  if (count != 8) return PyErr_Format(PyExc_TypeError, "update takes 8 arguments, got %zd", count);
  const SelectedUpdate *selected = held_by<SelectedUpdate>(a[0]);
  if (!selected) return nullptr;
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
  const size_t item = selected->kernels->item;
  Array parameters, gradients, first, second, decayed;
  if (!parameters.take(a[3], "parameters", u.count, item, true) ||
      !gradients.take(a[4], "gradients", u.count, item) ||
      !first.take(PyList_GET_ITEM(a[5], 0), "the first moment", u.count, item, true) ||
      (moments == 2 && !second.take(PyList_GET_ITEM(a[5], 1), "the second moment", u.count, item, true)) ||
      !decayed.take(a[6], "decayed", u.count, item))
    return nullptr;
  if (!parameters.held || !gradients.held || !first.held || (moments == 2 && !second.held) || !decayed.held)
    return PyErr_Format(PyExc_ValueError, "an array is missing");
  u.parameters = parameters.data(), u.gradients = gradients.data(), u.decayed = decayed.data();
  u.moments[0] = first.data(), u.moments[1] = second.data();
  Report report;
  {
    const Locked locked;
    u.threads = policy.threads_now();
  }
  u.report = &report, u.pool = &pool;
  Py_BEGIN_ALLOW_THREADS;
  selected->kernels->update(u);
  Py_END_ALLOW_THREADS;
  policy.note(report);
  Py_RETURN_NONE;
}

PyMethodDef METHODS[] = {
    {"targets", targets, METH_NOARGS, nullptr},
    {"table", table, METH_NOARGS, nullptr},
    {"find", (PyCFunction)(void (*)())guarded<find>, METH_FASTCALL, nullptr},
    {"find_update", (PyCFunction)(void (*)())guarded<find_update>, METH_FASTCALL, nullptr},
    {"threads", threads, METH_NOARGS, nullptr},
    {"set_threads", set_threads, METH_VARARGS, nullptr},
    {"force_cores", force_cores, METH_O, nullptr},
    {"cores", cores, METH_NOARGS, nullptr},
    {"crew", crew, METH_NOARGS, nullptr},
    {"tell_refused", tell_refused, METH_O, nullptr},
    {"forked", forked, METH_NOARGS, nullptr},
    {"release_memory", release_memory, METH_NOARGS, nullptr},
    {"keep_for", keep_for, METH_O, nullptr},
    {"order", (PyCFunction)(void (*)())guarded<order>, METH_FASTCALL, nullptr},
    {"lengths", lengths, METH_O, nullptr},
    {"pack", (PyCFunction)(void (*)())guarded<pack>, METH_FASTCALL, nullptr},
    {"forward", (PyCFunction)(void (*)())guarded<forward>, METH_FASTCALL, nullptr},
    {"frozen", (PyCFunction)(void (*)())guarded<frozen>, METH_FASTCALL, nullptr},
    {"backward", (PyCFunction)(void (*)())guarded<backward>, METH_FASTCALL, nullptr},
    {"update", (PyCFunction)(void (*)())guarded<update>, METH_FASTCALL, nullptr},
    {"loss", (PyCFunction)(void (*)())guarded<loss>, METH_FASTCALL, nullptr},
    {nullptr, nullptr, 0, nullptr}};

PyModuleDef MODULE = {PyModuleDef_HEAD_INIT, "_kernels", nullptr, -1, METHODS, nullptr, nullptr, nullptr, nullptr};

// Before a fork OpenMP's threads of the calling thread end, to be started anew when they are next used: in the child,
// where they are not, GNU's OpenMP would wait for them for ever, whichever library uses it there. In a child that may
// already have such an OpenMP, asking it would be just that.
void before_fork() {
#ifdef __linux__
  using Pause = int(int);
  constexpr int SOFT = 1;  // omp_pause_soft, of OpenMP 5
  static Pause *const pause = (Pause *)dlsym(RTLD_DEFAULT, "omp_pause_resource_all");
  if (pause && !policy.forked && !pause(SOFT)) pool = Pool();
#endif
  lock_for_fork();
}

void in_parent() { unlock_after_fork(); }

void in_child() {
  policy.forked = true;
  unlock_after_fork();
}

}  // namespace

PyMODINIT_FUNC PyInit__kernels() {
  pthread_atfork(before_fork, in_parent, in_child);
  PyObject *module = PyModule_Create(&MODULE);
#ifdef Py_GIL_DISABLED
  if (module) PyUnstable_Module_SetGIL(module, Py_MOD_GIL_NOT_USED);
#endif
  return module;
}
