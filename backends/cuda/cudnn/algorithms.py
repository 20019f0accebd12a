"""By which of cuDNN's algorithms a call is computed: what is asked for, and what it has refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from . import plan
from .library import CudnnError
from .plan import Kind, Sizes

MOST_PERSISTENT = {"lstm": (192, 128), "gru": (192, 128), "rnn": (384, 256)}
"""H up to which one kernel for all steps is asked for, in inference and in training."""


class Algorithms:
    """The choice for one cell in one precision.

    Parameters
    ----------
    cupy
        The module `cupy`.
    cell, kind
        Its name, and what cuDNN calls it.
    """

    def __init__(self, cupy: Any, cell: str, kind: Kind) -> None:
        self._cupy, self._cell, self._kind = cupy, cell, kind
        self._refused: set[tuple[Any, ...]] = set()
        self._large: dict[int, bool] = {}

    def to_try(self, sizes: Sizes, device: int, training: bool) -> list[int]:
        """Which algorithms to try, the plain one last. The others take rows of equal lengths alone."""
        N, _, D, H, lengths = sizes
        found = []
        if lengths is None:
            most = MOST_PERSISTENT[self._cell][training]
            if self._kind.data == plan.FLOAT and most >= H:
                found.append(plan.SMALL_H)
            whole = D % 128 == 0 and H % 128 == 0 and H <= 1024 and N % 8 == 0 and N <= 128
            if self._kind.data == plan.HALF and whole and self._cell != "gru" and self._is_large(device):
                found.append(plan.PERSIST_STATIC)
        return [*found, plan.STANDARD]

    def _is_large(self, device: int) -> bool:
        """Whether the device is known to hold a layer of 16 bits: Ampere and later with at least 98 processors."""
        if device not in self._large:
            p = self._cupy.cuda.runtime.getDeviceProperties(device)
            capability = p["major"], p["minor"]
            # 8.6 threw exceptions in cuDNN's own persistent kernels.
            self._large[device] = (8, 0) <= capability != (8, 6) and p.get("multiProcessorCount", 0) >= 98
        return self._large[device]

    def first_of(
        self, algorithms: list[int], device: int, sizes: Sizes, training: bool, call: Callable[[int], Any]
    ) -> Any:
        """The result of `call(algorithm)` for the first algorithm that cuDNN does not refuse, which is remembered.

        The last one's refusal is raised.
        """
        *others, last = algorithms
        for algorithm in others:
            if _call(device, sizes, algorithm, training) in self._refused:
                continue
            try:
                return call(algorithm)
            except CudnnError as error:
                if not error.not_supported:
                    raise
                self.refuse(device, sizes, algorithm, training)
        return call(last)

    def refuse(self, device: int, sizes: Sizes, algorithm: int, training: bool) -> None:
        """Do not try this algorithm again for calls of these sizes."""
        if len(self._refused) >= 1024:
            self._refused.clear()
        self._refused.add(_call(device, sizes, algorithm, training))


def _call(device: int, sizes: Sizes, algorithm: int, training: bool) -> tuple[Any, ...]:
    return device, sizes[:4], algorithm, training
