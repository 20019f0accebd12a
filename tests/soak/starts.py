"""Every way to start a process, beside another library that uses the same OpenMP, before or after.

A case is a process of its own, the parent, whose child computes what the parent then computes too: the same bits,
within a time limit. With `tries`, those cases alone that hung in an earlier version, as often each.

    python -m tests.soak starts --tries 100
    python -m tests.soak.starts fork libgomp before unused
"""

from __future__ import annotations

import builtins
import ctypes
import hashlib
import itertools
import multiprocessing
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .row import Row

ROOT = Path(__file__).parents[2]
LIMIT = 60.0
"""Seconds that a case may take: a hang is what it guards against."""

METHODS = ("os.fork", "fork", "forkserver", "spawn")
OTHERS = ("nothing", "libgomp", "torch")
SETTINGS: tuple[dict[str, str], ...] = (
    {},
    {"OMP_NUM_THREADS": "1"},
    {"OMP_NUM_THREADS": "4"},
    {"OMP_NUM_THREADS": "2", "OMP_WAIT_POLICY": "active"},
    {"OMP_NUM_THREADS": "3", "OMP_DYNAMIC": "true"},
)
FORKS_WHILE_BUILDING = 5

HUNG: tuple[tuple[tuple[str, str, str, str], dict[str, str]], ...] = (
    # The start of the weights took threads of OpenBLAS, which stops them at a fork.
    (("os.fork", "nothing", "before", "building"), {"OPENBLAS_NUM_THREADS": "4"}),
    # A child has OpenMP's pool of the parent, but none of its threads.
    (("os.fork", "torch", "before", "unused"), {}),
    (("fork", "torch", "before", "unused"), {}),
)
"""Cases, with their settings, that earlier versions did not get to the end of."""

# ---------------------------------------------------------------- in the processes of a case


def digest() -> str:
    """Of what a layer gives that is worth several threads, forward and backward."""
    import numpy as np

    import xlstm

    layer = xlstm.LSTM(20, 96, seed=0)
    x = np.random.default_rng(0).normal(size=(70, 12, 20)).astype("float32")
    outputs, _, tape = layer.forward(x)
    layer.backward(tape, outputs)
    return hashlib.sha256(outputs.tobytes() + layer.gradients.flat.tobytes()).hexdigest()


def use(other: str) -> None:
    """Has another library use several threads of OpenMP."""
    if other == "libgomp":  # what torch is, in as far as it matters here, without the seconds that it takes to import
        process: Any = ctypes.CDLL(None)
        ctypes.CDLL("libgomp.so.1").GOMP_parallel(ctypes.cast(process.getpid, ctypes.c_void_p), None, 4, 0)
    elif other == "torch":
        import torch

        torch.set_num_threads(2)
        torch.randn(3000, 300).exp().sum()


def child(other: str, when: str, planted: bool) -> str:
    if planted:  # the process cannot tell that it was forked
        opened = builtins.open

        def blind(file: Any, *arguments: Any, **named: Any) -> Any:
            if file == "/proc/self/stat":
                raise FileNotFoundError(file)
            return opened(file, *arguments, **named)

        builtins.open = blind  # type: ignore[assignment]
    found = digest()
    if when == "after":
        use(other)
        assert digest() == found
    return found


def forked(other: str, when: str, planted: bool) -> str:
    reading, writing = os.pipe()
    if os.fork() == 0:
        os.write(writing, child(other, when, planted).encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as file:
        found = file.read()
    os.wait()
    return found


def forked_while_building(other: str, when: str, planted: bool) -> list[str]:
    """Forks again and again while a thread makes layers."""
    import xlstm

    begun, stop = threading.Event(), threading.Event()

    def build() -> None:
        while not stop.is_set():
            xlstm.LSTM(64, 128, seed=0)
            begun.set()

    builder = threading.Thread(target=build)
    builder.start()
    begun.wait()
    found = [forked(other, when, planted) for _ in range(FORKS_WHILE_BUILDING)]
    stop.set()
    builder.join()
    return found


def parent(method: str, other: str, when: str, used: str, planted: bool) -> None:
    if when == "before":
        use(other)
    if used == "used":
        digest()
    if used == "building":
        found = forked_while_building(other, when, planted)
    elif method == "os.fork":
        found = [forked(other, when, planted)]
    else:
        with multiprocessing.get_context(method).Pool(2) as pool:
            found = pool.starmap(child, [(other, when, planted)] * 2)
    if set(found) != {digest()}:
        raise SystemExit(f"another answer in the child: {found}")


# ---------------------------------------------------------------- the cases


def cases(short: bool) -> Iterator[tuple[tuple[str, str, str, str], dict[str, str]]]:
    if short:
        yield ("os.fork", "libgomp", "before", "unused"), SETTINGS[2]
        yield ("fork", "libgomp", "after", "used"), SETTINGS[2]
        yield HUNG[0]
        return
    for method, (other, when), used, settings in itertools.product(
        METHODS,
        [("nothing", "before"), *itertools.product(OTHERS[1:], ("before", "after"))],
        ("unused", "used"),
        SETTINGS,
    ):
        yield (method, other, when, used), settings


def tried(case: tuple[str, ...], settings: dict[str, str], limit: float = LIMIT, planted: bool = False) -> str | None:
    """None where a case ends as it should, or what it did instead."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "GOMP_"))}
    command = [sys.executable, "-m", "tests.soak.starts", *case, *(["planted"] if planted else [])]
    told = f"{' '.join(case)} {settings}"
    process = subprocess.Popen(
        command, cwd=ROOT, env={**kept, "OPENBLAS_NUM_THREADS": "1", **settings}, text=True, start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    try:
        output = process.communicate(timeout=limit)[0]
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, 9)  # its children, too
        process.communicate()
        return f"{told}: still running after {limit:g} seconds"
    return None if process.returncode == 0 else f"{told}: exit {process.returncode}: {output[-300:].strip()}"


def soak(short: bool = False, planted: bool = False, tries: int | None = None) -> Row:
    """Planted: the first case alone, whose child cannot tell that it was forked."""
    if planted:
        chosen = iter([next(cases(True))])
    elif tries is not None:
        chosen = (case for _ in range(tries) for case in HUNG)
    else:
        chosen = cases(short)
    found = [tried(*case, limit=6 if planted else LIMIT, planted=planted) for case in chosen]
    return Row("starts", len(found), [failure for failure in found if failure])


if __name__ == "__main__":
    parent(*sys.argv[1:5], planted=len(sys.argv) > 5)
