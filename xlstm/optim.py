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
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from typing import Any

from . import backends
from .backends import Backend
from .namespace import Array, array_namespace
from .params import Joined, Parameters

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
        sets = _joined("parameters", parameters)
        if sets is not None and backend is None:
            backend = backends.owner(sets.sets[0].flat)
        self.solver, self.alpha, self.momentum = solver, alpha, momentum
        self.beta_1, self.beta_2, self.epsilon = beta_1, beta_2, epsilon
        self.backend, self.kernels = backend, kernels
        self.updates = 0
        with self._current():
            flat = parameters if sets is None else sets.flat()
            xp = array_namespace(flat)
            if decayed is None:
                decayed = xp.ones_like(flat) if sets is None else sets.by_name(decays)
            elif sets is not None:
                decayed = sets.gathered("decayed", decayed)
            self.decayed: Array = decayed
            self.moments: list[Array] = [xp.zeros_like(flat) for _ in range(MOMENTS[solver])]
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
            If they are not as many as the solver keeps, or of another shape; if the optimiser has no backend.
        """
        backend, wanted = self._owner(), (len(self.moments), *self.moments[0].shape)
        shapes = [tuple(getattr(moment, "shape", ())) for moment in host_moments]
        if shapes != [wanted[1:]] * wanted[0]:
            raise ValueError(
                f"the solver {self.solver!r} goes on with {wanted[0]} moments of shape {wanted[1:]}, as host_moments "
                f"gave them; got {shapes}."
            )
        moments = [backend.from_host(moment) for moment in host_moments]
        self.updates, self.moments = int(updates), moments

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
        if type(parameters) is type(like) and type(gradients) is type(like):
            self._step_flat(parameters, gradients, learning_rate, max_norm)
            return
        sets = _joined("parameters", parameters)
        if sets is None:
            buffer: Any = parameters
            sets = Joined([Parameters({"the buffer": tuple(buffer.shape)}, buffer)])
            gradients = gradients.flat if isinstance(gradients, Parameters) else gradients
        if sets.size != like.shape[0]:
            raise ValueError(
                f"this optimiser was made for {like.shape[0]} parameters, got {sets.size}: {sets}. Pass the same "
                "parameters as when it was made, or make one for these."
            )
        _check_step(learning_rate, max_norm)
        with self._current():
            flat = sets.flat()
            self._step_flat(flat, sets.gathered("gradients", gradients), learning_rate, max_norm)
            sets.write(flat)

    def _step_flat(self, parameters: Any, gradients: Any, learning_rate: float, max_norm: float | None) -> None:
        shape = self.moments[0].shape
        if parameters.shape != shape or gradients.shape != shape:
            raise ValueError(
                f"this optimiser was made for a buffer of {shape[0]} parameters, got parameters of shape "
                f"{tuple(parameters.shape)} and gradients of shape {tuple(gradients.shape)}."
            )
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


def decays(name: str) -> bool:
    """Whether a penalty on large weights applies to the parameter of this name: to all but biases."""
    return "bias" not in name


def _joined(name: str, given: Any) -> Joined | None:
    """The sets of parameters that were given; None for a flat buffer."""
    if isinstance(given, Parameters):
        return Joined([given])
    if isinstance(given, (list, tuple)) and given and all(isinstance(one, Parameters) for one in given):
        return Joined(given)
    what = "pass layer.parameters, a list of several ([layer.parameters, head]), or a flat buffer (P,)"
    if isinstance(given, (list, tuple)):
        kinds = ", ".join(sorted({type(one).__name__ for one in given})) or "nothing"
        raise TypeError(f"{name} is a {type(given).__name__} of {kinds}: {what}.")
    if isinstance(given, Mapping):
        raise TypeError(
            f"{name} is a {type(given).__name__}, which has not the one buffer that is stepped: {what}. Arrays of your "
            "own become such parameters as xlstm.params.Parameters(shapes, flat)."
        )
    if isinstance(getattr(given, "parameters", None), Parameters):
        raise TypeError(f"{name} is a layer, {type(given).__name__}: {what}.")
    try:
        array_namespace(given)
    except TypeError as error:
        raise TypeError(f"{name} is of type {type(given).__name__}: {what}.") from error
    if len(given.shape) != 1:
        raise ValueError(f"a flat buffer of parameters is (P,), got shape {tuple(given.shape)}.")
    return None


def _check_numbers(alpha: float, momentum: float, beta_1: float, beta_2: float, epsilon: float) -> None:
    right = {
        "alpha must be 0 or more": (alpha, alpha >= 0),
        "momentum must be from 0 to 1": (momentum, 0 <= momentum <= 1),
        "beta_1 must be 0 or more, and below 1": (beta_1, 0 <= beta_1 < 1),
        "beta_2 must be 0 or more, and below 1": (beta_2, 0 <= beta_2 < 1),
        "epsilon must be above 0": (epsilon, epsilon > 0),
    }
    for rule, (value, holds) in right.items():
        if not holds:
            raise ValueError(f"{rule}, got {value!r}.")


def _check_step(learning_rate: Any, max_norm: Any) -> None:
    for name, value, fine in (("learning_rate", learning_rate, ()), ("max_norm", max_norm, (None,))):
        try:
            holds = value in fine or (0 <= value < math.inf if name == "learning_rate" else value > 0)
        except (TypeError, ValueError):
            holds = False
        if not holds:
            wanted = "a finite number of 0 or more" if name == "learning_rate" else "a number above 0, or None"
            raise ValueError(f"{name} must be {wanted}, got {value!r:.80}.")


def clip_by_global_norm(gradients: Array | Parameters, max_norm: float) -> Array:
    """Scale `gradients` (P,) in place so that their Euclidean norm is at most `max_norm`; return the norm before, ().

    `layer.gradients` too are taken as they are. `Optimizer.step` clips several sets as one.
    Pascanu, Mikolov and Bengio, "On the difficulty of training recurrent neural networks" (2013).
    """
    if isinstance(gradients, Parameters):
        gradients = gradients.flat
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
