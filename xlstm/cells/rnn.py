"""The Elman recurrent cell, one layer in one direction, forward and backward through time.

Equations
---------
At each step, from the input x and the state h of the step before:

    h_new = tanh(W·x + R·h + b)

Elman, "Finding Structure in Time", Cognitive Science 14 (1990).

Shapes
------
N batch, T time, D features, H hidden: weight_ih = W (H, D), weight_hh = R (H, H), bias = b (H,).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from ..namespace import Array, Namespace, array_namespace
from . import projection
from .arguments import check_gradient, check_input, check_tape, put_gradients
from .ragged import Rows, initial_steps, transposed

GATES = 1
STATES = ("h",)


# ---------------------------------------------------------------- init


def initialise_bias(bias: Array) -> None:
    """Write the start of the bias (H,) in place: 0."""
    bias[...] = 0


# ---------------------------------------------------------------- forward


class Tape(NamedTuple):
    """What one forward call keeps for its backward call."""

    rows: Rows
    saved_input: projection.Saved
    hs: Array  # (T + 1, N, H): h before each step, and after the last


def step(xp: Namespace, z: Array) -> Array:
    """One step of n rows, from z = W·x + R·h + b (n, H) to h_new (n, H)."""
    return xp.tanh(z)


def forward(
    params: Mapping[str, Array],
    x: Array | None,
    state: Array | None = None,
    lengths: Any = None,
    *,
    tokens: tuple[Array, Array | None] | None = None,
    keep: bool = True,
    reverse: bool = False,
    outputs: bool = True,
) -> tuple[Array | None, Array, Tape | None]:
    """A whole batch of sequences through one layer in one direction.

    Everything is as in `xlstm.cells.lstm.forward`, but for the rows of the weights (H instead of 4H) and the state,
    which is h (N, H) alone.
    """
    xp = array_namespace(*params.values(), x, state, *(tokens or ()))
    lengths, N, T = check_input(xp, params, GATES, x, lengths, tokens, {"h": state})
    weight_hh = params["weight_hh"]
    rows = Rows(xp, lengths, N, T, weight_hh.device, reverse)
    z, saved_input = projection.forward(xp, params, rows, x, tokens)  # (T, N, H)

    hs = initial_steps(xp, rows, state, weight_hh)  # (T + 1, N, H)
    h = hs[0, :, :]  # (N, H)
    weight_hh_t = transposed(xp, weight_hh, rows.steps)  # (H, H)
    ended = []
    for t, n in enumerate(rows.active):
        if n < h.shape[0]:  # rows n and later have ended: their state is final
            ended.append(h[n:, :])
            h = h[:n, :]
        z_t = z[t, :n, :]  # (n, H)
        z_t += h @ weight_hh_t
        h = step(xp, z_t)
        hs[t + 1, :n, :] = h
    ended.append(h)
    # concat copies: what is handed out is the caller's, and the tape stays as it is.
    final_h = rows.unsort(xp.concat(ended[::-1], axis=0))  # (N, H)
    all_h = rows.batch_major(hs[1:, :, :]) if outputs else None  # (N, T, H)
    return all_h, final_h, Tape(rows, saved_input, hs) if keep else None


# ---------------------------------------------------------------- backward


def step_backward(xp: Namespace, h_new: Array, dh: Array) -> Array:
    """The gradient of one `step`: from dh (n, H) of its result h_new (n, H) to dz (n, H)."""
    return dh * ((1 - h_new) * (1 + h_new))  # the slope of tanh, 1 - h²: as a product it keeps its digits near ±1


def backward(
    params: Mapping[str, Array],
    tape: Tape,
    d_outputs: Array | None = None,
    d_state: Array | None = None,
    input_gradient: bool = True,
    *,
    into: Mapping[str, Array] | None = None,
    accumulate: bool = True,
    add_rows: Any = None,
    state_gradient: bool = True,
) -> tuple[Array | None, Array | None, dict[str, Array]]:
    """Backpropagation through time: the gradients of everything that `forward` was given.

    Everything is as in `xlstm.cells.lstm.backward`, but for the state's gradient, which is dh (N, H) alone.
    """
    check_tape(tape, Tape, __name__)
    rows, saved_input, hs = tape
    N, H = hs.shape[1:]
    xp = array_namespace(*params.values(), hs, d_outputs, d_state)
    weight_hh = params["weight_hh"]
    check_gradient(params, {"d_outputs": (d_outputs, (N, rows.time, H)), "d_state (dh)": (d_state, (N, H))}, into)

    dh_final = xp.zeros_like(hs[0, :, :]) if d_state is None else rows.sort(d_state)  # (N, H)
    d_outputs = None if d_outputs is None else rows.time_major(d_outputs)  # (T, N, H)
    dz = xp.zeros((rows.steps, N, H), dtype=hs.dtype, device=hs.device)
    dh = dh_final[: rows.active[-1], :]
    for t in reversed(range(rows.steps)):
        n = rows.active[t]
        if n > dh.shape[0]:  # rows that ended with this step: their final state's gradient enters here
            dh = xp.concat([dh, dh_final[dh.shape[0] : n, :]], axis=0)
        if d_outputs is not None:
            dh = dh + d_outputs[t, :n, :]
        dz[t, :n, :] = step_backward(xp, hs[t + 1, :n, :], dh)
        if t > 0 or state_gradient:
            dh = dz[t, :n, :] @ weight_hh  # (n, H): h's gradient through z of this step

    flat_dz = xp.reshape(dz, (rows.steps * N, H))  # (T·N, H)
    d_weight_hh = flat_dz.T @ xp.reshape(hs[:-1, :, :], (rows.steps * N, H))  # (H, H)
    dx, d_weight_ih, d_bias = projection.backward(xp, params, rows, saved_input, dz, input_gradient, add_rows)
    d_params = {"weight_ih": d_weight_ih, "weight_hh": d_weight_hh, "bias": d_bias}
    return dx, rows.unsort(dh) if state_gradient else None, put_gradients(d_params, into, accumulate)
