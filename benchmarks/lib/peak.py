"""What the machine can do at most: multiply-adds of registers alone, for peers.py: one block of it in each round.

The loop is compiled for the kernels' instruction set and runs on as many threads as the sides do. Without a C compiler
NumPy's product of large matrices stands in for it, an approximation from below.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

from .machine import kernels

SOURCE = """
#if defined(__AVX512F__)
enum { BYTES = 64, CHAINS = 24 };
#elif defined(__AVX__)
enum { BYTES = 32, CHAINS = 14 };
#elif defined(__aarch64__)
enum { BYTES = 16, CHAINS = 24 };
#else
enum { BYTES = 16, CHAINS = 14 };
#endif
typedef float vec __attribute__((vector_size(BYTES)));

/* As many sums as there are registers for, so that none is waited for. Returns the operations done. */
double run(long turns, float factor, float summand, float *result) {
  const vec zero = {0}, factors = zero + factor, summands = zero + summand;
  vec sums[CHAINS], all = zero;
  for (int k = 0; k < CHAINS; ++k) sums[k] = zero + (float)k;
  for (long turn = 0; turn < turns; ++turn)
#pragma GCC unroll 24
    for (int k = 0; k < CHAINS; ++k) sums[k] = sums[k] * factors + summands;
  for (int k = 0; k < CHAINS; ++k) all += sums[k];
  *result = all[0];
  return 2.0 * CHAINS * (BYTES / sizeof(float)) * turns;
}
"""
FLAGS = {
    "avx512": ["-mavx512f", "-mfma"],
    "avx2": ["-mavx2", "-mfma"],
    "sse2": ["-msse2"],
    "reference": ["-march=native"],  # there are no kernels
}
SIZE = 2048  # of the matrices


class Peak:
    """Call it to measure: it returns the operations that it did."""

    def __init__(self, threads: int) -> None:
        self.threads, self._loop = threads, compiled()
        if self._loop is None:
            self.how = f"NumPy's sgemm of {SIZE}, for no compiler was found: an approximation from below"
            self._a = np.random.default_rng(0).standard_normal((SIZE, SIZE), dtype=np.float32)
            return
        self.how = f"a loop of multiply-adds, {kernels()}, {threads} threads"
        self._turns, seconds = 1000, 0.0
        while seconds < 0.02:  # that long, the start of a thread does not count
            self._turns *= 2
            begin = time.perf_counter()
            self._alone([])
            seconds = time.perf_counter() - begin

    def _alone(self, flops: list[float]) -> None:
        flops.append(self._loop(self._turns, 0.5, 1.0, ctypes.byref(ctypes.c_float())))

    def __call__(self) -> float:
        if self._loop is None:
            np.dot(self._a, self._a)
            return 2.0 * SIZE**3
        flops: list[float] = []
        others = [threading.Thread(target=self._alone, args=(flops,)) for _ in range(self.threads - 1)]
        for other in others:
            other.start()
        self._alone(flops)  # ctypes lets go of the interpreter's lock
        for other in others:
            other.join()
        return sum(flops)


def compiled() -> Any:
    """The loop as a function, or None."""
    compiler = next(filter(None, map(shutil.which, (os.environ.get("CC", "cc"), "cc", "gcc", "clang"))), None)
    if compiler is None:
        return None
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        source, library = Path(folder, "peak.c"), Path(folder, "peak.so")
        source.write_text(SOURCE, encoding="utf-8")
        flags = ["-O3", "-ffp-contract=fast", *FLAGS.get(kernels(), []), "-shared", "-fPIC"]
        if subprocess.run([compiler, *flags, source, "-o", library], capture_output=True, check=False).returncode:
            return None
        loop = ctypes.CDLL(str(library)).run
    loop.restype = ctypes.c_double
    loop.argtypes = [ctypes.c_long, ctypes.c_float, ctypes.c_float, ctypes.POINTER(ctypes.c_float)]
    return loop
