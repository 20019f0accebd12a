"""Labels of every step, read and checked: what y may be where each sequence has as many labels as steps."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from .host import HostArray, is_missing, on_host
from .labels import checked, classes_of, numbers_among

IGNORED = -1
"""The number of a label that does not count, where classes are numbered from 0 on."""


class StepLabels(NamedTuple):
    """The labels of all sequences, one after another."""

    labels: HostArray  # (·,) those that count: strings, booleans or numbers
    counts: HostArray  # (S,) of all S labels, whether each counts
    lengths: HostArray  # (n,)

    def place(self, k: int) -> tuple[int, int]:
        """Row and step of the k-th label that counts."""
        return place_of(int(np.flatnonzero(self.counts)[k]), self.lengths)

    def numbers(self, classes: HostArray) -> HostArray:
        """(S,) int64: of each label its number among `classes`, or `IGNORED`.

        Raises
        ------
        ValueError
            If a label is none of the classes: its row and step are named.
        """
        found = numbers_among(self.labels, classes, lambda k: "step {1} of row {0}".format(*self.place(k)))
        numbers = np.full(len(self.counts), IGNORED, dtype=np.int64)
        numbers[self.counts] = found
        return numbers

    def classes(self) -> HostArray:
        """The classes among the labels that count, sorted: none where none counts, as it may be in a first batch."""
        return classes_of(self.labels)[0]


def place_of(step: int, lengths: HostArray) -> tuple[int, int]:
    """The row in which a step stands, of all steps one after another, and its number in that row."""
    ends = np.cumsum(lengths)
    row = int(np.searchsorted(ends, step, side="right"))
    return row, step - int(ends[row] - lengths[row])


def read(y: Any, rows: int, ignore: Any = None) -> StepLabels:
    """The labels of `rows` sequences.

    Parameters
    ----------
    y
        A list with the labels of each sequence: a list, an array (time,), or a string, a label a character. Or an array
        (n, time).
    ignore
        A label that does not count; None where all count.

    Raises
    ------
    ValueError
        If it is not that, or if a label is missing or of a type that no label has: row and step are named.
    """
    if y is None:
        raise ValueError("requires y to be passed, but the target y is None.")
    whole = list(y) if isinstance(y, (list, tuple)) else y if isinstance(y, str) else on_host("y", y)
    if isinstance(whole, str) or (isinstance(whole, np.ndarray) and whole.ndim not in (1, 2)):
        what = "one string" if isinstance(whole, str) else f"an array of shape {whole.shape}"
        hint = " One sequence is [X], its labels [y]." if isinstance(whole, str) else ""
        raise ValueError(
            f"y should be a list with the labels of each sequence, or an array (n, time), got {what}.{hint}"
        )
    if len(whole) != rows:
        hint = " One sequence is [X], its labels [y]." if rows == 1 else ""
        raise ValueError(
            f"X has {rows} sequences, but y has labels of {len(whole)}: inconsistent numbers of samples.{hint}"
        )
    parts = [_of_row(k, row) for k, row in enumerate(whole)]
    lengths = np.array([len(part) for part in parts], dtype=np.int64)
    plain = [part.dtype.kind for part in parts if isinstance(part, np.ndarray)]
    if len(plain) == len(parts) and (set(plain) <= set("iuf") or len(set(plain)) == 1):
        flat = np.concatenate(parts) if parts else np.zeros(0)
        counts = np.ones(len(flat), dtype=bool) if ignore is None else ~_equal(flat, ignore)
        labels = flat[counts]
    else:
        values = [label for part in parts for label in (part.tolist() if isinstance(part, np.ndarray) else part)]
        counts = np.array([ignore is None or not _same(label, ignore) for label in values], dtype=bool)
        kept = [label for label, count in zip(values, counts.tolist(), strict=True) if count]
        labels = np.empty(len(kept), dtype=object)
        labels[:] = kept
    made = StepLabels(labels, counts, lengths)
    if labels.dtype == object:
        _check_objects(made)
    return made._replace(labels=checked(labels, lambda k: "y[{}][{}]".format(*made.place(k))))


def declared(classes: Any, ignore: Any = None) -> HostArray:
    """The labels that the user has declared, sorted, without the one that does not count."""
    listed = list(classes) if isinstance(classes, (list, tuple)) else on_host("classes", classes)
    listed = listed.tolist() if isinstance(listed, np.ndarray) and ignore is not None else listed
    return classes_of(listed if ignore is None else [label for label in listed if not _same(label, ignore)])[0]


def check_lengths(labels: HostArray, steps: HostArray) -> None:
    """Raise where a row has not as many labels as steps. Both (n,).

    Raises
    ------
    ValueError
        The first such row, and both lengths.
    """
    wrong = np.flatnonzero(labels != steps)
    if not len(wrong):
        return
    row = int(wrong[0])
    hint = ""
    if (labels == 1).all():
        hint = " For one label of each whole sequence there is SequenceClassifier."
    elif (labels >= steps).all():
        hint = " If its labels are one string, a character is a label: cut it into a list, y[k].split()."
    raise ValueError(
        f"row {row} of y has {labels[row]} label{'' if labels[row] == 1 else 's'}, but row {row} of X has "
        f"{steps[row]} step{'' if steps[row] == 1 else 's'}: each step needs one.{hint}"
    )


def _of_row(k: int, row: Any) -> Any:
    """The labels of one sequence: a list, or an array (time,)."""
    if isinstance(row, str):
        return list(row)
    if isinstance(row, (list, tuple)):
        return row
    if np.isscalar(row) or is_missing(row):
        label = row.item() if isinstance(row, np.generic) else row
        raise ValueError(
            f"y[{k}] is {label!r}, a single label: expected a label for each step of row {k}. For one label of each "
            "whole sequence there is SequenceClassifier; one sequence is [X], its labels [y]."
        )
    labels = on_host(f"row {k} of y", row)
    if labels.ndim != 1:
        hint = " Of one column, pass row.ravel()." if labels.ndim == 2 and labels.shape[1] == 1 else ""
        raise ValueError(f"row {k} of y has the shape {labels.shape}, expected (time,), a label for each step.{hint}")
    return labels.tolist() if labels.dtype.kind in "OT" else labels


def _equal(labels: HostArray, ignore: Any) -> HostArray:
    """(S,) Whether each label of an array of one kind is this one."""
    if (labels.dtype.kind == "U") != isinstance(ignore, str):
        return np.zeros(len(labels), dtype=bool)
    equal: HostArray = labels == ignore
    return equal


def _same(label: Any, ignore: Any) -> bool:
    """Whether an object that may be anything is this label."""
    return isinstance(label, str) == isinstance(ignore, str) and np.isscalar(label) and bool(label == ignore)


def _check_objects(given: StepLabels) -> None:
    """Raise where one of Python's objects is no label."""
    for k, label in enumerate(given.labels.tolist()):
        if is_missing(label):
            row, step = given.place(k)
            raise ValueError(
                f"y[{row}][{step}] is {label!r}: each step needs a label. Where there is none, write one that stands "
                "for that, and name it as `ignore`."
            )
        if not isinstance(label, (str, bool, int, float, complex, np.bool_, np.number)):
            row, step = given.place(k)
            raise ValueError(
                f"Unknown label type: y[{row}][{step}] is {type(label).__name__}; expected strings or numbers, one for "
                "each step."
            )
