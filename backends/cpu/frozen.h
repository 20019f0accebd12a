// The shortest call there is: inference that is told no more than x and state, for steps so short that unpacking other
// arguments counts.
#pragma once

#include "handles.h"
#include "run.h"

namespace xlstm {

struct Frozen {
  static constexpr char NAME[] = "xlstm frozen cell";
  Selected selected;
  char format;                    // of the dtype, as buffers name it
  const PackedWeights *packed;
  Owned capsule;                  // that holds them
  Owned array, empty, dtype;      // numpy.ndarray, numpy.empty and the dtype
};

// numpy.empty((first, second, third), dtype), and its memory.
inline PyObject *empty_array(const Frozen &frozen, long first, long second, long third, Array *memory) {
  Owned shape(Py_BuildValue("(lll)", first, second, third));
  PyObject *arguments[] = {shape.object, frozen.dtype.object};
  if (!shape.object) return nullptr;
  Owned made(PyObject_Vectorcall(frozen.empty.object, arguments, 2, nullptr));
  if (!made.object || !memory->take(made.object, "numpy.empty", first * second * third, frozen.selected.item(), true))
    return nullptr;
  return made.release();
}

// call(x, state) -> (outputs, state), or None where they are not just as the kernels read them
inline PyObject *call_frozen(PyObject *self, PyObject *const *a, Py_ssize_t count) {
  if (count != 2) return PyErr_Format(PyExc_TypeError, "a frozen cell takes 2 arguments, got %zd", count);
  const Frozen *frozen = held_by<Frozen>(self);
  if (!frozen) return nullptr;
  const CellKernels &cell = *frozen->selected.cell;
  const bool has_c = cell.has_c;
  PyObject *halves[2] = {a[1], Py_None};
  if (has_c && a[1] != Py_None) {
    if (!PyTuple_CheckExact(a[1]) || PyTuple_GET_SIZE(a[1]) != 2) Py_RETURN_NONE;
    halves[0] = PyTuple_GET_ITEM(a[1], 0), halves[1] = PyTuple_GET_ITEM(a[1], 1);
  }
  Array x, h0, c0, outputs, h, c;
  PyObject *array = frozen->array.object;
  if (!x.fits(a[0], array, frozen->format, false) || !h0.fits(halves[0], array, frozen->format, true) ||
      !c0.fits(halves[1], array, frozen->format, true))
    Py_RETURN_NONE;
  const long N = x.view.shape[0], T = x.view.shape[1], D = frozen->packed->D, H = frozen->packed->H;
  if (N < 1 || T < 1 || x.view.shape[2] != D || !h0.has_shape(1, N, H) || !c0.has_shape(1, N, H)) Py_RETURN_NONE;

  Owned new_outputs(empty_array(*frozen, N, T, H, &outputs));
  if (!new_outputs.object) return nullptr;
  Owned new_h(empty_array(*frozen, 1, N, H, &h));
  if (!new_h.object) return nullptr;
  Owned new_c(has_c ? empty_array(*frozen, 1, N, H, &c) : nullptr);
  if (has_c && !new_c.object) return nullptr;
  const OwnedSchedule schedule(N, T, nullptr, false, rows_of_a_task(cell.gates, D, H), H, usable_threads());
  Forward f = {};
  f.pass.schedule = &schedule.schedule, f.pass.D = D, f.pass.H = H, f.pass.precision = frozen->packed->precision;
  f.x = x.data(), f.packed = frozen->packed->block.memory(), f.h0 = h0.data(), f.c0 = c0.data();
  f.outputs = outputs.data(), f.output_stride = H, f.h = h.data(), f.c = c.data();
  if (!run_forward(cell, f)) return nullptr;
  if (!has_c) return PyTuple_Pack(2, new_outputs.object, new_h.object);
  Owned state(PyTuple_Pack(2, new_h.object, new_c.object));
  return state.object ? PyTuple_Pack(2, new_outputs.object, state.object) : nullptr;
}

inline PyMethodDef CALL_FROZEN = {"call", (PyCFunction)(void (*)())guarded<call_frozen>, METH_FASTCALL, nullptr};

// frozen(kernels, packed, numpy.ndarray, numpy.empty, dtype) -> call
inline PyObject *frozen(PyObject *, PyObject *const *a, Py_ssize_t count) {
  if (count != 5) return PyErr_Format(PyExc_TypeError, "frozen takes 5 arguments, got %zd", count);
  const Selected *selected = held_by<Selected>(a[0]);
  if (!selected) return nullptr;
  const PackedWeights *packed = held_by<PackedWeights>(a[1]);
  if (!packed) return nullptr;
  if (packed->cell != selected->cell) return PyErr_Format(PyExc_ValueError, "packed for other kernels");
  const char format = selected->item() == 4 ? 'f' : 'd';
  Owned capsule(capsule_of(std::unique_ptr<Frozen>(
      new Frozen{*selected, format, packed, Owned::share(a[1]), Owned::share(a[2]), Owned::share(a[3]),
                 Owned::share(a[4])})));
  return capsule.object ? PyCFunction_New(&CALL_FROZEN, capsule.object) : nullptr;
}

}  // namespace xlstm
