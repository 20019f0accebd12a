"""What a setting may be: one object for each, which checks a value and makes a plain Python value of it."""

from __future__ import annotations

import operator
from collections.abc import Collection
from typing import Any

import numpy as np

from ..backends import is_device, meant
from ..labels import holds_pair


class Constraint:
    """What one setting may be."""

    def check(self, name: str, value: Any) -> None:
        """Raise a ValueError that says what was expected and given."""
        raise NotImplementedError

    def plain(self, value: Any) -> Any:
        """A value that was checked, as Python's own: NumPy's float64 would make float64 of all that it touches."""
        return value


class OneOf(Constraint):
    """One of some names, read at each check: a registry of them may have grown; or one of `besides`, such as None.

    `hint` is said after the error.
    """

    def __init__(self, options: Collection[str], hint: str = "", besides: tuple[Any, ...] = ()) -> None:
        self.options, self.hint, self.besides = options, hint, besides

    def check(self, name: str, value: Any) -> None:
        if _is_one_of(value, self.besides):
            return
        if not isinstance(value, str) or value not in self.options:
            expected = f"{_either(self.besides)}one of {tuple(self.options)}"
            raise ValueError(f"{name} must be {expected}, got {value!r}.{self.hint}{meant(value)}")

    def plain(self, value: Any) -> Any:
        return value if _is_one_of(value, self.besides) else str(value)


class Device(Constraint):
    """A device by its name, whether this machine has it or not; None leaves it to the environment."""

    def check(self, name: str, value: Any) -> None:
        if value is not None and not is_device(value):
            raise ValueError(f"{name} must be None, 'auto', 'cpu', 'cuda' or 'cuda:N', got {value!r}.{meant(value)}")


class Flag(Constraint):
    """True or False; where `levels`, also an integer of 0 or more, as for how much is to be written."""

    def __init__(self, levels: bool = False) -> None:
        self.levels = levels

    def check(self, name: str, value: Any) -> None:
        if self.levels and isinstance(value, (int, np.integer)) and value >= 0:
            return
        if not isinstance(value, (bool, np.bool_)):
            raise ValueError(f"{name} must be True or False, got {value!r}.")

    def plain(self, value: Any) -> bool:
        return bool(value)


class Integer(Constraint):
    """An integer of `low` or more; or one of `besides`, such as None."""

    def __init__(self, low: int, besides: tuple[Any, ...] = (), below: float = 2**31) -> None:
        self.low, self.besides, self.below = low, besides, below

    def check(self, name: str, value: Any) -> None:
        if _is_one_of(value, self.besides):
            return
        try:
            number = -1 if isinstance(value, bool) else operator.index(value)
        except TypeError:
            number = -1
        if not self.low <= number < self.below:
            most = f" and below {self.below}" if self.below < 2**31 or number >= self.below else ""
            raise ValueError(
                f"{name} must be {_either(self.besides)}an integer of {self.low} or more{most}, got {value!r:.80}."
            )

    def plain(self, value: Any) -> Any:
        return value if _is_one_of(value, self.besides) else operator.index(value)


class Number(Constraint):
    """A real number from `low` to `high`, which `ends` excludes ("()") or not ("[)"); or one of `besides`."""

    def __init__(self, low: float, high: float, ends: str, besides: tuple[Any, ...] = ()) -> None:
        self.low, self.high, self.ends, self.besides = low, high, ends, besides

    def check(self, name: str, value: Any) -> None:
        if _is_one_of(value, self.besides):
            return
        real = isinstance(value, (int, float, np.integer, np.floating))
        if not (real and self._above(value) and self._below(value)):
            span = f"{self.ends[0]}{self.low}, {self.high}{self.ends[1]}"
            raise ValueError(f"{name} must be {_either(self.besides)}a number in {span}, got {value!r}.")

    def _above(self, value: Any) -> bool:
        return bool(value >= self.low if self.ends[0] == "[" else value > self.low)

    def _below(self, value: Any) -> bool:
        return bool(value <= self.high if self.ends[1] == "]" else value < self.high)

    def plain(self, value: Any) -> Any:
        return value if _is_one_of(value, self.besides) else float(value)


class Levels(Constraint):
    """A number between 0 and 1, or several of them."""

    def check(self, name: str, value: Any) -> None:
        several = isinstance(value, (list, tuple, np.ndarray)) and np.ndim(value) == 1 and len(value)
        for level in value if several else [value]:
            real = isinstance(level, (int, float, np.integer, np.floating)) and not isinstance(level, bool)
            if not (real and 0 < level < 1):
                raise ValueError(f"{name} must be a number in (0, 1), or a list of them, got {value!r}.")

    def plain(self, value: Any) -> Any:
        return float(value) if np.ndim(value) == 0 else [float(level) for level in value]


class FloatType(Constraint):
    """The dtype of all computation, by name or as NumPy has it."""

    names = ("float32", "float64")

    def check(self, name: str, value: Any) -> None:
        if self._name(value) not in self.names:
            raise ValueError(f"{name} must be 'float32' or 'float64', got {value!r}.")

    def plain(self, value: Any) -> str:
        return self._name(value)

    @staticmethod
    def _name(value: Any) -> str:
        try:
            return str(None if value is None else np.dtype(value).name)
        except TypeError:
            return str(value)


class Label(Constraint):
    """A label, a string or a number; or None for none."""

    def check(self, name: str, value: Any) -> None:
        number = isinstance(value, (int, float, np.integer, np.floating)) and bool(-np.inf < value < np.inf)
        if value is not None and not isinstance(value, str) and not number:
            raise ValueError(f"{name} must be None or a label, a string or a number, got {value!r}.")
        if isinstance(value, str) and holds_pair(value):
            raise ValueError(f"{name} is {value!r:.80}, which holds a pair of surrogates: make it one character.")


def _is_one_of(value: Any, others: tuple[Any, ...]) -> bool:
    return any(value is other or (isinstance(value, str) and value == other) for other in others)


def _either(besides: tuple[Any, ...]) -> str:
    return "".join(f"{other!r} or " for other in besides)
