// How the arguments of a call are read: references, arrays, integers, lengths, and C++ objects in capsules. The checks
// only keep a mistake of ours from reading or writing outside of an array; a user's mistakes are found in Python.
//
// A function that fails returns false or null with an exception set, unless it says otherwise.
#pragma once

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <cstdint>
#include <memory>
#include <new>
#include <vector>

namespace xlstm {

// A reference of one's own, or null.
struct Owned {
  PyObject *object;
  explicit Owned(PyObject *given) : object(given) {}
  static Owned share(PyObject *borrowed) {
    Py_XINCREF(borrowed);
    return Owned(borrowed);
  }
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
  // False with an exception set where `object` is no array of `count` items of `item` bytes. What is only read may lie
  // in memory in any order: where the kernels cannot read it so, they get a copy.
  bool take(PyObject *object, const char *name, long count, size_t item, bool written = false) {
    if (object == Py_None) return true;
    if (!hold(object, item, written)) {
      if (written || !PyErr_ExceptionMatches(PyExc_ValueError)) return false;
      PyErr_Clear();
      Owned copy(contiguous(object));
      if (!copy.object || !hold(copy.object, item, false)) return false;
    }
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

 private:
  // False with an exception set where `object` is not C-contiguous and aligned: NumPy's, and ours, is a ValueError.
  bool hold(PyObject *object, size_t item, bool written) {
    if (PyObject_GetBuffer(object, &view, PyBUF_C_CONTIGUOUS | (written ? PyBUF_WRITABLE : 0))) return false;
    held = uintptr_t(view.buf) % item == 0;
    if (held) return true;
    PyBuffer_Release(&view);
    PyErr_SetString(PyExc_ValueError, "an array that is not aligned");
    return false;
  }
  static PyObject *contiguous(PyObject *array) {
    Owned numpy(PyImport_ImportModule("numpy"));
    return numpy.object ? PyObject_CallMethod(numpy.object, "require", "OOs", array, Py_None, "CA") : nullptr;
  }
};

inline bool read_longs(PyObject *tuple, long *values, Py_ssize_t count, const char *name) {
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

// `expected` strings, which live as long as the arguments.
inline bool read_names(PyObject *const *arguments, Py_ssize_t count, const char **names, Py_ssize_t expected) {
  if (count != expected) {
    PyErr_Format(PyExc_TypeError, "expected %zd names, got %zd", expected, count);
    return false;
  }
  for (Py_ssize_t k = 0; k < count; ++k)
    if (!(names[k] = PyUnicode_AsUTF8(arguments[k]))) return false;
  return true;
}

// The integers of a list, one for each of `rows` rows, from 1 to `time`.
inline bool read_lengths(PyObject *object, long rows, long time, std::vector<int64_t> *lengths) {
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

// A C++ object that Python holds, of a class with a NAME; it ends with its capsule.
template <class T> PyObject *capsule_of(std::unique_ptr<T> object) {
  PyObject *capsule = PyCapsule_New(object.get(), T::NAME, [](PyObject *ending) {
    delete (T *)PyCapsule_GetPointer(ending, T::NAME);
  });
  if (capsule) object.release();
  return capsule;
}

template <class T> T *held_by(PyObject *capsule) { return (T *)PyCapsule_GetPointer(capsule, T::NAME); }

}  // namespace xlstm
