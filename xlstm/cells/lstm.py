"""The long short-term memory cell, one layer in one direction, forward and backward through time.

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
N batch, T time, D features, H hidden. The four gates stand in row blocks of H in the order i, f, g, o, as PyTorch has
them: weight_ih = [W_i; W_f; W_g; W_o] (4H, D), weight_hh = [R_i; R_f; R_g; R_o] (4H, H), bias (4H,).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from ..namespace import Array, Namespace, array_namespace, sigmoid
from . import projection
from .arguments import check_gradient, check_input, check_tape, pair, put_gradients
from .ragged import Rows, initial_steps, transposed

GATES = 4
STATES = ("h", "c")


# ---------------------------------------------------------------- init


def initialise_bias(bias: Array) -> None:
    """Write the start of the bias (4H,) in place: 1 for the forget gate, 0 for the others.

    A forget gate that starts open lets the gradient pass from the first update on: Gers et al. (2000); Jozefowicz,
    Zaremba and Sutskever, "An Empirical Exploration of Recurrent Network Architectures" (2015).
    """
    H = bias.shape[0] // GATES
    bias[...] = 0
    bias[H : 2 * H] = 1


# ---------------------------------------------------------------- forward


class Tape(NamedTuple):
    """What one forward call keeps for its backward call."""

    rows: Rows
    saved_input: projection.Saved
    gates: Array  # (T, N, 4H)
    cs: Array  # (T + 1, N, H): c before each step, and after the last
    hs: Array  # (T + 1, N, H): the same of h


def step(xp: Namespace, z: Array, c: Array) -> tuple[Array, Array]:
    """One step of n rows, from z = W·x + R·h + b (n, 4H) and c (n, H): returns h_new and c_new, each (n, H).

    `z` is overwritten with the gates: in place, since the memory of all steps' gates is most of what a pass touches.
    """
    H = c.shape[1]
    gates = z
    gates[:, : 2 * H] = sigmoid(xp, z[:, : 2 * H])  # i, f
    gates[:, 2 * H : 3 * H] = xp.tanh(z[:, 2 * H : 3 * H])  # g
    gates[:, 3 * H :] = sigmoid(xp, z[:, 3 * H :])  # o
    i, f, g, o = gates[:, :H], gates[:, H : 2 * H], gates[:, 2 * H : 3 * H], gates[:, 3 * H :]
    c_new = f * c
    c_new += i * g  # (n, H)
    h_new = o * xp.tanh(c_new)  # (n, H): tanh of the new cell, not of the old one
    return h_new, c_new


def forward(
    params: Mapping[str, Array],
    x: Array | None,
    state: tuple[Array | None, Array | None] | None = None,
    lengths: Any = None,
    *,
    tokens: tuple[Array, Array | None] | None = None,
    keep: bool = True,
    reverse: bool = False,
    outputs: bool = True,
) -> tuple[Array | None, tuple[Array, Array], Tape | None]:
    """A whole batch of sequences through one layer in one direction.

    Parameters
    ----------
    params
        Arrays `weight_ih` (4H, D), `weight_hh` (4H, H) and `bias` (4H,), all of one library, device and dtype.
    x
        (N, T, D), of the parameters' library, device and dtype. None where `tokens` are given.
    state
        (h, c), each (N, H) or None for zeros; None is zeros for both.
    lengths
        For each row how many of its T steps are valid, integers from 1 to T on the host; None means all of them. What
        stands after a row's length is never used, NaN included.
    tokens
        A pair (ids, table) in place of `x`: see `xlstm.cells.projection`.
    keep
        False releases at the end what a backward pass would need; the tape is then None.
    reverse
        Whether each row is walked from its last valid step to its first.
    outputs
        False returns None for them and saves their cost.

    Returns
    -------
    outputs : (N, T, H) or None
        h of every step; zero after a row's length.
    state : (h, c), each (N, H)
        The state after each row's last valid step; in reverse, after its first.
    tape
        For `backward`.

    Raises
    ------
    TypeError
        If the arrays are of different libraries or dtypes, or `lengths` are not integers on the host.
    ValueError
        If a shape does not fit, or a length is outside 1 to T.
    """
    h, c = pair("state", state, "(h, c)")
    xp = array_namespace(*params.values(), x, h, c, *(tokens or ()))
    lengths, N, T = check_input(xp, params, GATES, x, lengths, tokens, {"h": h, "c": c})
    weight_hh = params["weight_hh"]
    rows = Rows(xp, lengths, N, T, weight_hh.device, reverse)
    z, saved_input = projection.forward(xp, params, rows, x, tokens)  # (T, N, 4H)

    hs = initial_steps(xp, rows, h, weight_hh)  # (T + 1, N, H)
    cs = initial_steps(xp, rows, c, weight_hh)
    h, c = hs[0, :, :], cs[0, :, :]  # (N, H)
    weight_hh_t = transposed(xp, weight_hh, rows.steps)  # (H, 4H)
    ended = []
    for t, n in enumerate(rows.active):
        if n < h.shape[0]:  # rows n and later have ended: their state is final
            ended.append((h[n:, :], c[n:, :]))
            h, c = h[:n, :], c[:n, :]
        z_t = z[t, :n, :]  # (n, 4H)
        z_t += h @ weight_hh_t
        h, c = step(xp, z_t, c)
        hs[t + 1, :n, :], cs[t + 1, :n, :] = h, c
    ended.append((h, c))
    # concat copies: what is handed out is the caller's, and the tape stays as it is.
    final_h = rows.unsort(xp.concat([h for h, _ in reversed(ended)], axis=0))  # (N, H)
    final_c = rows.unsort(xp.concat([c for _, c in reversed(ended)], axis=0))  # (N, H)
    all_h = rows.batch_major(hs[1:, :, :]) if outputs else None  # (N, T, H)
    return all_h, (final_h, final_c), Tape(rows, saved_input, z, cs, hs) if keep else None


# ---------------------------------------------------------------- backward


def step_backward(xp: Namespace, gates: Array, c: Array, c_new: Array, dh: Array, dc: Array, dz: Array) -> Array:
    """The gradient of one `step`: from dh and dc (n, H) of its results to dz (n, 4H), written in place, and dc (n, H).

    Each line is the derivative of a line of `step`, from the last to the first.
    """
    H = c.shape[1]
    tanh_c = xp.tanh(c_new)
    i, f, g, o = gates[:, :H], gates[:, H : 2 * H], gates[:, 2 * H : 3 * H], gates[:, 3 * H :]
    dz[...] = gates * (1 - gates)  # the slope of each gate: of sigmoid, s·(1 - s) ...
    dz[:, 2 * H : 3 * H] = (1 - g) * (1 + g)  # ... and of tanh, 1 - t²: as a product it keeps its digits near ±1
    dz[:, 3 * H :] *= dh * tanh_c  # h_new = o * tanh(c_new)
    through_tanh = (1 - tanh_c) * (1 + tanh_c)
    through_tanh *= o
    through_tanh *= dh
    dc = dc + through_tanh  # all of c_new's gradient: from the step after it and from h_new
    dz[:, :H] *= dc * g  # c_new = f * c + i * g
    dz[:, H : 2 * H] *= dc * c
    dz[:, 2 * H : 3 * H] *= dc * i
    return dc * f


def backward(
    params: Mapping[str, Array],
    tape: Tape,
    d_outputs: Array | None = None,
    d_state: tuple[Array | None, Array | None] | None = None,
    input_gradient: bool = True,
    *,
    into: Mapping[str, Array] | None = None,
    accumulate: bool = True,
    add_rows: Any = None,
    state_gradient: bool = True,
) -> tuple[Array | None, tuple[Array, Array] | None, dict[str, Array]]:
    """Backpropagation through time: the gradients of everything that `forward` was given.

    Parameters
    ----------
    params
        The parameters of the forward call, unchanged since.
    tape
        What that call returned.
    d_outputs
        (N, T, H), the loss's gradient with respect to the outputs, or None for zero; ignored after a row's length.
    d_state
        (dh, dc), each (N, H) or None for zero: the gradient with respect to the final state. A loss that reads only the
        last valid step gives just dh.
    input_gradient
        False returns None for dx and saves its cost.
    into
        Arrays of the parameters' names and shapes, which take the gradients and are returned.
    accumulate
        Whether the gradients are added to what stands in `into`, or overwrite it.
    add_rows
        Needed for tokens only: see `xlstm.cells.projection.backward`.
    state_gradient
        False returns None for d_state and saves its cost.

    Returns
    -------
    dx : (N, T, D) or None
        Zero after a row's length. For embedded tokens, the gradient of the table.
    d_state : (dh, dc), each (N, H)
        The gradient of the initial state.
    d_params
        The gradients of `weight_ih`, `weight_hh` and `bias`.

    Raises
    ------
    TypeError
        If the tape is not this cell's, or an array of another library, device or dtype.
    ValueError
        If a shape does not fit. Nothing was then written to `into`.
    """
    check_tape(tape, Tape, __name__)
    rows, saved_input, gates, cs, hs = tape
    N, H = hs.shape[1:]
    dh_final, dc_final = pair("d_state", d_state, "(dh, dc)")
    xp = array_namespace(*params.values(), hs, d_outputs, dh_final, dc_final)
    weight_hh = params["weight_hh"]
    shapes: dict[str, tuple[Any, tuple[Any, ...]]] = {"d_outputs": (d_outputs, (N, rows.time, H))}
    shapes |= {"d_state[0] (dh)": (dh_final, (N, H)), "d_state[1] (dc)": (dc_final, (N, H))}
    check_gradient(params, shapes, into)

    dh_final = xp.zeros_like(hs[0, :, :]) if dh_final is None else rows.sort(dh_final)  # (N, H)
    dc_final = xp.zeros_like(hs[0, :, :]) if dc_final is None else rows.sort(dc_final)  # (N, H)
    d_outputs = None if d_outputs is None else rows.time_major(d_outputs)  # (T, N, H)
    dz = xp.zeros((rows.steps, N, GATES * H), dtype=hs.dtype, device=hs.device)
    n = rows.active[-1]
    dh, dc = dh_final[:n, :], dc_final[:n, :]
    for t in reversed(range(rows.steps)):
        n = rows.active[t]
        if n > dh.shape[0]:  # rows that ended with this step: their final state's gradient enters here
            dh = xp.concat([dh, dh_final[dh.shape[0] : n, :]], axis=0)
            dc = xp.concat([dc, dc_final[dc.shape[0] : n, :]], axis=0)
        if d_outputs is not None:
            dh = dh + d_outputs[t, :n, :]
        dc = step_backward(xp, gates[t, :n, :], cs[t, :n, :], cs[t + 1, :n, :], dh, dc, dz[t, :n, :])
        if t > 0 or state_gradient:
            dh = dz[t, :n, :] @ weight_hh  # (n, H): h's gradient through z of this step

    flat_dz = xp.reshape(dz, (rows.steps * N, GATES * H))  # (T·N, 4H)
    d_weight_hh = flat_dz.T @ xp.reshape(hs[:-1, :, :], (rows.steps * N, H))  # (4H, H)
    dx, d_weight_ih, d_bias = projection.backward(xp, params, rows, saved_input, dz, input_gradient, add_rows)
    d_params = {"weight_ih": d_weight_ih, "weight_hh": d_weight_hh, "bias": d_bias}
    d_initial = (rows.unsort(dh), rows.unsort(dc)) if state_gradient else None
    return dx, d_initial, put_gradients(d_params, into, accumulate)
