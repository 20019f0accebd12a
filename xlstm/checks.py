"""What a layer or model can be built with: sizes, dropout, start of the weights, dtype."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

from .messages import told
from .namespace import Array, array_namespace

DTYPES = ("float32", "float64")
INITS = ("orthogonal", "pytorch")


def checked(dropout: Any, init: Any) -> float:
    """`dropout` as a float; ValueError where it or `init` is not what a layer or model can be built with."""
    if not isinstance(dropout, (int, float, np.number)) or not 0 <= dropout < 1:
        raise ValueError(
            f"dropout is the fraction of the outputs set to zero: 0 or more, below 1; got {told(dropout)}."
        )
    if not isinstance(init, str) or init not in INITS:  # an array of one string equals it, and cannot be saved
        raise ValueError(f"init must be one of {INITS}, got {told(init)}.")
    return float(dropout)


MOST_LAYERS = 1000
"""More are a mistake, which would take memory and minutes before anything told of it."""


def positive(name: str, value: Any, most: int = 2**31 - 1) -> int:
    """`value` as an integer; TypeError or ValueError where it is none of 1 or more, and `most` or less."""
    try:
        number = 0 if isinstance(value, bool) else operator.index(value)
    except TypeError:
        raise TypeError(f"{name} must be an integer, got {told(value)}.") from None
    if number < 1:
        raise ValueError(f"{name} must be 1 or more, got {told(value)}.")
    if number > most:
        raise ValueError(f"{name} must be {most} or less, got {told(value)}.")
    return number


def check_epsilon(solver: str, epsilon: float, moment: Array) -> None:
    """Raise where the `epsilon` of an optimiser is no number in the dtype of its moments: a ValueError."""
    least = float(array_namespace(moment, anywhere=True).finfo(moment.dtype).smallest_normal)
    if solver != "sgd" and epsilon < least:
        raise ValueError(
            f"epsilon must be {least:.1e} or more for parameters of {moment.dtype}, got {epsilon!r}: it would be 0 "
            "there, and parameters whose gradient is 0 would be divided by it."
        )


def dtype_name(dtype: Any) -> str:
    """`dtype` as "float32" or "float64"; ValueError where it is neither."""
    try:
        name = str(None if dtype is None else np.dtype(dtype).name)
    except TypeError:
        name = str(dtype)
    if name not in DTYPES:
        raise ValueError(f"dtype must be 'float32' or 'float64', got {told(dtype)}.")
    return name
