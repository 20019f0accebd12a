"""What a layer or model can be built with: sizes, dropout, start of the weights, dtype."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

DTYPES = ("float32", "float64")
INITS = ("orthogonal", "pytorch")


def checked(dropout: Any, init: Any) -> float:
    """`dropout` as a float; ValueError where it or `init` is not what a layer or model can be built with."""
    if not isinstance(dropout, (int, float, np.number)) or not 0 <= dropout < 1:
        raise ValueError(f"dropout is the fraction of the outputs set to zero: 0 or more, below 1; got {dropout!r}.")
    if init not in INITS:
        raise ValueError(f"init must be one of {INITS}, got {init!r}.")
    return float(dropout)


def positive(name: str, value: Any) -> int:
    """`value` as an integer; TypeError or ValueError where it is none of 1 or more."""
    try:
        number = 0 if isinstance(value, bool) else operator.index(value)
    except TypeError:
        raise TypeError(f"{name} must be an integer, got {value!r}.") from None
    if not 1 <= number < 2**31:
        raise ValueError(f"{name} must be 1 or more, got {value!r}.")
    return number


def dtype_name(dtype: Any) -> str:
    """`dtype` as "float32" or "float64"; ValueError where it is neither."""
    try:
        name = str(None if dtype is None else np.dtype(dtype).name)
    except TypeError:
        name = str(dtype)
    if name not in DTYPES:
        raise ValueError(f"dtype must be 'float32' or 'float64', got {dtype!r}.")
    return name
