"""The walk of a cell through the steps of a batch, forward and backward: the one loop over time.

A cell's page says what happens in a step; here is everything else. All steps are projected from the input by one
product. Rows are walked longest first (`sequence.Order`), so that a step is a product over those that still run. The
weights' gradients are one product over all steps.

Shapes: N batch, T time, D features, H hidden, G rows of the weights (H for each gate), of which G_h are fed by h.
"""

from __future__ import annotations

from collections.abc import Mapping
from operator import itemgetter
from typing import Any, NamedTuple

from ..namespace import Array, Namespace, array_namespace
from . import projection
from .arguments import check_gradient, check_input, put_gradients
from .sequence import Order, initial_steps, transposed


class Tape(NamedTuple):
    """What one forward call keeps for its backward call."""

    cell: Any  # the record
    order: Order
    reverse: bool
    saved_input: projection.Saved
    z: Array  # (T, N, G), as `step` left it
    z_h: Array | None  # (T, N, G_h) from h alone, where the cell keeps the two apart
    states: list[Array]  # each (T + 1, N, ·): before each step, and after the last
    first: tuple[int, ...]  # of each state: 0, or 1 where no initial one was given, so that it is zero before step 0


def forward(
    cell: Any,
    params: Mapping[str, Array],
    x: Array | None,
    state: Any = None,
    lengths: Any = None,
    *,
    tokens: tuple[Array, Array | None] | None = None,
    keep: bool = True,
    reverse: bool = False,
    outputs: bool = True,
    out: Array | None = None,
    column: int = 0,
) -> tuple[Array | None, Any, Tape | None]:
    """A whole batch of sequences through one layer in one direction.

    Parameters
    ----------
    cell
        The record of the cell. The functions `forward` and `backward` of a cell's page have it already.
    params
        Arrays `weight_ih` (G, D), `weight_hh` (G, H), `bias` (G,) and what else the cell has, all of one library,
        device and dtype. G is H for each gate.
    x
        (N, T, D), of the parameters' library, device and dtype. None where `tokens` are given.
    state
        The initial state: (h, c) for an LSTM, h alone for an RNN or GRU, each (N, H) or None for zeros.
    lengths
        For each row how many of its T steps are valid, integers from 1 to T on the host; None means all of them. What
        stands after a row's length is never used, NaN included. Or what `Cell.order` returned for the batch.
    tokens
        A pair (ids, table) in place of `x`: see `xlstm.cells.projection`. On a GPU the ids are not checked, because the
        host would have to wait for them. An id outside of 0 to V - 1 is an IndexError with NumPy; here CuPy takes some
        row of the table for it, and the GPU's fast cells give NaN from its step on.
    keep
        False releases at the end what a backward pass would need; the tape is then None.
    reverse
        Whether each row is walked from its last valid step to its first.
    outputs
        False returns None for them and saves their cost.
    out, column
        An array (N, T, ·) of zeros that takes the outputs in its columns from `column` on, and is returned for them.

    Returns
    -------
    outputs : (N, T, H) or None
        h of every step; zero after a row's length.
    state
        In its form: the state after each row's last valid step; in reverse, after its first.
    tape
        For `backward`.

    Raises
    ------
    TypeError
        If the arrays are of different libraries or dtypes, or `lengths` are not integers on the host.
    ValueError
        If a shape does not fit, a length is outside 1 to T, or arrays are on a GPU that is not CuPy's current device.
    IndexError
        If a token is outside of the table, where NumPy computes.
    """
    initial = cell.split("state", state)
    xp = array_namespace(*params.values(), x, *initial, *(tokens or ()))
    order = check_input(xp, cell, params, x, lengths, tokens, initial)
    weight_hh = params["weight_hh"]
    z, saved_input = projection.forward(xp, params, order, reverse, x, tokens)  # (T, N, G)

    H = weight_hh.shape[0] // len(cell.gates)
    G_h = cell.fed_by_h * H
    shape = (order.steps, order.rows, G_h)
    z_h = xp.zeros(shape, dtype=z.dtype, device=z.device) if cell.apart else None
    states = [
        initial_steps(xp, order, values, width, weight_hh)  # (T + 1, N, ·)
        for values, width in zip(initial, cell.state_sizes(H), strict=True)
    ]
    current = tuple([steps[0, :, :] for steps in states])  # each (N, ·)
    weight_hh_t = transposed(xp, weight_hh, order.steps)  # (H, G)
    own_params = {**params, "weight_hh_t": weight_hh_t}
    fed_t = weight_hh_t if weight_hh.shape[0] == G_h else weight_hh_t[:, :G_h]  # (H, G_h)
    step, all_fed, running = cell.step, fed_t is weight_hh_t, order.rows
    ended: list[tuple[Array, ...]] = []
    for t, n in enumerate(order.active):
        if n < running:  # rows n and later have ended: their state is final
            ended.append(tuple([values[n:, :] for values in current]))
            current = tuple([values[:n, :] for values in current])
            running = n
        z_t: Any = z[t, :n, :]  # (n, G)
        # The product has no name: it is to be gone before the next, which then finds its memory warm.
        if z_h is not None:
            z_h[t, :n, :] = current[0] @ fed_t
            z_t = (z_t, z_h[t, :n, :])
        elif all_fed:
            z_t += current[0] @ fed_t
        else:
            z_t[:, :G_h] += current[0] @ fed_t
        current = step(xp, own_params, z_t, current)
        for k, values in enumerate(current):
            states[k][t + 1, :n, :] = values
    ended.append(current)
    # concat copies: what is handed out is the caller's, and the tape stays as it is.
    final = tuple([order.unsort(xp.concat(parts[::-1], axis=0)) for parts in zip(*ended, strict=True)])  # each (N, ·)
    all_h = order.batch_major(states[0][1:, :, :], reverse, out, column) if outputs else None  # (N, T, H)
    first = tuple([int(values is None) for values in initial])
    tape = Tape(cell, order, reverse, saved_input, z, z_h, states, first) if keep else None
    return all_h, cell.join(final), tape


