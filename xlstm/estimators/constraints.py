"""What a setting may be: one object for each, which checks a value and makes a plain Python value of it."""

from __future__ import annotations

import math
import operator
from collections.abc import Collection
from typing import Any

import numpy as np

from ..backends import is_device, meant
from ..labels import holds_pair
from ..messages import told
from ..seeds import is_seed


class Constraint:
    """What one setting may be."""

    def check(self, name: str, value: Any) -> None:
        """Raise a ValueError that says what was expected and given."""
        raise NotImplementedError

    def plain(self, value: Any) -> Any:
        """A value that was checked, as Python's own: NumPy's float64 would make float64 of all that it touches.

        So a file keeps it, too.
        """
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
            raise ValueError(f"{name} must be {expected}, got {told(value)}.{self.hint}{meant(value)}")

    def plain(self, value: Any) -> Any:
        return value if _is_one_of(value, self.besides) else str(value)


class Device(Constraint):
    """A device by its name, whether this machine has it or not; None leaves it to the environment."""

    def check(self, name: str, value: Any) -> None:
        if value is not None and not is_device(value):
            raise ValueError(
                f"{name} must be None, 'auto', 'cpu', 'cuda' or 'cuda:N', got {told(value)}.{meant(value)}"
            )


class Flag(Constraint):
    """True or False; where `levels`, also an integer of 0 or more, as for how much is to be written."""

    def __init__(self, levels: bool = False) -> None:
        self.levels = levels

    def check(self, name: str, value: Any) -> None:
        if self.levels and isinstance(value, (int, np.integer)) and value >= 0:
            return
        if not isinstance(value, (bool, np.bool_)):
            raise ValueError(f"{name} must be True or False, got {told(value)}.")

    def plain(self, value: Any) -> bool | int:
        return bool(value) if isinstance(value, (bool, np.bool_)) else operator.index(value)


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
                f"{name} must be {_either(self.besides)}an integer of {self.low} or more{most}, got {told(value)}."
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
        number = _real(value)
        if number is None or not (self._above(number) and self._below(number)):
            span = f"{self.ends[0]}{self.low}, {self.high}{self.ends[1]}"
            raise ValueError(f"{name} must be {_either(self.besides)}a number in {span}, got {told(value)}.")

    def _above(self, value: float) -> bool:
        return value >= self.low if self.ends[0] == "[" else value > self.low

    def _below(self, value: float) -> bool:
        return value <= self.high if self.ends[1] == "]" else value < self.high

    def plain(self, value: Any) -> Any:
        return value if _is_one_of(value, self.besides) else _real(value)


class Levels(Constraint):
    """A number between 0 and 1, or several of them."""

    def check(self, name: str, value: Any) -> None:
        several = isinstance(value, (list, tuple, np.ndarray)) and np.ndim(value) == 1 and len(value)
        for level in value if several else [value]:
            if isinstance(level, bool) or not 0 < (_real(level) or 0) < 1:
                raise ValueError(f"{name} must be a number in (0, 1), or a list of them, got {told(value)}.")

    def plain(self, value: Any) -> Any:
        return float(value) if np.ndim(value) == 0 else [float(level) for level in value]


class FloatType(Constraint):
    """The dtype of all computation, by name or as NumPy has it."""

    names = ("float32", "float64")

    def check(self, name: str, value: Any) -> None:
        if self._name(value) not in self.names:
            raise ValueError(f"{name} must be 'float32' or 'float64', got {told(value)}.")

    def plain(self, value: Any) -> str:
        return self._name(value)

    @staticmethod
    def _name(value: Any) -> str:
        try:
            return str(None if value is None else np.dtype(value).name)
        except (TypeError, ValueError, KeyError, RecursionError):  # whatever NumPy says to what is no dtype
            return ""


class Label(Constraint):
    """A label, a string or a number; or None for none."""

    def check(self, name: str, value: Any) -> None:
        if value is not None and not _is_label(value):
            raise ValueError(f"{name} must be None or a label, a string or a number, got {told(value)}.")
        if isinstance(value, str) and holds_pair(value):
            raise ValueError(f"{name} is {told(value)}, which holds a pair of surrogates: make it one character.")

    def plain(self, value: Any) -> Any:
        return _plain_label(value)


class ClassWeight(Constraint):
    """None, "balanced", or a dict of weights by label. Whether they fit the labels, training finds out."""

    def check(self, name: str, value: Any) -> None:
        if value is None or (isinstance(value, str) and value == "balanced"):
            return
        if not isinstance(value, dict):
            raise ValueError(f"{name} must be None, 'balanced' or a dict, got {told(value)}.")
        for label, weight in value.items():
            number = _real(weight)
            if number is None:
                raise ValueError(f"{name} must hold a number for each label, got {told(weight)} for {told(label)}.")
            if not 0 <= number < np.inf:
                raise ValueError(f"{name} must hold finite weights of 0 or more, got {told(weight)} for {told(label)}.")
            if not _is_label(label):
                raise ValueError(f"{name} must name labels, strings or numbers, got {told(label)}.")

    def plain(self, value: Any) -> Any:
        if not isinstance(value, dict):
            return None if value is None else str(value)
        return {_plain_label(label): float(weight) for label, weight in value.items()}


class Seed(Constraint):
    """None, an integer of 0 or more, or a generator: that of a model goes on, so a plain value has none."""

    def check(self, name: str, value: Any) -> None:
        if not (value is None or isinstance(value, (np.random.Generator, np.random.RandomState)) or is_seed(value)):
            raise ValueError(
                f"{name} must be None, an integer of 0 or more (a seed), or a NumPy random generator, "
                f"got {told(value)}."
            )

    def plain(self, value: Any) -> int | None:
        return operator.index(value) if is_seed(value) else None


def _real(value: Any) -> float | None:
    """A real number as Python's float, which may be infinity then; None for all else."""
    if not isinstance(value, (int, float, np.integer, np.floating)):
        return None
    try:
        return float(value)
    except OverflowError:
        return np.inf if value > 0 else -np.inf


def _is_label(value: Any) -> bool:
    """Whether it is a string or a finite number."""
    number = _real(value)
    return isinstance(value, (str, np.bool_)) or (number is not None and math.isfinite(number))


def _plain_label(value: Any) -> Any:
    value = value.item() if isinstance(value, np.generic) else value
    return float(value) if isinstance(value, np.longdouble) else value


def _is_one_of(value: Any, others: tuple[Any, ...]) -> bool:
    return any(value is other or (isinstance(value, str) and value == other) for other in others)


def _either(besides: tuple[Any, ...]) -> str:
    return "".join(f"{other!r} or " for other in besides)
