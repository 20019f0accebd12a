// What Python sets and asks of the calls to come and of the last: threads, cores, kept memory. Functions of the module.
#pragma once

#include "attempts.h"  // Python.h comes before any other header
#include "workspace.h"

#include <cstring>

namespace xlstm {

// ---------------------------------------------------------------- threads

// threads() -> the number of threads that a call may use
inline PyObject *threads(PyObject *, PyObject *) { return PyLong_FromLong(usable_threads()); }

// set_threads(limit, always): the most threads that a call may use, 0 for no limit; and whether calls use that number
// even after one in which the threads mostly waited
inline PyObject *set_threads(PyObject *, PyObject *arguments) {
  int wanted, always;
  if (!PyArg_ParseTuple(arguments, "ip", &wanted, &always)) return nullptr;
  const Locked locked;
  policy.limit = wanted, policy.steady = always;
  policy.begin_anew();
  Py_RETURN_NONE;
}

// force_cores("near", "apart" or "measured") and count from zero: for tests and benchmarks of near_cores.h
inline PyObject *force_cores(PyObject *, PyObject *argument) {
  const char *name = PyUnicode_AsUTF8(argument);
  if (!name) return nullptr;
  const std::pair<const char *, Cores> answers[] = {
      {"near", Cores::NEAR}, {"apart", Cores::APART}, {"measured", Cores::MEASURED}};
  for (const auto &[known, cores] : answers)
    if (!std::strcmp(name, known)) {
      const Locked locked;
      policy.cores = cores;
      policy.begin_anew();
      Py_RETURN_NONE;
    }
  return PyErr_Format(PyExc_ValueError, "expected near, apart or measured, got %s", name);
}

// cores() -> (calls that found their cores near, calls that found them apart), since the last call of the two above
inline PyObject *cores(PyObject *, PyObject *) {
  long near, apart;
  {
    const Locked locked;
    near = policy.near_calls, apart = policy.apart_calls;
  }
  return Py_BuildValue("(ll)", near, apart);
}

// crew() -> (threads that had work, threads that were woken, tasks, teams, members of each, parts of the walk and of
// the weight gradients that the busiest thread did) of the last call of a walk or of an optimiser's step
inline PyObject *crew(PyObject *, PyObject *) {
  Report last;
  {
    const Locked locked;
    last = policy.last;
  }
  return Py_BuildValue("(llllldd)", last.threads, last.woken, last.tasks, last.teams, last.members, last.walk,
                       last.gradients);
}

// tell_refused(function): what is to be called, once, where the system would start no more threads
inline PyObject *tell_refused(PyObject *, PyObject *function) {
  Py_INCREF(function);
  PyObject *before;
  {
    const Locked locked;
    before = std::exchange(policy.tell_refused, function);
  }
  Py_XDECREF(before);
  Py_RETURN_NONE;
}

// forked(): this process was forked from one whose OpenMP may have had threads, and this module is first loaded in it
inline PyObject *forked(PyObject *, PyObject *) {
  const Locked locked;
  policy.forked = true;
  Py_RETURN_NONE;
}

// ---------------------------------------------------------------- memory

// release_memory() -> how many bytes were kept for later calls, which the system has again
inline PyObject *release_memory(PyObject *, PyObject *) { return PyLong_FromSize_t(workspaces().release_all()); }

// keep_for(seconds) -> what it was: how long memory that no call takes is kept. For tests
inline PyObject *keep_for(PyObject *, PyObject *seconds) {
  const double wanted = PyFloat_AsDouble(seconds);
  if (PyErr_Occurred()) return nullptr;
  return PyFloat_FromDouble(workspaces().keep_for(wanted));
}

}  // namespace xlstm