def backward(
    cell: Any,
    params: Mapping[str, Array],
    tape: Tape,
    d_outputs: Array | None = None,
    d_state: Any = None,
    input_gradient: bool = True,
    *,
    into: Mapping[str, Array] | None = None,
    accumulate: bool = True,
    add_rows: Any = None,
    state_gradient: bool = True,
    column: int | None = None,
) -> tuple[Array | None, Any, dict[str, Array]]:
    """Backpropagation through time: the gradients of everything that `forward` was given.

    Parameters
    ----------
    cell
        As for `forward`.
    params
        The parameters of the forward call, unchanged since.
    tape
        What that call returned.
    d_outputs
        (N, T, H), the loss's gradient with respect to the outputs, or None for zero; ignored after a row's length.
    d_state
        In the form of the state, each (N, H) or None for zero: the gradient with respect to the final state. A loss
        that reads only the last valid step gives just dh.
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
    column
        Where this cell's columns of a wider `d_outputs` (N, T, ·) begin; None where they are all of it.

    Returns
    -------
    dx : (N, T, D) or None
        Zero after a row's length. For embedded tokens, the gradient of the table.
    d_state
        In the form of the state, each (N, H): the gradient of the initial state.
    d_params
        The gradients of the parameters, by name.

    Raises
    ------
    TypeError
        If the tape is not this cell's, or an array of another library, device or dtype.
    ValueError
        If a shape does not fit. Nothing was then written to `into`.
    """
    if not isinstance(tape, Tape) or tape.cell is not cell:
        told = f"one of the cell {tape.cell.name!r}" if isinstance(tape, Tape) else type(tape).__name__
        raise TypeError(f"tape must be what forward of the cell {cell.name!r} returned (with keep=True), got {told}.")
    _, order, reverse, saved_input, z, z_h, states, _ = tape
    d_final = cell.split("d_state", d_state)
    xp = array_namespace(*params.values(), z, d_outputs, *d_final)
    weight_hh = params["weight_hh"]
    H = z.shape[2] // len(cell.gates)
    d_outputs = check_gradient(cell, params, H, (order.rows, order.time), d_outputs, column, d_final, into)

    finals = [xp.zeros_like(s[0, :, :]) if d is None else order.sort(d) for d, s in zip(d_final, states, strict=True)]
    if d_outputs is not None:
        d_outputs = order.time_major(d_outputs, reverse)  # (T, N, H)
    dz = xp.zeros(z.shape, dtype=z.dtype, device=z.device)  # (T, N, G)
    G_h = cell.fed_by_h * H
    fed = weight_hh if weight_hh.shape[0] == G_h else weight_hh[:G_h, :]  # (G_h, H)
    dz_h = dz[:, :, :G_h] if z_h is None else xp.zeros(z_h.shape, dtype=z.dtype, device=z.device)  # (T, N, G_h)
    d = [final[: order.active[-1], :] for final in finals]  # each (n, H)
    step_backward, all_fed = cell.step_backward, z_h is None and fed is weight_hh
    active, every, rows, n = order.active, slice(None), slice(0), 0
    before: list[Array] = []
    for t in reversed(range(order.steps)):
        same = n == active[t]
        if not same:
            n, rows = active[t], slice(active[t])
        if n > d[0].shape[0]:  # rows that ended with this step: their final state's gradient enters here
            d = [xp.concat([s, final[s.shape[0] : n, :]], axis=0) for s, final in zip(d, finals, strict=True)]
        if d_outputs is not None:
            d[0] = d[0] + d_outputs[t, :n, :]
        here = (t, rows, every)  # one index for all: [t, :n, :]
        z_t: Any = z[here]
        dz_t: Any = dz[here]
        if z_h is not None:
            z_t, dz_t = (z_t, z_h[here]), (dz_t, dz_h[here])
        after = before if same else [s[t + 1, rows, :] for s in states]
        before = list(map(itemgetter(here), states))
        d = list(step_backward(xp, params, z_t, before, after, d, dz_t))
        if t > 0 or state_gradient:
            dh = (dz_t if all_fed else dz_h[here]) @ fed  # (n, H): h's gradient through z of this step, ...
            d[0] = dh if d[0] is None else dh + d[0]  # ... and past it

    d_params = _recurrent_gradients(xp, params, tape, dz, dz_h)
    dx, d_params["weight_ih"], d_params["bias"] = projection.backward(
        xp, params, order, reverse, saved_input, dz, input_gradient, add_rows
    )
    d_initial = cell.join(tuple(order.unsort(s) for s in d)) if state_gradient else None
    return dx, d_initial, put_gradients({name: d_params[name] for name in params}, into, accumulate)


