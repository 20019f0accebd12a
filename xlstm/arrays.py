"""Arrays that users pass to a layer, as the layer computes with them: the one place that converts or refuses them."""

from __future__ import annotations

from typing import Any

import numpy as np

from . import backends
from .backends import Backend
from .host import tensor_steps
from .namespace import SUPPORTED, Array, array_namespace, library


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
            if backends.is_on_gpu(values):
                raise TypeError(
                    f"{name} is a {type(values).__module__}.{type(values).__qualname__} on a GPU, but the parameters "
                    f"are {backend.library} arrays on {backend.device}. Convert {name} (cupy.asarray({name}) copies "
                    "nothing), and move the layer where it is with layer.to('cuda')."
                ) from None
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


def numbers_like(like: Array, name: str, values: Any) -> Any:
    """`values` as what can be written to all of `like`: an array of its library, device and shape, or one number.

    Parameters
    ----------
    name
        What messages call it.

    Raises
    ------
    TypeError
        If it lives in another library or on another device, or does not hold real numbers.
    ValueError
        If it is of another shape; a list is not looked into.
    """
    wanted = f"{name} needs an array of shape {tuple(like.shape)}, or one number"
    if isinstance(values, (bool, int, float, np.number, np.bool_)) and not isinstance(values, complex):
        return values if not isinstance(values, np.generic) else values.item()
    if isinstance(values, (list, tuple)):
        raise ValueError(f"{wanted}; got a {type(values).__name__}. Make it one array first: np.array(values).")
    try:
        kind = library(values)
    except TypeError as error:
        if library(like) != "numpy" or not hasattr(values, "__array__") or isinstance(values, np.ndarray):
            raise TypeError(f"{wanted}; got {type(values).__module__}.{type(values).__qualname__}: {error}") from None
        values, kind = np.asarray(values), "numpy"  # a column of a table, for one
    if kind != library(like) or str(values.device) != str(like.device):
        way = {
            "numpy": "its values on the host (array.get(), tensor.detach().cpu().numpy())",
            "cupy": "cupy.asarray(values), on the device of the layer",
        }.get(library(like), "an array of that library")
        raise TypeError(
            f"{name} was given a {SUPPORTED[kind]} array on {_place(values)}, but the parameters are "
            f"{SUPPORTED[library(like)]} arrays on {_place(like)}: pass {way}."
        )
    if tuple(values.shape) not in ((), tuple(like.shape)):
        hint = " It is transposed: pass values.T." if tuple(values.shape) == tuple(like.shape)[::-1] else ""
        raise ValueError(f"{wanted}; got shape {tuple(values.shape)}.{hint}")
    if not array_namespace(values, anywhere=True).isdtype(values.dtype, ("bool", "integral", "real floating")):
        raise TypeError(f"{wanted}, of real numbers; got dtype {values.dtype}.")
    return values


def brought_to_host(name: str, values: Any) -> np.ndarray[Any, Any]:
    """A copy of an array of any library, on any device, as a NumPy array; of a list, too.

    Raises
    ------
    TypeError, ValueError
        If it does not hold real numbers that NumPy has; if it is a ragged list.
    """
    backend = backends.owner(values)
    if backend is not None and not backend.on_host:
        values = backend.to_host(values)
    elif hasattr(values, "detach"):  # PyTorch: maybe on a GPU, maybe with a gradient
        values = values.detach().cpu()
        if str(values.dtype) in ("torch.bfloat16", "torch.float8_e4m3fn", "torch.float8_e5m2"):
            raise TypeError(f"{name} is {values.dtype}, which NumPy does not have: pass tensor.float().")
        values = values.numpy()
    try:
        array = np.array(values)
    except ValueError:
        raise ValueError(f"{name} is a ragged list: its rows must be of one length.") from None
    if array.dtype.kind not in "fiub":
        raise TypeError(f"{name} must be an array of real numbers, got {type(values).__name__} of dtype {array.dtype}.")
    return array


def _place(array: Array) -> str:
    backend = backends.owner(array)
    return str(array.device) if backend is None else backend.device
