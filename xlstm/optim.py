"""Optimisers on the flat buffer of the parameters, clipping, and schedules of the learning rate.

An optimiser keeps its moments as arrays beside the buffer; a step is a handful of operations on whole arrays, and no
array becomes a Python number in it.

In a training loop of one's own it takes the parameters of a layer as they are, or of a layer and a head together:

    optimizer = Optimizer([layer.parameters, head], solver="adam")
    ...
    optimizer.step([layer.parameters, head], [layer.gradients, d_head], learning_rate=0.01)
"""

from __future__ import annotations

import math
import numbers
import operator
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext, suppress
from typing import Any

from . import backends
from .backends import Backend
from .checks import check_epsilon
from .namespace import Array, array_namespace
from .params import Parameters, joined

INFINITY = math.inf

SOLVERS = ("adam", "adamw", "sgd")
MOMENTS = {"adam": 2, "adamw": 2, "sgd": 1}
"""How many moments each keeps."""
SCHEDULES = ("constant", "cosine")

FastStep = Callable[[Any, Array, Array, float, float | None], None]
"""`Optimizer.step` by other means: the optimiser, parameters, gradients, learning rate and largest norm."""

Sets = Array | Parameters | Sequence[Parameters]
"""A flat buffer, the parameters of one layer or head, or those of several together."""
Gradients = Array | Mapping[str, Array] | Sequence[Mapping[str, Array]]
"""The same of gradients: a flat buffer, the gradients by the names of the parameters, or several of them."""