def _recurrent_gradients(
    xp: Namespace, params: Mapping[str, Array], tape: Tape, dz: Array, dz_h: Array
) -> dict[str, Array]:
    """The gradients of `weight_hh` and of the cell's own parameters: whole sequences at once.

    Where a state is zero because nobody gave one, and where a row has ended, there is no product: 0 · NaN is NaN.
    """
    cell, order, first = tape.cell, tape.order, tape.first
    h = order.without_padding(tape.states[0][:-1, :, :])  # (T, N, H), before each step
    d_weight_hh = _flat(xp, dz_h[first[0] :, :, :]).T @ _flat(xp, h[first[0] :, :, :])  # (G_h, H)
    own: dict[str, Array] = {}
    if cell.own_gradients is not None:
        pairs = (tape.z, dz) if tape.z_h is None else ((tape.z, tape.z_h), (dz, dz_h))
        before = [h, *(order.without_padding(s[:-1, :, :]) for s in tape.states[1:])]
        after = [s[1:, :, :] for s in tape.states]
        own = dict(cell.own_gradients(xp, params, *pairs, before, after, first))
    if "weight_hh" in own:
        d_weight_hh = xp.concat([d_weight_hh, own["weight_hh"]], axis=0)  # (G, H)
    return {**own, "weight_hh": d_weight_hh}


def _flat(xp: Namespace, array: Array) -> Array:
    """(T, N, ·) → (T·N, ·)"""
    return xp.reshape(array, (array.shape[0] * array.shape[1], array.shape[2]))
