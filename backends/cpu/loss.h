// The losses of xlstm/losses.py for logits (N, K), with their gradient and what is counted of them, in one pass over
// the rows; and the function of the module that calls them. Compiled once: they take a few exponentials a row, which
// the C library computes as well as any instruction set.
#pragma once

#include "arguments.h"

#include <cmath>
#include <cstdint>

namespace xlstm {

// All arrays are C-contiguous and of the dtype `real`, but for the targets and the sums.
struct Loss {
  long rows, outputs;      // N, K
  const void *logits;      // (N, K)
  const int64_t *targets;  // (N,), the classes; what is none of them has no loss and is not right
  const void *weights;     // (N,)
  void *gradient;          // (N, K), overwritten: of Σ weight · loss / N; or null
  double *sums;            // (2,), overwritten: Σ weight · loss, and how many rows are right
};

// As `logistic_cross_entropy`: K is 1, and the logit that of the second of two classes.
template <class real> void logistic(const Loss &given) {
  const real *logits = (const real *)given.logits, *weights = (const real *)given.weights;
  real *gradient = (real *)given.gradient;
  double loss = 0;
  long right = 0;
  for (long n = 0; n < given.rows; ++n) {
    const real z = logits[n], target = real(given.targets[n]), e = std::exp(-std::abs(z));
    loss += weights[n] * ((z > 0 ? z : 0) - target * z + std::log1p(e));
    right += int64_t(z > 0) == given.targets[n];
    if (gradient) gradient[n] = weights[n] / given.rows * ((z >= 0 ? 1 : e) / (1 + e) - target);
  }
  given.sums[0] = loss, given.sums[1] = double(right);
}

// As `softmax_cross_entropy`. Of equal logits the first is the likeliest.
template <class real> void softmax(const Loss &given) {
  const long K = given.outputs;
  const real *logits = (const real *)given.logits, *weights = (const real *)given.weights;
  real *gradient = (real *)given.gradient;
  double loss = 0;
  long right = 0;
  for (long n = 0; n < given.rows; ++n, logits += K) {
    const int64_t target = given.targets[n];
    long likeliest = 0;
    for (long k = 1; k < K; ++k)
      if (logits[k] > logits[likeliest]) likeliest = k;
    const real most = logits[likeliest];
    double sum = 0;
    for (long k = 0; k < K; ++k) {
      const real e = std::exp(logits[k] - most);
      if (gradient) gradient[k] = e;
      sum += e;
    }
    const bool known = target >= 0 && target < K;
    if (known) loss += weights[n] * (std::log(sum) - (logits[target] - most));
    right += likeliest == target;
    if (!gradient) continue;
    const real scale = weights[n] / given.rows;
    for (long k = 0; k < K; ++k) gradient[k] = scale * real(gradient[k] / sum - (k == target));
    gradient += K;
  }
  given.sums[0] = loss, given.sums[1] = double(right);
}

// loss(logistic, bytes of a number, N, K, logits, targets, weights, gradient or None, sums)
inline PyObject *loss(PyObject *, PyObject *const *a, Py_ssize_t count) {
  if (count != 9) return PyErr_Format(PyExc_TypeError, "loss takes 9 arguments, got %zd", count);
  const int one = PyObject_IsTrue(a[0]);
  const long item = PyLong_AsLong(a[1]), N = PyLong_AsLong(a[2]), K = PyLong_AsLong(a[3]);
  if (one < 0 || PyErr_Occurred()) return nullptr;
  if (N < 0 || K < 1 || (one && K != 1) || (item != sizeof(float) && item != sizeof(double)))
    return PyErr_Format(PyExc_ValueError, "no logits (%ld, %ld) of %ld bytes", N, K, item);
  Array logits, targets, weights, gradient, sums;
  if (!logits.take(a[4], "logits", N * K, item) || !targets.take(a[5], "targets", N, sizeof(int64_t)) ||
      !weights.take(a[6], "weights", N, item) || !gradient.take(a[7], "gradient", N * K, item, true) ||
      !sums.take(a[8], "sums", 2, sizeof(double), true))
    return nullptr;
  if (!logits.held || !targets.held || !weights.held || !sums.held)
    return PyErr_Format(PyExc_ValueError, "an array is missing");
  const Loss given = {N, K, logits.data(), (const int64_t *)targets.data(), weights.data(), gradient.data(),
                      (double *)sums.data()};
  const auto run = one ? (item == sizeof(float) ? logistic<float> : logistic<double>)
                       : (item == sizeof(float) ? softmax<float> : softmax<double>);
  Py_BEGIN_ALLOW_THREADS;
  run(given);
  Py_END_ALLOW_THREADS;
  Py_RETURN_NONE;
}

}  // namespace xlstm
