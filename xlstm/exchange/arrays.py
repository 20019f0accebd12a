"""What every format shares: named arrays of another library, checked before a layer is made of them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

from ..arrays import brought_to_host
from ..checks import DTYPES, dtype_name
from ..host import HostArray
from ..params import Parameters
from ..stack import Sizes

LISTED = 12
"""The number of names that a message lists."""


class Taken(NamedTuple):
    """All that a layer is made of."""

    sizes: Sizes
    dtype: str
    values: HostArray  # all parameters, flat, in the order of the sizes
    dropout: float = 0.0


def listed(names: Iterable[object]) -> str:
    """Names for a message, which has an end however many they are."""
    told = [f"{name!s:.80}" for name in names]
    others = f" and {len(told) - LISTED} others" if len(told) > LISTED else ""
    return ", ".join(told[:LISTED]) + others if told else "nothing"


@contextmanager
def named_by(path: Any) -> Iterator[None]:
    """Within it, what is wrong with the arrays of a file is said with its path."""
    try:
        yield
    except (ValueError, TypeError, MemoryError, RecursionError) as error:
        told = os.fsdecode(path)
        if told in str(error):
            raise
        if isinstance(error, RecursionError):
            raise ValueError(f"{told}: what it holds is nested too deeply.") from None
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(f"{told}: {error}") from None


def of_floats(given: Mapping[str, Any], dtype: Any) -> dict[str, HostArray]:
    """NumPy arrays of finite numbers, all of one dtype: that which they have, or the one that is asked for.

    Raises
    ------
    TypeError
        If one is no array of floating-point numbers; with `dtype` None also if they are not all float32 or all float64.
    ValueError
        If one holds NaN or infinity, before or after it was converted.
    """
    wanted = None if dtype is None else dtype_name(dtype)
    arrays: dict[str, HostArray] = {}
    for name, values in given.items():
        if wanted and str(getattr(values, "dtype", "")) == "torch.bfloat16":
            values = values.float()
        array = brought_to_host(name, values)
        if array.dtype.kind != "f":
            raise TypeError(f"{name} must hold floating-point numbers, got dtype {array.dtype}.")
        if wanted is None and str(array.dtype) not in DTYPES:
            raise TypeError(f"{name} is {array.dtype}, and layers are float32 or float64: pass dtype='float32'.")
        with np.errstate(over="ignore"):
            array = array.astype(wanted or array.dtype)
        if not np.isfinite(array).all():
            raise ValueError(f"{name} holds NaN or infinity, which no layer computes with: it is damaged or diverged.")
        arrays[name] = array
    kinds = {name: str(array.dtype) for name, array in arrays.items()}
    if len(set(kinds.values())) > 1:
        first, other = [next(name for name, kind in kinds.items() if kind == each) for each in DTYPES]
        raise TypeError(f"{first} is float32, but {other} float64: pass dtype='float32' or dtype='float64'.")
    return arrays


def check_shape(name: str, array: HostArray, wanted: tuple[Any, ...], why: str) -> None:
    """Raise a ValueError where an array is not of this shape; a text in it stands for any number of 1 or more."""
    fits = array.ndim == len(wanted) and all(
        found >= 1 and (isinstance(size, str) or found == size) for found, size in zip(array.shape, wanted, strict=True)
    )
    if not fits:
        shape = f"({', '.join(map(str, wanted))}{',' if len(wanted) == 1 else ''})"
        raise ValueError(f"{name} has shape {array.shape}, expected {shape}: {why}.")


def reordered(array: HostArray, given: Sequence[str], wanted: Sequence[str]) -> HostArray:
    """The row blocks of `array`, one for each gate, brought from one order of the gates' names to another."""
    if sorted(given) != sorted(wanted):
        raise ValueError(f"the gates {', '.join(given)} are not the gates {', '.join(wanted)}.")
    blocks = np.split(array, len(given), axis=0)
    return np.concatenate([blocks[list(given).index(gate)] for gate in wanted], axis=0)


def in_one(sizes: Sizes, dtype: str, values: Mapping[str, HostArray], dropout: float = 0.0) -> Taken:
    """Checked arrays by our names as one buffer."""
    shapes = sizes.shapes()
    made = Parameters(shapes, np.zeros(sizes.parameter_count(), dtype))
    for name in shapes:
        made[name] = values[name]
    return Taken(sizes, dtype, made.flat, dropout)
