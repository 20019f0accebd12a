"""The Elman recurrent cell.

Equations
---------
At each step, from the input x and the state h of the step before:

    h_new = tanh(W·x + R·h + b)

Elman, "Finding Structure in Time", Cognitive Science 14 (1990).

Shapes
------
n rows, D features, H hidden: weight_ih = W (H, D), weight_hh = R (H, H), bias = b (H,).
"""

from __future__ import annotations

from typing import Any

from ..namespace import Array, Namespace
from .record import Cell

State = tuple[Array]


# ---------------------------------------------------------------- init

# The bias starts at zero.


# ---------------------------------------------------------------- step


def step(xp: Namespace, params: Any, z: Array, state: State) -> State:
    """One step of n rows, from z = W·x + R·h + b (n, H) to h_new (n, H)."""
    return (xp.tanh(z),)


# ---------------------------------------------------------------- step, backward


def step_backward(
    xp: Namespace, params: Any, z: Array, before: State, after: State, d_after: State, dz: Array
) -> tuple[None]:
    """The gradient of one `step`: from dh (n, H) of its result h_new to dz (n, H), written in place."""
    (h_new,), (dh,) = after, d_after
    dz[...] = dh * ((1 - h_new) * (1 + h_new))  # the slope of tanh, 1 - h²: as a product it keeps its digits near ±1
    return (None,)


# ---------------------------------------------------------------- the record


CELL = Cell(
    "rnn",
    gates=("h",),
    states=("h",),
    step=step,
    step_backward=step_backward,
    in_torch=True,
)
forward, backward = CELL.forward, CELL.backward
