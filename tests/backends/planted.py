"""Levels for tests, made of the array code: right ones, and such as are wrong in a way that a check has to see."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import numpy as np
from xlstm.backends import Unsupported
from xlstm.backends.cuda import levels
from xlstm.backends.cuda.levels import Level
from xlstm.backends.cuda.order import Order

from xlstm import cells


class Planted:
    """A level that computes by the array code, and remembers which calls it got.

    Parameters
    ----------
    cell
        Its name.
    wrong
        What is done to the arrays of the parameters before they are used, and to nothing else.
    refuses
        The time from which on a call is unsupported.
    error
        What every call raises.
    """

    def __init__(
        self,
        cell: str,
        wrong: Callable[[Any], Any] | None = None,
        refuses: int | None = None,
        error: Exception | None = None,
    ) -> None:
        self._record, self._wrong, self._refuses, self._error = cells.by_name(cell), wrong, refuses, error
        self.calls: list[tuple[int, int]] = []  # N and T of each forward call
        self.backward_calls = 0

    def order(self, xp: Any, lengths: Any, rows: int, time: int, device: Any) -> Order:
        import cupy

        return Order(cupy, lengths, time)

    def pack(self, params: Any, precision: str | None = None) -> Any:
        return self  # so that `forward` sees that it got its own

    def _params(self, params: Any) -> Any:
        return params if self._wrong is None else {name: self._wrong(array) for name, array in params.items()}

    def forward(
        self, params: Any, x: Any, state: Any = None, lengths: Any = None, *, packed: Any = None, **options: Any
    ):
        assert packed in (None, self)
        if self._error is not None:
            raise self._error
        first = x if options["tokens"] is None else options["tokens"][0]
        N, T = first.shape[:2]
        if self._refuses is not None and self._refuses <= T:
            raise Unsupported(f"{T} steps are too many")
        self.calls.append((N, T))
        if lengths is not None:
            from array_api_compat import array_namespace

            lengths = self._record.order(array_namespace(first), lengths.lengths, N, T, first.device)
        outputs, final, tape = self._record.forward(self._params(params), x, state, lengths, **options)
        return outputs, final, None if tape is None else ("planted", tape)

    def backward(self, params: Any, tape: Any, *gradients: Any, **options: Any) -> Any:
        self.backward_calls += 1
        mine, own = tape
        assert mine == "planted"
        return self._record.backward(self._params(params), own, *gradients, **options)


def off_by(error: float) -> Callable[[Any], Any]:
    """Relative."""
    return lambda array: array * (1 + error)


def as_tf32(array: Any) -> Any:
    """As TF32 reads a float32: 10 bits of a mantissa."""
    if array.dtype != np.float32:
        return array
    scale = np.float32(1 + 2**13)  # Dekker's splitting: what is left has 24 - 13 bits
    high = array * scale
    return high - (high - array)


Make = Callable[[str, str, str], Any]
"""From a cell, dtype and precision to a level's cell, or to a sentence that says why there is none."""


@contextmanager
def planted(**makers: Make) -> Iterator[dict[str, list[Any]]]:
    """These levels, `fused` or `cudnn`, in place of the real ones; gives for each the cells that were made."""
    made: dict[str, list[Any]] = {name: [] for name in levels.LEVELS}

    def maker(name: str) -> Callable[..., tuple[Level | None, str]]:
        def make(cupy: Any, cell: str, dtype: str, precision: str) -> tuple[Level | None, str]:
            if name not in makers:
                return None, f"{name} is not installed"
            cell_of_level = makers[name](cell, dtype, precision)
            if isinstance(cell_of_level, str):
                return None, cell_of_level
            made[name].append(cell_of_level)
            told = f"{name} 9.1" if name == "cudnn" else name
            return Level(name, told, cell_of_level), f"{told}: planted"

        return make

    with mock.patch.dict(levels.MAKERS, {name: maker(name) for name in levels.LEVELS}):
        yield made


def right(cell: str, dtype: str, precision: str) -> Planted:
    return Planted(cell)
