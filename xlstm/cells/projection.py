"""The input projection of all steps at once: z = x · weight_ihᵀ + bias, and its gradient. The same for every cell.

Shapes: N batch, T time, D features, G rows of the weights (a block of H for each gate), V tokens.

The input is either features (N, T, D), or tokens: a pair (ids, table) that stands for the features `table[ids]`
without ever building them. `ids` is (N, T) integers, `table` (V, D), or None for one-hot tokens, where D = V and the
table would be the identity. The projection of tokens is a row lookup in a (V, G) table.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from ..namespace import Array, Namespace
from .sequence import Order


class Saved(NamedTuple):
    """What the backward pass needs of the input."""

    x: Array  # (T·N, D + 1): the features, time first, and a column of ones; None for tokens
    ids: Array  # (T·N,) or None
    table: Array  # (V, D) or None


def forward(
    xp: Namespace, params: Any, order: Order, reverse: bool, x: Array, tokens: tuple[Array, Array] | None
) -> tuple[Array, Saved]:
    """z (T, N, G) for the steps that some row still runs, as they are walked; and what `backward` needs."""
    weight, bias = params["weight_ih"], params["bias"]  # (G, D), (G,)
    shape = (order.steps, order.rows, bias.shape[0])
    if tokens is None:
        features = order.time_major(x, reverse)  # (T, N, D)
        D = x.shape[2]
        # A column of ones carries the bias: one product gives z, and one gives both gradients in `backward`.
        with_ones = xp.ones((order.steps, order.rows, D + 1), dtype=x.dtype, device=x.device)
        with_ones[:, :, :D] = order.without_padding(features)
        flat = xp.reshape(with_ones, (order.steps * order.rows, D + 1))
        weight_and_bias = xp.concat([weight, bias[:, None]], axis=1)  # (G, D + 1)
        return xp.reshape(flat @ weight_and_bias.T, shape), Saved(flat, None, None)
    ids, table = tokens
    flat_ids = xp.reshape(order.without_padding(order.time_major(ids, reverse)), (order.steps * order.rows,))
    flat_ids = xp.asarray(flat_ids, copy=True)  # the tape is not to change with the caller's array
    projected_table = (weight.T if table is None else table @ weight.T) + bias  # (V, G)
    return xp.reshape(xp.take(projected_table, flat_ids, axis=0), shape), Saved(None, flat_ids, table)


def backward(
    xp: Namespace,
    params: Any,
    order: Order,
    reverse: bool,
    saved: Saved,
    dz: Array,
    input_gradient: bool,
    add_rows: Any,
) -> tuple[Array, Array, Array]:
    """d_input, d_weight_ih, d_bias from dz (T, N, G), which is zero in the padding.

    d_input is (N, T, D), or the gradient of the table (V, D) for embedded tokens; None for one-hot tokens and where
    `input_gradient` is False. `add_rows(target, ids, rows)` adds `rows` to the rows `ids` of `target`: the array API
    standard has no such function, so the backend brings it; only tokens need it.
    """
    weight = params["weight_ih"]  # (G, D)
    D = weight.shape[1]
    flat_dz = xp.reshape(dz, (order.steps * order.rows, dz.shape[2]))  # (T·N, G)
    if saved.ids is None:
        d_weight_and_bias = flat_dz.T @ saved.x  # (G, D + 1)
        dx = None
        if input_gradient:
            dx = order.batch_major(xp.reshape(flat_dz @ weight, (order.steps, order.rows, D)), reverse)
        return dx, d_weight_and_bias[:, :D], d_weight_and_bias[:, D]
    if add_rows is None:
        raise ValueError("the gradient of tokens needs add_rows: pass the function of that name of the backend.")
    vocabulary = D if saved.table is None else saved.table.shape[0]
    d_projected = xp.zeros((vocabulary, dz.shape[2]), dtype=dz.dtype, device=dz.device)  # (V, G)
    add_rows(d_projected, saved.ids, flat_dz)
    d_bias = xp.sum(d_projected, axis=0)
    if saved.table is None:
        return None, d_projected.T, d_bias
    d_table = d_projected @ weight if input_gradient else None
    return d_table, d_projected.T @ saved.table, d_bias
