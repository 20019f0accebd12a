"""What a cell checks of its arguments before it computes: shapes and dtypes, with messages that name what was given."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..namespace import Array, Namespace
from .sequence import Order, check_lengths


def check_shape(name: str, array: Array | None, shape: tuple[int, ...], like: Array) -> None:
    """Raise where `array` (None is fine) has not this shape and the dtype and device of `like`."""
    if array is None:
        return
    if tuple(array.shape) != shape:
        raise ValueError(f"{name} must have shape {shape}, got {tuple(array.shape)}.")
    if array.dtype != like.dtype:
        raise TypeError(f"{name} is {array.dtype} but the parameters are {like.dtype}: convert one of them first.")
    if array.device != like.device:
        raise TypeError(f"{name} is on {array.device} but the parameters are on {like.device}: move one of them first.")


def check_input(
    xp: Namespace,
    cell: Any,
    params: Mapping[str, Array],
    x: Array | None,
    lengths: Any,
    tokens: tuple[Array, Array | None] | None,
    initial: tuple[Array | None, ...],
) -> Order:
    """Check one forward call's arguments; return the order of its rows."""
    if not params.keys() >= cell.parameter_names:
        missing = [name for name in cell.parameter_names if name not in params]
        raise ValueError(f"params must hold {_listed(cell.parameter_names)}; missing: {', '.join(missing)}.")
    weight_ih, weight_hh = params["weight_ih"], params["weight_hh"]
    gates = len(cell.gates)
    H = weight_hh.shape[0] // gates if weight_hh.ndim == 2 else 0
    if weight_ih.ndim != 2 or tuple(weight_hh.shape) != (gates * H, cell.output_size(H)):
        block = f"{gates}H" if gates > 1 else "H"
        raise ValueError(
            f"weight_ih must be ({block}, D) and weight_hh ({block}, H), "
            f"got {tuple(weight_ih.shape)} and {tuple(weight_hh.shape)}."
        )
    if not xp.isdtype(weight_hh.dtype, "real floating"):
        raise TypeError(f"the parameters must be of a real floating type, got {weight_hh.dtype}.")
    D = weight_ih.shape[1]
    for name, shape in cell.shapes(D, H).items():
        check_shape(name, params[name], shape, weight_hh)
    if tokens is not None:
        if x is not None:
            raise ValueError("give x or tokens, not both.")
        ids, table = tokens
        if ids.ndim != 2:
            raise ValueError(f"token ids must be (N, T), got shape {tuple(ids.shape)}.")
        if table is not None:
            check_shape("the table of the tokens", table, (table.shape[0], D), weight_hh)
        N, T = ids.shape
    else:
        if x is None or x.ndim != 3:
            got = None if x is None else tuple(x.shape)
            raise ValueError(f"x must be (N, T, D): batch, time, features; got shape {got}.")
        N, T = x.shape[:2]
        check_shape("x", x, (N, T, D), weight_hh)
    if N < 1 or T < 1:
        raise ValueError(f"the batch must have at least one row and one step, got N = {N} and T = {T}.")
    for name, array, width in zip(cell.states, initial, cell.state_sizes(H), strict=True):
        check_shape(f"the initial {name}", array, (N, width), weight_hh)
    if not isinstance(lengths, Order):
        return Order(xp, check_lengths(lengths, N, T), N, T, weight_hh.device)
    if (lengths.rows, lengths.time) != (N, T):
        raise ValueError(f"the order is of a batch {(lengths.rows, lengths.time)}, not of one {(N, T)} (rows, steps).")
    return lengths


def check_gradient(
    cell: Any,
    params: Mapping[str, Array],
    H: int,
    batch: tuple[int, int],
    d_outputs: Array | None,
    column: int | None,
    d_final: tuple[Array | None, ...],
    into: Mapping[str, Array] | None,
) -> Array | None:
    """Check one backward call's arguments, for a tape of H hidden units and a batch (N, T).

    Returns this cell's columns of `d_outputs`.
    """
    like = params["weight_hh"]
    own = like.shape[0] // len(cell.gates)
    if own != H:
        raise ValueError(f"the tape is of a cell with {H} hidden units, the parameters of one with {own}.")
    width = cell.output_size(H)
    if d_outputs is not None and column is not None:
        d_outputs = d_outputs[:, :, column : column + width]
    check_shape("d_outputs", d_outputs, (*batch, width), like)
    for k, (name, array, size) in enumerate(zip(cell.states, d_final, cell.state_sizes(H), strict=True)):
        place = f"[{k}]" if len(d_final) > 1 else ""
        check_shape(f"d_state{place} (d{name})", array, (batch[0], size), like)
    if into is not None:
        for name in cell.parameter_names:
            if name not in into:
                raise ValueError(f"into must hold {_listed(cell.parameter_names)}; missing: {name}.")
            check_shape(f"into[{name!r}]", into[name], tuple(params[name].shape), like)
    return d_outputs


def _listed(names: Any) -> str:
    *first, last = names
    return f"{', '.join(first)} and {last}"


def put_gradients(d_params: dict[str, Array], into: Mapping[str, Array] | None, accumulate: bool) -> dict[str, Array]:
    """The gradients as they are; or the arrays of `into`, to which they are added or written."""
    if into is None:
        return d_params
    for name, gradient in d_params.items():
        if accumulate:
            into[name][...] += gradient
        else:
            into[name][...] = gradient
    return {name: into[name] for name in d_params}
