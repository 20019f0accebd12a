"""The format `.ts` of the time series archives (sktime, aeon): a header of lines with @, then a series a line.

Dimensions are separated by colons, the values of each by commas, the class or target comes last; missing values are
`?` or NaN. Series may be of different lengths.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..dataset import Dataset, Sequences
from ..host import HostArray
from ..lines import Lines
from ..tables import counted
from . import fields
from .columns import listed


class _Header:
    """What the lines before @data say."""

    def __init__(self, lines: Lines) -> None:
        self.classes: list[str] | None = None
        self.targets = False
        self.dimensions: int | None = None
        self.name = lines.name
        empty = True
        for line in lines:
            text = line.strip()
            if not text or text.startswith(("#", "%")):
                continue
            empty = False
            if not text.startswith("@"):
                raise ValueError(
                    f"line {lines.count} of {self.name} stands before @data, where lines begin with @, # or %: "
                    f"{fields.shortened(text)}."
                )
            key, *words = text.split()
            if key.lower() == "@data":
                return
            self._told(key.lower(), words, lines.count)
        raise ValueError(f"{self.name} {'is empty' if empty else 'has no line @data'}: is it a file in the format .ts?")

    def _told(self, key: str, words: Sequence[str], line: int) -> None:
        says = bool(words) and words[0].lower() == "true"
        if key == "@timestamps" and says:
            raise ValueError(
                f"{self.name} has time stamps (line {line}), which are not read: write it as a table in long form, "
                "with a column of times."
            )
        if key == "@classlabel" and says:
            self.classes = list(words[1:])
            if not self.classes:
                raise ValueError(f"line {line} of {self.name} says that there are classes, but names none.")
        elif key == "@targetlabel":
            self.targets = says
        elif key in ("@dimension", "@dimensions") and words:
            if not words[0].isdigit():
                raise ValueError(f"line {line} of {self.name} says {words[0]!r} dimensions: expected a whole number.")
            self.dimensions = int(words[0])


def read(path: str, encoding: str, labelled: bool = True) -> Dataset:
    """The series of a file, with their classes as strings, their targets as float64, or neither.

    Raises
    ------
    ValueError
        If it is no such file, or a line is wrong: the line is named.
    """
    with Lines(path, encoding, "encoding=") as lines:
        header = _Header(lines)
        series: list[HostArray] = []
        labels: list[Any] = []
        D = header.dimensions
        for line in lines:
            text = line.strip()
            if not text or text.startswith(("#", "%")):
                continue
            where = f"line {lines.count} of {lines.name}"
            if header.classes is not None or header.targets:
                text, separator, label = text.rpartition(":")
                if not separator:
                    raise ValueError(f"{where} has no label: after the values there has to be a colon and a label.")
                if labelled:
                    labels.append(_label(label.strip(), header, where))
            array = _values(text, where)
            D = array.shape[1] if D is None else D
            if array.shape[1] != D:
                says = "the header says" if header.dimensions is not None else "the first series has"
                raise ValueError(f"{where} has {counted(array.shape[1], 'dimension')}, {says} {D}.")
            series.append(array)
    if not series:
        raise ValueError(f"{header.name} has no series after @data.")
    y = np.array(labels) if labels else None
    return Dataset(Sequences(np.concatenate(series), [len(array) for array in series]), y)


def _label(label: str, header: _Header, where: str) -> Any:
    if header.classes is not None:
        if label not in header.classes:
            raise ValueError(f"{where} has the class {label!r}, the header has {listed(header.classes)}.")
        return label
    try:
        return float(label)
    except ValueError:
        raise ValueError(f"{where} has the target {label!r}, where a number is expected.") from None


def _values(text: str, where: str) -> HostArray:
    """One series, (time, D)."""
    dimensions = text.split(":")
    columns = []
    for d, dimension in enumerate(dimensions):
        if dimension.lstrip().startswith("("):
            raise ValueError(f"{where} has values with time stamps, such as {dimension[:20]!r}: these are not read.")
        if not dimension.strip():
            raise ValueError(f"{where} has no values in the dimension {d}: each needs at least one.")
        columns.append(fields.numbers(dimension.split(","), str(d), lambda _: where))
        if len(columns[d]) != len(columns[0]):
            raise ValueError(
                f"{where} has {counted(len(columns[0]), 'value')} in the dimension 0, {len(columns[d])} in the "
                f"dimension {d}: the dimensions of a series are of one length."
            )
    return np.stack(columns, axis=1)
