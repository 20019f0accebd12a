"""Objects that users pass, as NumPy arrays: the one place that converts them, and says of the others what to pass.

What lies on a GPU is the matter of `ondevice`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

HostArray = np.ndarray[Any, Any]


def on_host(name: str, values: Any, ragged: str = "make all its parts of one length") -> HostArray:
    """`values` as a NumPy array; itself where it is one.

    Parameters
    ----------
    name
        What messages call it, and what a user can write: "X", "sample_weight".
    ragged
        What messages advise where its parts are of different lengths.

    Raises
    ------
    TypeError
        If it belongs to PyTorch's automatic differentiation, or cannot be an array.
    ValueError
        If it is ragged.
    """
    if type(values) is np.ndarray:
        return values
    advice = away_from_host(name, values)
    if advice is not None:
        raise TypeError(advice)
    for column, dtype in getattr(values, "schema", {}).items() if _is_polars(values) else ():
        if dtype.is_temporal():  # which NumPy would read as numbers of some unit
            raise TypeError(f"the column {column!r} of {name} holds {dtype}: choose the columns that hold numbers.")
    try:
        return np.asarray(values)
    except ValueError:
        raise ValueError(f"{name} is ragged: {ragged}.") from None
    except Exception as error:  # an object's own __array__ may raise anything
        kind = type(values).__name__
        raise TypeError(
            f"{name} is of the type {kind}, of which NumPy makes no array ({_first_line(error)}): pass a NumPy array."
        ) from None


def is_missing(value: Any) -> bool:
    """Whether it stands for nothing: None, NaN, or what pandas and polars have for it."""
    return (
        value is None
        or type(value).__name__ in ("NAType", "NaTType")
        or (isinstance(value, (float, np.floating)) and value != value)
    )


def away_from_host(name: str, values: Any) -> str | None:
    """What to pass in place of an array that NumPy cannot read where it is; None where it can."""
    variable = name.partition(" ")[0]  # "row 3 of X" is a row
    if is_tensor(values):
        steps = tensor_steps(values)
        return f"{name} is a torch tensor{_where(values)}: pass {variable}{steps}.numpy()." if steps else None
    return None


def is_tensor(values: Any) -> bool:
    """Whether it is a torch tensor; nothing is imported to find out."""
    return any(base.__module__ == "torch" and base.__name__ == "Tensor" for base in type(values).__mro__)


def tensor_steps(tensor: Any) -> str:
    """The calls that a tensor needs before its `numpy()`; "" where it needs none."""
    return (
        (".detach()" if tensor.requires_grad else "")
        + (".cpu()" if tensor.device.type != "cpu" else "")
        + (".float()" if str(tensor.dtype) == "torch.bfloat16" else "")
    )


def _is_polars(values: Any) -> bool:
    return type(values).__module__.partition(".")[0] == "polars"


def _where(tensor: Any) -> str:
    if tensor.device.type != "cpu":
        return f" on {tensor.device}"
    return " that requires gradients" if tensor.requires_grad else f" of the dtype {tensor.dtype}"


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
