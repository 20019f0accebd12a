"""The CPU, by NumPy."""

from __future__ import annotations

import platform
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np

from . import cpu
from .fast import LEVELS, Fast


class NumPyBackend:
    """See `xlstm.backends.Backend`."""

    device = "cpu"
    library = "numpy"
    namespace = np
    on_host = True
    levels = None

    def __reduce__(self) -> str:
        return "BACKEND"  # a copy of what uses the CPU, or its pickle, uses the same

    def owns(self, array: object) -> bool:
        return isinstance(array, np.ndarray)

    def from_host(self, array: Any) -> Any:
        return np.array(array)

    def adopt(self, array: Any) -> Any:
        return array

    def to_host(self, array: Any) -> Any:
        return np.asarray(array)

    def free_bytes(self) -> int:
        return sys.maxsize  # host arrays are here already: nobody has to choose which of them fit

    upload = from_host

    def conveyor(self) -> None:
        return None

    def gather(self, steps: Any, starts: Any, lengths: Any, time: int) -> Any:
        index = starts[:, None] + np.arange(time)
        return steps[np.minimum(index, len(steps) - 1)]

    def add_rows(self, target: Any, ids: Any, rows: Any) -> None:
        # Rows of one id are brought together and summed in one call: np.add.at takes several times as long.
        order = np.argsort(ids, kind="stable")
        present, first = np.unique(ids[order], return_index=True)
        target[present] += np.add.reduceat(rows[order], first, axis=0)

    def masks(self, kept: Sequence[Any], scale: float, dtype: str) -> list[Any]:
        made = [mask.astype(dtype) for mask in kept]
        for mask in made:
            mask *= scale
        return made

    def put(self, ids: Any, where: Any, value: int) -> None:
        ids[where] = value

    def fast_cell(self, cell: str, dtype: str, kernels: str, precision: str) -> Fast:
        if kernels in LEVELS:
            return Fast(None, "", no_level(kernels))
        implementation = cpu.find_cell(cell, dtype)
        if implementation is not None:
            return Fast(implementation, str(cpu.target), cpu.about())
        if cell in cpu.CELLS:
            return Fast(None, "", cpu.why_not(cell, dtype), mendable=cpu.mendable())
        return Fast(None, "", cpu.why_not(cell, dtype))

    def fast_step(self, dtype: str) -> Fast:
        implementation = cpu.find_step(dtype)
        if implementation is not None:
            return Fast(implementation, str(cpu.target), cpu.about())
        return Fast(None, "", cpu.why_not(), mendable=cpu.mendable())

    def fast_loss(self, kind: str, dtype: str) -> Fast:
        implementation = cpu.find_loss(kind, dtype)
        if implementation is not None:
            return Fast(implementation, str(cpu.target), cpu.about())
        return Fast(None, "", f"no compiled loss {kind} for the CPU in {dtype}")

    def current(self) -> AbstractContextManager[Any]:
        return nullcontext()

    def quiet(self) -> AbstractContextManager[Any]:
        return np.errstate(over="ignore", invalid="ignore")

    def synchronize(self) -> None:
        pass


BACKEND = NumPyBackend()


def no_level(kernels: str) -> str:
    """Why a level of CUDA GPUs does not run here."""
    where = "this is the CPU, where a layer is unless device= or XLSTM_DEVICE names another"
    return f"kernels={kernels!r} is for CUDA GPUs, and {where}"


def version() -> str:
    return f"numpy {np.__version__}"


def processor() -> str:
    """The CPU's name, as far as the system tells it."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            for line in file:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