class Optimizer:
    """One of SGD with momentum, Adam and AdamW.

    It keeps no parameters, only what it has seen of their gradients: each step is given both.

    Parameters
    ----------
    parameters
        What is to be stepped on: `layer.parameters`; a list of several such sets, stepped and clipped as one; or a flat
        buffer.
    decayed
        In the form of `parameters`: 1 where a penalty applies, 0 where not. None: of named parameters all but those
        with "bias" in their name, as in the estimators; of a flat buffer everything.
    solver
        `"sgd"`: v ← momentum·v - rate·g; p ← p + v.
        `"adam"`: Kingma and Ba, "Adam" (2015).
        `"adamw"`: Loshchilov and Hutter, "Decoupled Weight Decay Regularization" (2019).
    alpha
        Strength of the penalty on squared weights: alpha·p is added to the gradient ("sgd", "adam"), or p shrinks by
        the factor 1 - rate·alpha a step ("adamw"). 0 or more.
    momentum
        Of "sgd", 0 to 1.
    beta_1, beta_2, epsilon
        Of "adam" and "adamw": both betas 0 or more and below 1, epsilon above 0.
    backend
        Where the arrays live. With it the optimiser takes the fastest step that there is, and can be pickled, copied
        and moved to another device. None: of named parameters the backend that owns them, where there is one; of a
        flat buffer no backend, for an optimiser that only computes.
    kernels
        Which steps of the backend may be taken: see `backends.find_step`.

    Attributes
    ----------
    updates : int
        Steps taken.
    moments : list of arrays
        One for "sgd", two for the others, like the buffer; of several sets one after the other.
    fast : callable or None
        A faster implementation of the same step, clipping included; None for the one that is written here. It is
        called with the optimiser, whose `updates` counts this step, and with the arguments of `step`.

    Raises
    ------
    ValueError
        If the solver is unknown, or a number out of range.
    TypeError
        If `parameters` is none of these: a layer, or a dict, which has lost the buffer.

    Examples
    --------
    >>> import numpy as np, xlstm
    >>> layer = xlstm.LSTM(input_size=3, hidden_size=4, seed=0)
    >>> optimizer = xlstm.optim.Optimizer(layer.parameters, solver="adam")
    >>> outputs, _, tape = layer.forward(np.ones((2, 5, 3)))
    >>> _ = layer.backward(tape, 2 * outputs)  # of the loss Σ outputs²
    >>> optimizer.step(layer.parameters, layer.gradients, learning_rate=0.01)
    >>> bool((layer(np.ones((2, 5, 3)))[0] ** 2).sum() < (outputs**2).sum())
    True
    """

    _shapes: list[dict[str, tuple[int, ...]]] | None = None
    """The shapes of each of the sets that it was made for, by their names; None where it was made for a flat buffer."""

    def __init__(
        self,
        parameters: Sets,
        decayed: Gradients | None = None,
        solver: str = "adam",
        *,
        alpha: float = 0.0,
        momentum: float = 0.9,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        backend: Backend | None = None,
        kernels: str = "auto",
    ) -> None:
        if isinstance(decayed, str):
            raise TypeError(f"decayed, the second argument, is {decayed!r}: name the solver, solver={decayed!r}.")
        if solver not in SOLVERS:
            raise ValueError(f"solver must be one of {SOLVERS}, got {solver!r}.")
        _check_numbers(alpha, momentum, beta_1, beta_2, epsilon)
        sets, named = joined("parameters", parameters)
        sets.check_floating()
        if named and backend is None:
            backend = backends.owner(sets.sets[0].flat)
        self.solver, self.alpha, self.momentum = solver, alpha, momentum
        self.beta_1, self.beta_2, self.epsilon = beta_1, beta_2, epsilon
        self.backend, self.kernels = backend, kernels
        self.updates = 0
        self._shapes = sets.shapes() if named else None
        with self._current():
            flat = sets.flat()
            xp = array_namespace(flat)
            if decayed is None:
                decayed = sets.by_name(decays) if named else xp.ones_like(flat)
            else:
                decayed = sets.gathered("decayed", decayed, ("real floating", "integral", "bool"))
            self.decayed: Array = decayed
            self.moments: list[Array] = [xp.zeros_like(flat) for _ in range(MOMENTS[solver])]
        check_epsilon(solver, epsilon, self.moments[0])
        self.fast = self._find_fast()

    def _find_fast(self) -> FastStep | None:
        if self.backend is None:
            return None
        dtype = str(self.moments[0].dtype)
        step: FastStep | None = backends.find_step(self.backend, dtype, self.kernels)
        return step

    def _current(self) -> Any:
        return nullcontext() if self.backend is None else self.backend.current()

    # ------------------------------------------------------------ pickles, copies, devices

    def host_moments(self) -> list[Any]:
        """The moments as host arrays: with `updates` all that `resume` needs to go on elsewhere.

        Raises
        ------
        ValueError
            If the optimiser has no backend.
        """
        return [self._owner().to_host(moment) for moment in self.moments]

    def resume(self, updates: int, host_moments: Sequence[Any]) -> None:
        """Go on after so many updates, with moments that `host_moments` gave.

        Raises
        ------
        ValueError
            If they are not as many as the solver keeps, or of another shape or dtype; if `updates` is negative; if the
            optimiser has no backend.
        TypeError
            If `updates` is no integer.
        """
        backend, shape, dtype = self._owner(), tuple(self.moments[0].shape), str(self.moments[0].dtype)
        try:
            count = operator.index(updates)
        except TypeError:
            raise TypeError(f"updates must be an integer, the steps taken so far; got {updates!r:.80}.") from None
        if count < 0:
            raise ValueError(f"updates must be 0 or more, the steps taken so far; got {count}.")
        got = [(tuple(getattr(moment, "shape", ())), str(getattr(moment, "dtype", None))) for moment in host_moments]
        if got != [(shape, dtype)] * len(self.moments):
            told = " and ".join(f"{size} of {kind}" for size, kind in got)
            raise ValueError(
                f"the solver {self.solver!r} goes on with {len(self.moments)} moments of shape {shape} and dtype "
                f"{dtype}, as host_moments gave them; got {told or 'none'}."
            )
        with self._current():
            for moment, found in zip(self.moments, host_moments, strict=True):
                moment[...] = backend.adopt(found)  # in its place: each is as large as the model
        self.updates = count

    def _owner(self) -> Backend:
        if self.backend is None:
            raise ValueError(
                "this optimiser only computes: to come and go from the host, it is made with named parameters "
                "(layer.parameters), or with backend=."
            )
        return self.backend

    def to(self, backend: Backend) -> Optimizer:
        """A copy on another device."""
        other = object.__new__(type(self))
        kernels = self.kernels if self.backend is None else backends.elsewhere(self.kernels, backend)
        other.__setstate__({**self.__getstate__(), "backend": backend, "kernels": kernels})
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
            self.decayed, *self.moments = map(self.backend.from_host, [self.decayed, *self.moments])
            self.fast = self._find_fast()

    # ------------------------------------------------------------ the step

    def step(self, parameters: Sets, gradients: Gradients, learning_rate: float, max_norm: float | None = None) -> None:
        """Move `parameters` in place, down `gradients`.

        Parameters
        ----------
        parameters
            What the optimiser was made for: `layer.parameters`, the list of several sets, or the flat buffer (P,).
        gradients
            In the same form: `layer.gradients`, or a mapping with the same names (what `head.backward` returns), for
            several sets a list of them; or the flat buffer (P,). The arrays may be scaled in place.
        learning_rate
            Of this step.
        max_norm
            The gradients, all sets together, are clipped to this norm first (`clip_by_global_norm`); None never clips.

        Raises
        ------
        ValueError
            If these are other parameters than the optimiser was made for, or the gradients are of others; if a number
            is out of range.
        TypeError
            If they are of another form, or of different libraries.

        None of these changes anything.
        """
        like = self.moments[0]
        p: Any = parameters
        g: Any = gradients
        if type(p) is type(g) is type(like) and p.shape == g.shape == like.shape and p.dtype == g.dtype == like.dtype:
            self._step_flat(p, g, learning_rate, max_norm)
            return
        sets, named = joined("parameters", parameters)
        if not named and isinstance(gradients, Parameters):
            gradients = gradients.flat
        sets.check_same(self._shapes if named else None, like)
        with self._current():
            flat = sets.flat()
            self._step_flat(flat, sets.gathered("gradients", gradients), learning_rate, max_norm)
            sets.write(flat)

    def _step_flat(self, parameters: Any, gradients: Any, learning_rate: float, max_norm: float | None) -> None:
        """The step on buffers that are known to be right; nothing has changed where this raises."""
        learning_rate = _number("learning_rate", learning_rate)
        max_norm = None if max_norm is None else _number("max_norm", max_norm)
        if self.fast is not None:
            self.updates += 1
            try:
                self.fast(self, parameters, gradients, learning_rate, max_norm)
            except Exception:
                self.updates -= 1  # it raises before it writes, of a buffer that is read-only or not contiguous
                raise
            return
        if not getattr(getattr(parameters, "flags", None), "writeable", True):
            raise ValueError("the buffer of the parameters is read-only: it is stepped in place. Pass a copy.")
        xp = array_namespace(parameters, gradients)
        if max_norm is not None:
            clip_by_global_norm(gradients, max_norm)
        self.updates += 1
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


