"""The long short-term memory cell.

Equations
---------
At each step, from the input x and the state (h, c) of the step before:

    i = sigmoid(W_i·x + R_i·h + b_i)        input gate:  how much of the candidate enters the cell
    f = sigmoid(W_f·x + R_f·h + b_f)        forget gate: how much of the old cell stays
    g = tanh   (W_g·x + R_g·h + b_g)        the candidate
    o = sigmoid(W_o·x + R_o·h + b_o)        output gate: how much of the cell shows
    c_new = f * c + i * g
    h_new = o * tanh(c_new)

Hochreiter and Schmidhuber, "Long Short-Term Memory", Neural Computation 9 (1997), with the forget gate of Gers,
Schmidhuber and Cummins, "Learning to Forget" (2000).

Shapes
------
n rows, D features, H hidden. The four gates stand in row blocks of H in the order i, f, g, o, as PyTorch has them:
weight_ih = [W_i; W_f; W_g; W_o] (4H, D), weight_hh = [R_i; R_f; R_g; R_o] (4H, H), bias (4H,).
"""

from __future__ import annotations

from typing import Any

from ..namespace import Array, Namespace, sigmoid
from .record import Cell

State = tuple[Array, Array]


# ---------------------------------------------------------------- init


def start_bias(bias: Array) -> None:
    """Write the start of the bias (4H,) in place: 1 for the forget gate, 0 for the others.

    A forget gate that starts open lets the gradient pass from the first update on: Gers et al. (2000); Jozefowicz,
    Zaremba and Sutskever, "An Empirical Exploration of Recurrent Network Architectures" (2015).
    """
    H = bias.shape[0] // 4
    bias[...] = 0
    bias[H : 2 * H] = 1


# ---------------------------------------------------------------- step


def step(xp: Namespace, params: Any, z: Array, state: State) -> State:
    """One step of n rows, from z = W·x + R·h + b (n, 4H) and (h, c): returns h_new and c_new, each (n, H).

    `z` is overwritten with the gates: in place, since the memory of all steps' gates is most of what a pass touches.
    """
    _, c = state
    H = c.shape[1]
    i_f, i, f, g, o = z[:, : 2 * H], z[:, :H], z[:, H : 2 * H], z[:, 2 * H : 3 * H], z[:, 3 * H :]
    i_f[...] = sigmoid(xp, i_f)  # both at once
    g[...] = xp.tanh(g)
    o[...] = sigmoid(xp, o)
    c_new = f * c
    c_new += i * g  # (n, H)
    h_new = o * xp.tanh(c_new)  # (n, H): tanh of the new cell, not of the old one
    return h_new, c_new


# ---------------------------------------------------------------- step, backward


def step_backward(
    xp: Namespace, params: Any, gates: Array, before: State, after: State, d_after: State, dz: Array
) -> tuple[None, Array]:
    """The gradient of one `step`: from dh and dc (n, H) of its results to dz (n, 4H), written in place, and dc (n, H).

    Each line is the derivative of a line of `step`, from the last to the first. h acts through z alone.
    """
    (_, c), (_, c_new), (dh, dc) = before, after, d_after
    H = c.shape[1]
    tanh_c = xp.tanh(c_new)
    i, f, g, o = gates[:, :H], gates[:, H : 2 * H], gates[:, 2 * H : 3 * H], gates[:, 3 * H :]
    dz_i, dz_f, dz_g, dz_o = dz[:, :H], dz[:, H : 2 * H], dz[:, 2 * H : 3 * H], dz[:, 3 * H :]
    dz[...] = gates * (1 - gates)  # the slope of each gate: of sigmoid, s·(1 - s) ...
    dz_g[...] = (1 - g) * (1 + g)  # ... and of tanh, 1 - t²: as a product it keeps its digits near ±1
    dz_o *= dh * tanh_c  # h_new = o * tanh(c_new)
    through_tanh = (1 - tanh_c) * (1 + tanh_c)
    through_tanh *= o
    through_tanh *= dh
    dc = dc + through_tanh  # all of c_new's gradient: from the step after it and from h_new
    dz_i *= dc * g  # c_new = f * c + i * g
    dz_f *= dc * c
    dz_g *= dc * i
    return None, dc * f


# ---------------------------------------------------------------- the record


CELL = Cell(
    "lstm",
    gates=("i", "f", "g", "o"),
    states=("h", "c"),
    step=step,
    step_backward=step_backward,
    start_bias=start_bias,
    in_torch=True,
)
forward, backward = CELL.forward, CELL.backward
