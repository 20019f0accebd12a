"""What trains beside the cells is used once it was seen to work: a step, losses, kernels for rows; else array code."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..fast import Fast
from ..notices import say_once
from .array_code import array_code, fault
from .module import DTYPES
from .rows import Rows

DTYPES_OF = {"add_rows": DTYPES, "gather": (*DTYPES, "int64"), "masks": DTYPES, "put": ("int64",)}
"""What the kernels for rows are there for."""


class Checked:
    """What became of each kernel of one device at its first use in this process.

    Parameters
    ----------
    backend
        Of the device: see `xlstm.backends.Backend`.
    """

    def __init__(self, backend: Any) -> None:
        self._backend = backend
        self._faults: dict[tuple[str, str], str | None] = {}
        self._lock = threading.Lock()

    def fault(self, what: str, implementation: Any, dtype: str) -> str | None:
        """What is wrong with an implementation; None where it agrees with the array code.

        A check that memory ends in is no verdict: MemoryError is raised, and the next question asks again.

        Parameters
        ----------
        what
            One of the names of `xlstm.trials`.
        implementation
            `CudaStep`, `CudaLoss` or `Rows`.
        dtype
            That it is to be used for.
        """
        key = (what, dtype)
        if key not in self._faults:
            with self._lock:
                if key not in self._faults:
                    self._backend.check_process()
                    found = fault(lambda: array_code().training(what, implementation, self._backend, dtype))
                    self._faults[key] = found
        return self._faults[key]

    def fast(self, what: str, implementation: Any, dtype: str, told: str) -> Fast:
        """An implementation, or that it is not used, and why. `told` is what to call it."""
        wrong = self.fault(what, implementation, dtype)
        if wrong is None:
            return Fast(implementation, "fused", "compiled at first use")
        reason = f"{told} is not used in {dtype} on {self._backend.device}: {wrong}"
        return Fast(None, "", reason, warning=f"{reason}; the array code is used instead")


class CheckedRows:
    """`Rows` of a device where they are right, else `ArrayRows`: said once for each method and dtype.

    Parameters
    ----------
    cupy
        The module `cupy`.
    backend, checked
        Of the device.
    kernels
        A `Rows`.
    """

    def __init__(self, cupy: Any, backend: Any, checked: Checked, kernels: Rows) -> None:
        self._kernels, self._array_code = kernels, ArrayRows(cupy)
        self._backend, self._checked = backend, checked

    def _right(self, what: str, dtype: str) -> Any:
        """Who does it."""
        if dtype not in DTYPES_OF[what]:
            return self._kernels  # which refuses it
        wrong = self._checked.fault(what, self._kernels, dtype)
        if wrong is None:
            return self._kernels
        instead = "CuPy's add.at, which adds in no fixed order," if what == "add_rows" else "the array code"
        where = f"the kernel of {what} is not used in {dtype} on {self._backend.device}"
        say_once(where, f"{where}: {wrong}; {instead} is used instead")
        return self._array_code

    def add(self, target: Any, ids: Any, rows: Any) -> None:
        """As of `Rows`."""
        self._right("add_rows", str(target.dtype)).add(target, ids, rows)

    def gather(self, steps: Any, starts: Any, lengths: Any, time: int) -> Any:
        """As of `Rows`."""
        return self._right("gather", str(steps.dtype)).gather(steps, starts, lengths, time)

    def masks(self, kept: Sequence[Any], scale: float, dtype: str) -> list[Any]:
        """As of `Rows`."""
        masks: list[Any] = self._right("masks", dtype).masks(kept, scale, dtype)
        return masks

    def put(self, ids: Any, where: Any, value: int) -> None:
        """As of `Rows`."""
        self._right("put", str(ids.dtype)).put(ids, where, value)


class ArrayRows:
    """What `Rows` does, in CuPy's own operations: slower, and the sums of `add` may differ in their last bits.

    Parameters
    ----------
    cupy
        The module `cupy`.
    """

    def __init__(self, cupy: Any) -> None:
        self._cupy = cupy

    def add(self, target: Any, ids: Any, rows: Any) -> None:
        """See `Rows.add`."""
        cupy = self._cupy
        if 0 in target.shape:
            return
        there = (ids >= 0) & (ids < target.shape[0])
        ids = cupy.where(there, ids, cupy.zeros_like(ids))
        cupy.add.at(target, ids, cupy.where(there[:, None], rows, cupy.zeros_like(rows)))

    def gather(self, steps: Any, starts: Any, lengths: Any, time: int) -> Any:
        """See `Rows.gather`."""
        cupy = self._cupy
        along = cupy.arange(time)
        own, index = along < lengths[:, None], along + starts[:, None]
        block = steps[cupy.where(own, index, cupy.zeros_like(index))]
        own = own.reshape(*own.shape, *(1,) * (block.ndim - 2))
        return cupy.where(own, block, cupy.zeros_like(block))

    def masks(self, kept: Sequence[Any], scale: float, dtype: str) -> list[Any]:
        """See `Rows.masks`."""
        kind = np.dtype(dtype).type
        return [self._cupy.asarray(np.where(mask, kind(scale), kind(0))) for mask in kept]

    def put(self, ids: Any, where: Any, value: int) -> None:
        """See `Rows.put`."""
        cupy = self._cupy
        ids[...] = cupy.where(cupy.asarray(where), cupy.full_like(ids, value), ids)
