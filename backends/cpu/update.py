"""The step of an optimiser by the compiled kernels: one pass over the buffer, clipping included."""

from __future__ import annotations

import math
from typing import Any

SOLVERS = ("adam", "adamw", "sgd")  # as in kernels/kernels.h


class CompiledStep:
    """The kernels of one dtype and instruction set: what `find_update` of the extension module returned for them."""

    def __init__(self, kernels: Any, found: Any) -> None:
        self._update, self._kernels = kernels.update, found

    def __call__(
        self, optimizer: Any, parameters: Any, gradients: Any, learning_rate: float, max_norm: float | None
    ) -> None:
        """`Optimizer.step` of `xlstm.optim`, for the update that its `updates` counts; `gradients` stay as they are."""
        o = optimizer
        limit = math.inf if max_norm is None else max_norm
        numbers = (learning_rate, o.alpha, o.momentum, o.beta_1, o.beta_2, o.epsilon, limit)
        solver = SOLVERS.index(o.solver)
        self._update(self._kernels, solver, o.updates, parameters, gradients, o.moments, o.decayed, numbers)
