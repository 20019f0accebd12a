"""The start of recurrent weights: orthogonal matrices, made without a BLAS that starts threads."""

import os
import subprocess
import sys

import numpy as np
import pytest

from xlstm.orthogonal import orthogonal

SIZES = [1, 2, 3, 31, 32, 33, 64, 65, 100, 200]


@pytest.mark.parametrize("size", SIZES)
def test_columns_and_rows_are_orthonormal(size: int) -> None:
    q = orthogonal(size, np.random.default_rng(size))
    assert q.shape == (size, size)
    np.testing.assert_allclose(q.T @ q, np.eye(size), atol=1e-12)
    np.testing.assert_allclose(q @ q.T, np.eye(size), atol=1e-12)


@pytest.mark.parametrize("size", SIZES)
def test_it_is_the_q_of_the_drawn_matrix(size: int) -> None:
    """R with a positive diagonal makes it the only one: by Householder's reflections it is the same."""
    q, r = np.linalg.qr(np.random.default_rng(size).standard_normal((size, size)))
    np.testing.assert_allclose(orthogonal(size, np.random.default_rng(size)), q * np.sign(np.diag(r)), atol=1e-11)


def test_uniform_over_rotations_and_reflections() -> None:
    """The mean of each entry is 0, of its square 1 / n and of its fourth power 3 / (n (n + 2))."""
    n, many = 3, 4000
    rng = np.random.default_rng(0)
    entries = np.stack([orthogonal(n, rng) for _ in range(many)])
    for power, mean in ((1, 0.0), (2, 1 / n), (4, 3 / (n * (n + 2)))):
        np.testing.assert_allclose((entries**power).mean(axis=0), mean, atol=5 / many**0.5 * 0.5)
    assert 0.45 < (np.linalg.det(entries) > 0).mean() < 0.55


FORKS = """
import os, sys, threading, warnings
import numpy as np
import xlstm
warnings.simplefilter("ignore", DeprecationWarning)  # of Python 3.12 on: a fork of a process with threads
stop = threading.Event()
def build():
    while not stop.is_set():
        xlstm.LSTM(8, 160, seed=0, device="cpu")
builder = threading.Thread(target=build)
builder.start()
expected = xlstm.LSTM(8, 160, seed=0, device="cpu").parameters["weight_hh_l0"].copy()
right = 0
for _ in range(20):
    child = os.fork()
    if child == 0:
        found = xlstm.LSTM(8, 160, seed=0, device="cpu").parameters["weight_hh_l0"]
        os._exit(0 if (found == expected).all() else 1)
    right += os.waitpid(child, 0)[1] == 0
stop.set()
builder.join()
print(right)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_layers_are_built_while_another_thread_forks() -> None:
    """With threads of a BLAS in it the fork waited for ever."""
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "4"}
    found = subprocess.run([sys.executable, "-c", FORKS], env=environment, capture_output=True, text=True, timeout=300)
    assert (found.returncode, found.stdout) == (0, "20\n"), found.stderr
