"""The step of an optimiser on a GPU: three launches with clipping, one without, and nothing comes to the host."""

from __future__ import annotations

import math
from functools import cached_property
from typing import Any

import numpy as np

from .module import Module, blocks

THREADS = 256  # as in kernels/optimiser.cu
MOST_BLOCKS = 256
"""Of the sum of squares: what one block of the next launch adds up. A number for all devices, so that the order of the
sum is that of the buffer's size alone."""


class CudaStep:
    """The kernels of one dtype on one device.

    Parameters
    ----------
    backend
        The `CuPyBackend` of the device.
    cupy
        The module `cupy`.
    dtype
        "float32" or "float64".
    """

    def __init__(self, backend: Any, cupy: Any, dtype: str) -> None:
        self._backend, self._cupy, self._dtype = backend, cupy, np.dtype(dtype)

    @cached_property
    def _kernels(self) -> Module:
        return Module(self._cupy, "optimiser.cu", self._dtype.name)

    def __call__(
        self, optimizer: Any, parameters: Any, gradients: Any, learning_rate: float, max_norm: float | None
    ) -> None:
        """`Optimizer.step` of `xlstm.optim`, for the update that its `updates` counts; `gradients` stay as they are.

        Raises
        ------
        ValueError
            If an array is not contiguous, of another shape or dtype, or on another device. Nothing was written then.
        """
        o = optimizer
        arrays = {"parameters": parameters, "gradients": gradients, "decayed": o.decayed}
        arrays |= {f"moments[{k}]": moment for k, moment in enumerate(o.moments)}
        count = parameters.size
        for name, array in arrays.items():
            self._check(name, array, count)
        if count == 0:
            return
        adam = o.solver != "sgd"
        numbers: tuple[float, ...]
        penalty, decay = (0.0, learning_rate * o.alpha) if o.solver == "adamw" else (o.alpha, 0.0)
        if adam:
            # Corrections of moments that started at zero.
            mean_seen, root_seen = 1 - o.beta_1**o.updates, math.sqrt(1 - o.beta_2**o.updates)
            numbers = (
                learning_rate * root_seen / mean_seen, o.beta_1, 1 - o.beta_1, o.beta_2, 1 - o.beta_2,
                o.epsilon * root_seen, penalty, decay,
            )  # fmt: skip
        else:
            numbers = (learning_rate, o.momentum, penalty)
        with self._backend.current():
            factor = None if max_norm is None or max_norm == math.inf else self._factor(gradients, max_norm)
            update = self._kernels.update_adam if adam else self._kernels.update_sgd
            rates = map(self._dtype.type, numbers)
            update(blocks(count, THREADS), (THREADS,), (*arrays.values(), factor, count, *rates))

    def _factor(self, gradients: Any, max_norm: float) -> Any:
        """(2,) float64 on the device: what the gradients are multiplied with."""
        count = gradients.size
        (grid,) = blocks(count, 4 * THREADS)
        grid = min(grid, MOST_BLOCKS)
        sums = self._cupy.empty((3 * grid + 2,), dtype="float64")  # from CuPy's pool, in the order of the stream
        factor = sums[3 * grid :]
        self._kernels.squares((grid,), (THREADS,), (gradients, sums, count))
        limit = max_norm if max_norm <= float(np.finfo(self._dtype).max) else math.inf
        self._kernels.clipping((1,), (THREADS,), (sums, factor, grid, self._dtype.type(limit)))
        return factor

    def _check(self, name: str, array: Any, count: int) -> None:
        wanted = f"a contiguous array ({count},) of {self._dtype.name} on {self._backend.device}"
        if not self._backend.owns(array):
            raise ValueError(f"{name} must be {wanted}, got {type(array).__name__} elsewhere.")
        if array.shape != (count,) or array.dtype != self._dtype or not array.flags.c_contiguous:
            whether = "contiguous" if array.flags.c_contiguous else "not contiguous"
            raise ValueError(f"{name} must be {wanted}, got {tuple(array.shape)} of {array.dtype}, {whether}.")
