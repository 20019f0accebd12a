"""Arrays that users pass to a layer, as the layer computes with them: the one place that converts or refuses them."""

from __future__ import annotations

from typing import Any

import numpy as np

from .backends import Backend
from .host import tensor_steps
from .namespace import Array, library


def accepted(backend: Backend, like: Array, name: str, values: Any, form: tuple[Any, ...]) -> Array:
    """`values` as an array of the dtype of `like`, on the device of `backend`; itself where it is one already.

    Parameters
    ----------
    like
        The parameters that it is to be computed with.
    name
        What messages call it.
    form
        Its shape, for messages: ("N", "T", 3).

    Raises
    ------
    TypeError
        If it lives in another library or on another device, or does not hold real numbers.
    ValueError
        If it is a ragged list.
    """
    if not backend.owns(values):
        try:
            kind = library(values)
        except TypeError:
            foreign = hasattr(values, "__array_namespace__") or hasattr(values, "__dlpack__")
            if foreign or not backend.on_host:
                raise
            kind = "numpy"
            try:
                values = np.asarray(values)
            except ValueError:
                shape = ", ".join(map(str, form))
                raise ValueError(
                    f"{name} is a ragged list: make it one array ({shape}); padded rows go with lengths."
                ) from None
        if kind == "torch" and backend.on_host:
            raise TypeError(f"{name} is a torch tensor: pass {name}{tensor_steps(values)}.numpy().")
        if not backend.owns(values):
            raise TypeError(
                f"{name} is a {kind} array on {getattr(values, 'device', 'cpu')}, but the parameters are "
                f"{backend.library} arrays on {backend.device}. Convert {name}, or move the layer with "
                "layer.to('cpu') or layer.to('cuda')."
            )
    elif type(values) is not type(like):
        library(values)  # refuses masked arrays, whose masks would be lost, and matrices
    if values.dtype == like.dtype:
        return values
    if values.dtype.kind not in "fiub":
        raise TypeError(f"{name} must hold real numbers, got dtype {values.dtype}.")
    with np.errstate(over="ignore", invalid="ignore"):  # padding may overflow, unseen
        return backend.namespace.astype(values, like.dtype)