def decays(name: str) -> bool:
    """Whether a penalty on large weights applies to the parameter of this name: to all but biases."""
    return "bias" not in name


def _check_numbers(alpha: float, momentum: float, beta_1: float, beta_2: float, epsilon: float) -> None:
    rules: dict[str, tuple[Any, str, Callable[[Any], bool]]] = {
        "alpha": (alpha, "0 or more", lambda value: 0 <= value < INFINITY),
        "momentum": (momentum, "from 0 to 1", lambda value: 0 <= value <= 1),
        "beta_1": (beta_1, "0 or more, and below 1", lambda value: 0 <= value < 1),
        "beta_2": (beta_2, "0 or more, and below 1", lambda value: 0 <= value < 1),
        "epsilon": (epsilon, "above 0", lambda value: 0 < value < INFINITY),
    }
    for name, (value, wanted, holds) in rules.items():
        if not isinstance(value, numbers.Real) or not holds(value):
            raise ValueError(f"{name} must be {wanted}, got {value!r:.80}.")


def _number(name: str, value: Any) -> float:
    """The learning rate or the largest norm of a step as a float; ValueError where it is not one."""
    number: float = value if type(value) is float else _float(value)  # a training asks for nothing but the type
    if not (0 <= number < INFINITY if name == "learning_rate" else number > 0):
        wanted = "a finite number of 0 or more" if name == "learning_rate" else "a number above 0, or None"
        raise ValueError(f"{name} must be {wanted}, got {value!r:.80}.")
    return number


def _float(value: Any) -> float:
    """A real number, or an array of no axis that holds one, as a float; NaN where it is neither."""
    with suppress(TypeError, ValueError, OverflowError):
        if isinstance(value, numbers.Real) or getattr(value, "shape", None) == ():
            return float(value)
    return math.nan


def clip_by_global_norm(gradients: Array | Parameters, max_norm: float) -> Array:
    """Scale `gradients` (P,) in place so that their Euclidean norm is at most `max_norm`; return the norm before, ().

    `layer.gradients` too are taken as they are. `Optimizer.step` clips several sets as one.
    Pascanu, Mikolov and Bengio, "On the difficulty of training recurrent neural networks" (2013).

    Where a gradient is infinite or NaN, so that no scale is right, the norm is NaN and all stay as they are. The norm
    of no gradients is 0. A `max_norm` of infinity scales nothing.

    Raises
    ------
    ValueError
        If `max_norm` is not a number above 0.
    """
    max_norm = _number("max_norm", max_norm)
    if isinstance(gradients, Parameters):
        gradients = gradients.flat
    xp = array_namespace(gradients)
    if 0 in gradients.shape:
        return xp.sum(gradients)
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
