"""Data that lies on a GPU: which objects do, how they are taken without a copy, and where a model has to be for them.

An array on a GPU is one of CuPy, or any object that says so by `__cuda_array_interface__` or DLPack, such as a tensor
of PyTorch. X stays where it is. Of y and of weights a copy comes to the host, where labels are looked at.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from . import backends
from .backends import Backend
from .host import HostArray, is_tensor
from .namespace import Array


def taken(name: str, values: Any) -> tuple[Backend, Array]:
    """The device on which an array on a GPU lies, and the array as CuPy has it: the same memory.

    Parameters
    ----------
    name
        What messages call it, and what a user can write: "X", "row 3 of X".
    values
        An object of which `backends.is_on_gpu` is true.

    Raises
    ------
    TypeError
        If the GPU cannot be used here, or the array is none that CuPy takes: what to pass.
    """
    variable = name.partition(" ")[0]  # "row 3 of X" is a row
    if is_tensor(values):
        steps = ".detach()" if values.requires_grad else ""
        steps += ".float()" if str(values.dtype) == "torch.bfloat16" else ""
        if steps:
            kind = " that requires gradients" if values.requires_grad else f" of the dtype {values.dtype}"
            raise TypeError(f"{name} is a torch tensor on {values.device}{kind}: pass {variable}{steps}.")
    host = f"{variable}.cpu().numpy()" if is_tensor(values) else f"cupy.asnumpy({variable}) of a CuPy array"
    try:
        return backends.taken(values)
    except RuntimeError as error:
        raise TypeError(f"{name} lies on a GPU, but {error} Or pass host data: {host}.") from error
    except TypeError as error:
        kind = type(values).__name__
        raise TypeError(
            f"{name} is of the type {kind} and lies on a GPU, but CuPy cannot take it ({error}): pass a CuPy array, or "
            f"host data, {host}."
        ) from error


def rows_taken(X: Sequence[Any]) -> tuple[Backend | None, Sequence[Any]]:
    """The device on which the rows of a list lie, and the rows as CuPy has them; None and X where all are of the host.

    Raises
    ------
    TypeError
        If they do not all lie in one place: two rows are named. Or as `taken`.
    """
    there = [backends.is_on_gpu(row) for row in X]
    for k, row in enumerate(X):
        if isinstance(row, (list, tuple)) and row and backends.is_on_gpu(row[0]):
            raise TypeError(f"row {k} of X is a list of arrays on a GPU: make one array of its steps, cupy.stack(row).")
    if not any(there):
        return None, X
    first = there.index(True)
    if not all(there):
        raise TypeError(
            f"row {there.index(False)} of X lies on the host, row {first} on a GPU: all have to lie in one place. "
            "Bring a row to the GPU with cupy.asarray(row), or to the host with cupy.asnumpy(row)."
        )
    rows = []
    for k, row in enumerate(X):
        place, array = taken(f"row {k} of X", row)
        if k == 0:
            common = place
        elif place is not common:
            raise TypeError(
                f"row {k} of X lies on {place.device}, row 0 on {common.device}: all have to lie in one place. "
                f"{_moved('row', common)}."
            )
        if array.ndim == 0:
            raise TypeError(f"row {k} of X is one {array.dtype}, not a sequence.")
        rows.append(array)
    return common, rows


def are_there(values: Any) -> bool:
    """Whether it is an array on a GPU, or a list that begins with one."""
    first = values[0] if isinstance(values, (list, tuple)) and len(values) else values
    return backends.is_on_gpu(first)


def brought(name: str, values: Any) -> Any:
    """A host copy of an array on a GPU, in one transfer, or of each of a list of them; anything else as it is.

    Raises
    ------
    TypeError
        If it is a list of values on a GPU, each of which would be a transfer. Or as `taken`.
    """
    if isinstance(values, (list, tuple)) and len(values) and backends.is_on_gpu(values[0]):
        if getattr(values[0], "ndim", 0):
            return [brought(f"row {k} of {name}", row) for k, row in enumerate(values)]
        library = "torch" if is_tensor(values[0]) else "cupy"
        raise TypeError(f"{name} is a list of values on a GPU: pass the array itself, or {library}.stack({name}).")
    if not backends.is_on_gpu(values):
        return values
    place, array = taken(name, values)
    return place.to_host(array)


def true_of_all(place: Backend, condition: Array) -> bool:
    """Whether all of an array on a device is true: one reduction, one transfer."""
    return bool(place.to_host(place.namespace.all(condition)))


def steps_of(place: Backend, starts: HostArray, lengths: HostArray) -> Array:
    """Which steps some rows are made of, one row after another: (sum of the lengths,) int64 on a device.

    Two numbers a row are uploaded, and not one a step. Inside `place.current()`.
    """
    xp = place.namespace
    ends = np.cumsum(lengths)
    table = place.from_host(np.stack([ends, starts - (ends - lengths)]))  # (2, n)
    here = xp.arange(int(ends[-1]), dtype=xp.int64, device=table.device)
    return here + xp.take(table[1, :], xp.searchsorted(table[0, :], here, side="right"), axis=0)


def check_setting(place: Backend | None, chosen: Backend) -> None:
    """Raise where X lies on another device than a new model's, which the user has chosen.

    Raises
    ------
    ValueError
        What to set, or where to bring X.
    """
    if place is not None and place is not chosen:
        raise ValueError(
            f"X lies on {place.device}, but the model is to be on {chosen.device}, as device= or XLSTM_DEVICE says: "
            f"set device={place.device!r} (or 'auto'), or bring X there. {_moved('X', chosen)}."
        )


def check_model(place: Backend | None, model: Backend) -> None:
    """Raise where X lies on another device than a fitted model, unless it lies on the host, from where it is brought.

    Raises
    ------
    ValueError
        How to move the model, or X.
    """
    if place is not None and place is not model:
        name = "cuda" if place.device == "cuda:0" else place.device
        raise ValueError(
            f'X lies on {place.device}, but this model is on {model.device}: move the model with .to("{name}"), or X. '
            f"{_moved('X', model)}."
        )


def _moved(name: str, there: Backend) -> str:
    """How a user brings an array to a device."""
    if there.on_host:
        return f"To the host: cupy.asnumpy({name})"
    number = there.device.partition(":")[2]
    return f"To {there.device}: with cupy.cuda.Device({number}): {name} = cupy.asarray({name})"
