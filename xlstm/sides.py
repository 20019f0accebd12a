"""Which rows a model was trained on and which were set aside to validate it: so that both stay apart over warm starts.

A row is known by a fingerprint of 8 bytes: of its sequence as read, of its target, and of a number that tells rows
apart which are alike in both. So rows are known again in whatever order they come, and beside whatever others.
"""

from __future__ import annotations

import base64
import hashlib
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import numpy as np

from . import blocks
from .host import HostArray
from .labels import callers_level
from .series import Series, Texts
from .spelling import Spelling

Parts = tuple[HostArray, HostArray]
"""Row numbers, in order, of the training part and of the validation part."""


def fingerprints(data: Series | Texts, targets: list[bytes], spelling: Spelling, dtype: str) -> HostArray:
    """(n,) uint64, each another: of the rows of `data` with what tells the target of each.

    Rows that a model cannot tell apart are alike: numbers that are the same in its `dtype`, and texts that are one by
    its `spelling`.
    """
    seen: Counter[bytes] = Counter()
    prints = []
    for content, target in zip(_contents(data, spelling, dtype), targets, strict=True):
        row = _digest(_digest(content) + target)
        prints.append(row if not seen[row] else _digest(row + seen[row].to_bytes(8, "little")))
        seen[row] += 1
    return np.frombuffer(b"".join(prints), dtype="<u8").astype(np.uint64)


def _contents(data: Series | Texts, spelling: Spelling, dtype: str) -> Iterator[Any]:
    """Of each row bytes: the same for the same steps, whatever the machine, and whether numbers came as float32 or
    float64."""
    ends = np.cumsum(data.lengths)
    starts = ends - data.lengths
    if isinstance(data, Texts):
        for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
            yield _of_tokens(data.tokens[start:end], spelling)
        return
    for rows, values in blocks.groups(data.steps, data.lengths):
        with np.errstate(over="ignore"):
            numbers = values.astype({"float32": "<f4", "float64": "<f8"}[dtype]) + 0  # + 0: there are two zeros
        numbers[np.isnan(numbers)] = np.nan  # of which there are many
        content = memoryview(numbers.tobytes())
        step = numbers.itemsize * numbers.shape[1]
        begin = int(starts[rows.start])
        for start, end in zip(starts[rows].tolist(), ends[rows].tolist(), strict=True):
            yield content[(start - begin) * step : (end - begin) * step]


def _of_tokens(steps: Any, spelling: Spelling) -> bytes:
    if isinstance(steps, str):
        return spelling.of(steps).encode("utf-8", "surrogatepass")
    if isinstance(steps, list):
        return ascii([spelling.of(step) for step in steps]).encode()
    return np.ascontiguousarray(steps, dtype="<i8").tobytes()


def _digest(content: Any) -> bytes:
    return hashlib.blake2b(content, digest_size=8).digest()


class Sides:
    """The rows that a model has met since it was new. It is never changed: `after` gives another.

    Parameters
    ----------
    trained, aside
        Fingerprints (n,) uint64, each sorted: none is in both.
    """

    def __init__(self, trained: HostArray | None = None, aside: HostArray | None = None) -> None:
        none = np.zeros(0, dtype=np.uint64)
        self.trained = none if trained is None else trained
        self.aside = none if aside is None else aside

    def parts(self, rows: HostArray, divide: Callable[[HostArray], Parts]) -> Parts:
        """The two parts of rows with these fingerprints (n,).

        What was set aside is set aside again, what was trained on trains again, and of the rest `divide` says what is
        set aside; where it is too few for that, it trains. Where nothing is left to validate or to train on, and where
        all rows are new, `divide` decides on all of them.

        Parameters
        ----------
        divide
            Given row numbers, gives the two parts of them, as places among them; ValueError where they are too few.
        """
        aside = np.isin(rows, self.aside)
        new = np.flatnonzero(~aside & ~np.isin(rows, self.trained))
        if 0 < len(new) < len(rows):
            with suppress(ValueError):  # too few: all of them train
                aside[new[divide(new)[1]]] = True
        if not aside.any() or aside.all():
            return divide(np.arange(len(rows)))
        return np.flatnonzero(~aside), np.flatnonzero(aside)

    def after(self, trained: HostArray, aside: HostArray) -> Sides:
        """After a training on rows with the fingerprints `trained`, validated on those with `aside`."""
        return Sides(
            np.union1d(np.setdiff1d(self.trained, aside), trained),
            np.union1d(np.setdiff1d(self.aside, trained), aside),
        )

    def state(self) -> dict[str, str]:
        """What a file keeps: of each side its fingerprints, little-endian, as base64."""
        return {
            name: base64.b64encode(getattr(self, name).astype("<u8").tobytes()).decode()
            for name in ("trained", "aside")
        }

    @classmethod
    def from_state(cls, state: Any) -> Sides:
        """The sides of a file's `state`.

        Raises
        ------
        ValueError
            If it is not such a state.
        """
        if not isinstance(state, dict) or state.keys() != {"trained", "aside"}:
            raise ValueError("the rows that were set aside must be two lists of fingerprints, trained and aside.")
        sides = cls(_read(state["trained"]), _read(state["aside"]))
        if np.intersect1d(sides.trained, sides.aside).size:
            raise ValueError("a row was both trained on and set aside.")
        return sides


def warn_of_rows_trained_on() -> None:
    """Say that the validation part is one that says little."""
    warnings.warn(
        "rows that were trained on before are set aside to validate, since no others are left, or since it is not "
        "known which they were: scores on them are too good.",
        stacklevel=callers_level(),
    )


def _read(text: Any) -> HostArray:
    if not isinstance(text, str):
        raise ValueError("the fingerprints of rows must be text.")
    content = base64.b64decode(text, validate=True)
    if len(content) % 8:
        raise ValueError(f"the fingerprints of rows are {len(content)} bytes, expected 8 for each.")
    prints = np.frombuffer(content, dtype="<u8").astype(np.uint64)
    if (prints[1:] <= prints[:-1]).any():
        raise ValueError("the fingerprints of rows must be sorted, without repetition.")
    return prints
