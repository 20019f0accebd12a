"""The array code of the library, as it is handed in: the kernels are compared with it, and it does what they cannot.

The backends import nothing of the library, so the library gives them these functions when it is imported.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from .errors import DeviceLost, first_line


class Agreement(NamedTuple):
    """How far an implementation is from the array code."""

    error: float
    """The largest relative error of an array, in the Frobenius norm; infinite where one is not finite or not there."""
    bound: float
    """What is allowed."""
    where: str
    """Which array of which problem that was."""
    problems: int = 1
    """How many were computed."""

    @property
    def good(self) -> bool:
        """Whether the error is within the bound."""
        return self.error <= self.bound  # never of NaN

    def __str__(self) -> str:
        return f"{self.where} differs by {self.error:.1e} from the array code, where {self.bound:.0e} is allowed"


class ArrayCode(NamedTuple):
    """What the levels ask of the library."""

    cell: Callable[[str], Any]
    """The record of a cell, by its name: with `order`, `forward` and `backward`."""
    agreement: Callable[[str, Any, Any, str, str], Agreement | None]
    """How far a cell's implementation is from the array code: (cell, implementation, backend, dtype, precision).

    None where it can do none of the problems. What the implementation raises is raised.
    """
    training: Callable[[str, Any, Any, str], Agreement]
    """The same of what trains beside the cells: (what, implementation, backend, dtype); see `xlstm.trials`."""


def fault(compared: Callable[[], Agreement | None]) -> str | None:
    """What is wrong with an implementation, by its comparison with the array code; None where they agree.

    Two errors tell nothing of it and are raised: MemoryError, and DeviceLost, after which nothing else works either.
    """
    try:
        found = compared()
    except (MemoryError, DeviceLost):
        raise
    except Exception as error:
        return f"it failed its check ({type(error).__name__}: {first_line(error)})"
    if found is None:
        return "it can do none of the problems of its check"
    return None if found.good else str(found)


_handed_in: list[ArrayCode] = []


def hand_in(code: ArrayCode) -> None:
    """Use this array code from now on."""
    _handed_in[:] = [code]


def array_code() -> ArrayCode:
    """What was handed in."""
    (code,) = _handed_in
    return code
