"""What a cell checks of its arguments before it computes: shapes and dtypes, with messages that name what was given."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..namespace import Array, Namespace
from .ragged import check_lengths


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
    params: Mapping[str, Array],
    gates: int,
    x: Array | None,
    lengths: Any,
    tokens: tuple[Array, Array | None] | None,
    state: Mapping[str, Array | None],
) -> tuple[list[int] | None, int, int]:
    """Check one forward call's arguments; return the lengths as `check_lengths` gives them, N and T.

    `gates` is the number of row blocks of the weights; `state` names the initial states.
    """
    missing = [name for name in ("weight_ih", "weight_hh", "bias") if name not in params]
    if missing:
        raise ValueError(f"params must hold weight_ih, weight_hh and bias; missing: {', '.join(missing)}.")
    weight_ih, weight_hh = params["weight_ih"], params["weight_hh"]
    if weight_hh.ndim != 2 or weight_ih.ndim != 2 or weight_hh.shape[0] != gates * weight_hh.shape[1]:
        block = f"{gates}H" if gates > 1 else "H"
        raise ValueError(
            f"weight_ih must be ({block}, D) and weight_hh ({block}, H), "
            f"got {tuple(weight_ih.shape)} and {tuple(weight_hh.shape)}."
        )
    if not xp.isdtype(weight_hh.dtype, "real floating"):
        raise TypeError(f"the parameters must be of a real floating type, got {weight_hh.dtype}.")
    H, D = weight_hh.shape[1], weight_ih.shape[1]
    check_shape("weight_ih", weight_ih, (gates * H, D), weight_hh)
    check_shape("bias", params["bias"], (gates * H,), weight_hh)
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
    for name, array in state.items():
        check_shape(f"the initial {name}", array, (N, H), weight_hh)
    return check_lengths(lengths, N, T), N, T


def check_gradient(
    params: Mapping[str, Array],
    shapes: Mapping[str, tuple[Array | None, tuple[Any, ...]]],
    into: Mapping[str, Array] | None,
) -> None:
    """Check one backward call's arguments: each named gradient (None is fine) beside its shape, and `into`."""
    like = params["weight_hh"]
    H = shapes["d_outputs"][1][2]
    if like.shape[1] != H:
        raise ValueError(f"the tape is of a cell with {H} hidden units, the parameters of one with {like.shape[1]}.")
    for name, (array, shape) in shapes.items():
        check_shape(name, array, shape, like)
    if into is None:
        return
    for name in ("weight_ih", "weight_hh", "bias"):
        if name not in into:
            raise ValueError(f"into must hold weight_ih, weight_hh and bias; missing: {name}.")
        check_shape(f"into[{name!r}]", into[name], tuple(params[name].shape), like)


def pair(name: str, state: Any, form: str) -> tuple[Any, Any]:
    """The two halves of an LSTM's state, both None where it is None."""
    if state is None:
        return None, None
    if not isinstance(state, (tuple, list)) or len(state) != 2:
        raise ValueError(f"{name} must be a pair {form}, either of which may be None; got {type(state).__name__}.")
    return state[0], state[1]


def check_tape(tape: Any, kind: type, module: str) -> None:
    """Raise where `tape` is not one that the same cell's forward returned."""
    if not isinstance(tape, kind):
        raise TypeError(f"tape must be what {module}.forward returned (with keep=True), got {type(tape).__name__}.")


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
