"""Optimisers on the flat buffer of the parameters, clipping, and schedules of the learning rate.

An optimiser keeps its moments as arrays beside the buffer; a step is a handful of operations on whole arrays, and no
array becomes a Python number in it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

from . import backends
from .backends import Backend
from .namespace import Array, array_namespace

SOLVERS = ("adam", "adamw", "sgd")
MOMENTS = {"adam": 2, "adamw": 2, "sgd": 1}
"""How many moments each keeps."""
SCHEDULES = ("constant", "cosine")

FastStep = Callable[[Any, Array, Array, float, float | None], None]
"""`Optimizer.step` by other means: the optimiser, parameters, gradients, learning rate and largest norm."""


class Optimizer:
    """One of SGD with momentum, Adam and AdamW.

    Parameters
    ----------
    parameters
        The flat buffer to step on.
    decayed
        Array like it: 1 where a penalty applies (weights), 0 where not (biases).
    solver
        `"sgd"`: v ← momentum·v - rate·g; p ← p + v.
        `"adam"`: Kingma and Ba, "Adam" (2015).
        `"adamw"`: Loshchilov and Hutter, "Decoupled Weight Decay Regularization" (2019).
    alpha
        Strength of the penalty on squared weights: alpha·p is added to the gradient ("sgd", "adam"), or p shrinks by
        the factor 1 - rate·alpha a step ("adamw").
    momentum
        Of "sgd", 0 to 1.
    beta_1, beta_2, epsilon
        Of "adam" and "adamw".
    backend
        Where the arrays live. With it the optimiser takes the fastest step that there is, and can be pickled, copied
        and moved to another device. None for one that only computes.
    kernels
        Which steps of the backend may be taken: see `backends.find_step`.

    Attributes
    ----------
    updates : int
        Steps taken.
    moments : list of arrays
        One for "sgd", two for the others, like the buffer.
    fast : callable or None
        A faster implementation of the same step, clipping included; None for the one that is written here. It is
        called with the optimiser, whose `updates` counts this step, and with the arguments of `step`.
    """

    def __init__(
        self,
        parameters: Array,
        decayed: Array,
        solver: str,
        *,
        alpha: float = 0.0,
        momentum: float = 0.9,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        backend: Backend | None = None,
        kernels: str = "auto",
    ) -> None:
        if solver not in SOLVERS:
            raise ValueError(f"solver must be one of {SOLVERS}, got {solver!r}.")
        xp = array_namespace(parameters)
        self.solver, self.alpha, self.momentum = solver, alpha, momentum
        self.beta_1, self.beta_2, self.epsilon = beta_1, beta_2, epsilon
        self.decayed, self.backend, self.kernels = decayed, backend, kernels
        self.updates = 0
        with nullcontext() if backend is None else backend.current():
            self.moments: list[Array] = [xp.zeros_like(parameters) for _ in range(MOMENTS[solver])]
        self.fast = self._find_fast()

    def _find_fast(self) -> FastStep | None:
        if self.backend is None:
            return None
        dtype = str(self.moments[0].dtype)
        step: FastStep | None = backends.find_step(self.backend, dtype, self.kernels)
        return step

    # ------------------------------------------------------------ pickles, copies, devices

    def host_moments(self) -> list[Any]:
        """The moments as host arrays; it takes an optimiser with a backend."""
        assert self.backend is not None
        return [self.backend.to_host(moment) for moment in self.moments]

    def resume(self, updates: int, host_moments: Sequence[Any]) -> None:
        """Go on after so many updates, with moments that `host_moments` gave."""
        assert self.backend is not None
        self.updates = updates
        self.moments = [self.backend.from_host(moment) for moment in host_moments]

    def to(self, backend: Backend) -> Optimizer:
        """A copy on another device."""
        other = object.__new__(type(self))
        other.__setstate__({**self.__getstate__(), "backend": backend})
        return other

    def __getstate__(self) -> dict[str, Any]:
        # Copies and pickles hold host arrays, and no step of this machine: the backend says where they go back to.
        if self.backend is None:
            return self.__dict__
        decayed, moments = self.backend.to_host(self.decayed), self.host_moments()
        return {**self.__dict__, "decayed": decayed, "moments": moments, "fast": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if self.backend is not None:
            self.decayed = self.backend.from_host(self.decayed)
            self.resume(self.updates, self.moments)
            self.fast = self._find_fast()

    # ------------------------------------------------------------ the step

    def step(self, parameters: Array, gradients: Array, learning_rate: float, max_norm: float | None = None) -> None:
        """Move `parameters` (P,) in place, down `gradients` (P,).

        Parameters
        ----------
        parameters, gradients
            The buffers. `gradients` may be scaled in place.
        learning_rate
            Of this step.
        max_norm
            The gradients are clipped to this norm first (`clip_by_global_norm`); None never clips.
        """
        self.updates += 1
        if self.fast is not None:
            self.fast(self, parameters, gradients, learning_rate, max_norm)
            return
        xp = array_namespace(parameters, gradients)
        if max_norm is not None:
            clip_by_global_norm(gradients, max_norm)
        if self.alpha and self.solver != "adamw":
            gradients = gradients + self.alpha * (self.decayed * parameters)
        if self.solver == "sgd":
            (velocity,) = self.moments
            velocity *= self.momentum
            velocity -= learning_rate * gradients
            parameters += velocity
            return
        mean, square = self.moments
        mean *= self.beta_1
        mean += (1 - self.beta_1) * gradients
        square *= self.beta_2
        square += (1 - self.beta_2) * (gradients * gradients)
        # Both start at zero: divided by what they have seen so far, they are no longer too small.
        mean_seen = 1 - self.beta_1**self.updates
        square_seen = 1 - self.beta_2**self.updates
        if self.alpha and self.solver == "adamw":
            parameters -= (learning_rate * self.alpha) * (self.decayed * parameters)
        # Kingma and Ba's order: the corrections are two numbers instead of two passes over the buffer.
        denominator = xp.sqrt(square)
        denominator += self.epsilon * math.sqrt(square_seen)
        update = mean / denominator
        update *= learning_rate * math.sqrt(square_seen) / mean_seen
        parameters -= update


def clip_by_global_norm(gradients: Array, max_norm: float) -> Array:
    """Scale `gradients` (P,) in place so that their Euclidean norm is at most `max_norm`; return the norm before, ().

    Pascanu, Mikolov and Bengio, "On the difficulty of training recurrent neural networks" (2013).
    """
    xp = array_namespace(gradients)
    # Of the gradients over their largest: their squares would overflow long before they do.
    largest = xp.max(xp.abs(gradients))
    safe = xp.where(largest > 0, largest, xp.ones_like(largest))
    scaled = gradients / safe
    norm = safe * xp.sqrt(xp.sum(scaled * scaled))
    one = xp.ones_like(norm)
    too_long = norm > max_norm  # never where max_norm is infinite
    gradients *= xp.where(too_long, max_norm / xp.where(too_long, norm, one), one)
    return norm


def learning_rate_at(update: int, total: int, schedule: str, rate: float, warmup: int) -> float:
    """The learning rate of one update.

    Parameters
    ----------
    update
        From 0 on.
    total
        How many there will be.
    schedule
        `"constant"`, or `"cosine"`: from `rate` down to 0 along half a cosine (Loshchilov and Hutter, "SGDR", 2017).
    warmup
        Number of updates over which the learning rate rises in equal steps to `rate`.
    """
    if schedule not in SCHEDULES:
        raise ValueError(f"learning_rate must be one of {SCHEDULES}, got {schedule!r}.")
    if update < warmup:
        return rate * (update + 1) / warmup
    if schedule == "constant":
        return rate
    done = (update - warmup) / max(1, total - warmup)
    return rate * 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))
