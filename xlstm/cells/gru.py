"""The gated recurrent unit, in its two forms.

Equations
---------
At each step, from the input x and the state h of the step before:

    r = sigmoid(W_r·x + R_r·h + b_r)                reset gate:  how much of the old state the candidate sees
    u = sigmoid(W_u·x + R_u·h + b_u)                update gate: how much of the old state stays
    n = tanh(W_n·x + b_n + r * (R_n·h + b_hn))      the candidate
    h_new = (1 - u) * n + u * h

That is the form of PyTorch and cuDNN (`reset_after=True` in Keras). In the other, the reset-before GRU, the reset gate
acts before the product, and b_hn has no place:

    n = tanh(W_n·x + b_n + R_n·(r * h))

Cho et al., "Learning Phrase Representations using RNN Encoder–Decoder" (2014).

Shapes
------
n rows, D features, H hidden. The three gates stand in row blocks of H in the order r, u, n, as PyTorch has them (its z
is our u): weight_ih = [W_r; W_u; W_n] (3H, D), weight_hh = [R_r; R_u; R_n] (3H, H), bias = [b_r; b_u; b_n] (3H,), and
bias_hn = b_hn (H,).
"""

from __future__ import annotations

from typing import Any

from ..namespace import Array, Namespace, sigmoid
from .record import Cell

State = tuple[Array]
Pair = tuple[Array, Array]


# ---------------------------------------------------------------- init

# Both biases start at zero.


# ---------------------------------------------------------------- step


def step(xp: Namespace, params: Any, z: Pair, state: State) -> State:
    """One step of n rows, from z_x = W·x + b and z_h = R·h (n, 3H each) and h to h_new (n, H).

    The gates overwrite z_x, and R_n·h + b_hn the last block of z_h.
    """
    (z_x, z_h), (h,) = z, state
    H = h.shape[1]
    gates = z_x
    gates[:, : 2 * H] = sigmoid(xp, z_x[:, : 2 * H] + z_h[:, : 2 * H])  # r, u
    z_h[:, 2 * H :] += params["bias_hn"]
    r, u = gates[:, :H], gates[:, H : 2 * H]
    gates[:, 2 * H :] = xp.tanh(z_x[:, 2 * H :] + r * z_h[:, 2 * H :])
    n = gates[:, 2 * H :]
    return ((1 - u) * n + u * h,)


def step_reset_before(xp: Namespace, params: Any, z: Array, state: State) -> State:
    """The other form, from z (n, 3H), of which the candidate's block lacks its part from h."""
    (h,) = state
    H = h.shape[1]
    gates = z
    gates[:, : 2 * H] = sigmoid(xp, z[:, : 2 * H])  # r, u
    r, u = gates[:, :H], gates[:, H : 2 * H]
    gates[:, 2 * H :] = xp.tanh(z[:, 2 * H :] + (r * h) @ params["weight_hh_t"][:, 2 * H :])
    n = gates[:, 2 * H :]
    return ((1 - u) * n + u * h,)


# ---------------------------------------------------------------- step, backward


def step_backward(
    xp: Namespace, params: Any, z: Pair, before: State, after: State, d_after: State, dz: Pair
) -> tuple[Array]:
    """The gradient of one `step`: from dh (n, H) of h_new to the two parts of dz (n, 3H each), written in place.

    Returns what reaches h past z: h_new = (1 - u) * n + u * h.
    """
    (gates, z_h), (h,), (dh,), (dz_x, dz_h) = z, before, d_after, dz
    u, r = _update_backward(gates, h, dh, dz_x)
    H = h.shape[1]
    dn = dz_x[:, 2 * H :]
    dz_x[:, :H] = dn * z_h[:, 2 * H :] * (r * (1 - r))  # n = tanh(… + r * (R_n·h + b_hn))
    dz_h[:, : 2 * H] = dz_x[:, : 2 * H]
    dz_h[:, 2 * H :] = dn * r
    return (dh * u,)


def step_reset_before_backward(
    xp: Namespace, params: Any, gates: Array, before: State, after: State, d_after: State, dz: Array
) -> tuple[Array]:
    """The gradient of `step_reset_before`."""
    (h,), (dh,) = before, d_after
    u, r = _update_backward(gates, h, dh, dz)
    H = h.shape[1]
    d_reset_h = dz[:, 2 * H :] @ params["weight_hh"][2 * H :, :]  # (n, H): n = tanh(… + R_n·(r * h))
    dz[:, :H] = d_reset_h * h * (r * (1 - r))
    return (dh * u + d_reset_h * r,)


def _update_backward(gates: Array, h: Array, dh: Array, dz: Array) -> Pair:
    """Of h_new = (1 - u) * n + u * h: the blocks of u and n of `dz`, written in place. Returns u and r."""
    H = h.shape[1]
    r, u, n = gates[:, :H], gates[:, H : 2 * H], gates[:, 2 * H :]
    dz[:, H : 2 * H] = dh * (h - n) * (u * (1 - u))
    dz[:, 2 * H :] = dh * (1 - u) * ((1 - n) * (1 + n))
    return u, r


def own_gradients(
    xp: Namespace, params: Any, z: Pair, dz: Pair, before: list[Array], after: list[Array], first: tuple[int, ...]
) -> dict[str, Array]:
    """The gradient of bias_hn (H,), from all steps."""
    H = params["bias_hn"].shape[0]
    return {"bias_hn": xp.sum(dz[1][:, :, 2 * H :], axis=(0, 1))}


def own_gradients_reset_before(
    xp: Namespace, params: Any, gates: Array, dz: Array, before: list[Array], after: list[Array], first: tuple[int, ...]
) -> dict[str, Array]:
    """The gradient of R_n (H, H), the last block of weight_hh, from the steps that had a state."""
    h = before[0][first[0] :, :, :]  # (T, N, H)
    T, N, H = h.shape
    reset_h = xp.reshape(gates[first[0] :, :, :H] * h, (T * N, H))
    dn = xp.reshape(dz[first[0] :, :, 2 * H :], (T * N, H))
    return {"weight_hh": dn.T @ reset_h}


# ---------------------------------------------------------------- the records


CELL = Cell(
    "gru",
    gates=("r", "u", "n"),
    states=("h",),
    step=step,
    step_backward=step_backward,
    apart=True,
    more_parameters=lambda H: {"bias_hn": (H,)},
    own_gradients=own_gradients,
    in_torch=True,
    biases_in_one=2,
    second_bias="bias_hn",
)
RESET_BEFORE = Cell(
    "gru_reset_before",
    gates=("r", "u", "n"),
    states=("h",),
    step=step_reset_before,
    step_backward=step_reset_before_backward,
    fed_by_h=2,
    own_gradients=own_gradients_reset_before,
)
forward, backward = CELL.forward, CELL.backward
