"""Parquet files, by pyarrow where it is installed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import extras
from ..dataset import Dataset, Sequences
from ..host import is_missing
from ..nested import read as read_nested
from . import fields, forms
from .columns import LABEL, Asked, roles
from .frames import Frame
from .grouping import named, steps_of


def read(path: str, asked: Asked) -> Dataset:
    """A table in long or wide form, of texts, or one whose features are lists: then a row is a whole sequence.

    Raises
    ------
    ImportError
        If pyarrow is not there: how to install it.
    ValueError
        If the file is damaged, or as `forms.read`.
    """
    use, install = "Parquet files are read by pyarrow", "'xp-lstm[parquet]'"
    pyarrow, parquet = (extras.imported(name, use, install) for name in ("pyarrow", "pyarrow.parquet"))
    try:
        table = parquet.read_table(path)
    except pyarrow.ArrowInvalid as error:
        raise ValueError(f"{path} is damaged, pyarrow cannot read it ({str(error).splitlines()[0]}).") from None
    lists = [
        field.name
        for field in table.schema
        if pyarrow.types.is_list(field.type)
        or pyarrow.types.is_large_list(field.type)
        or pyarrow.types.is_fixed_size_list(field.type)
    ]
    source = Frame(table, path)
    if asked.id is None and lists and (asked.features is None or set(asked.features) & set(lists)):
        return _whole(source, asked, lists)
    return forms.read(source, asked)


def _whole(source: Frame, asked: Asked, lists: Sequence[str]) -> Dataset:
    """Each row a sequence, each feature a column of lists."""
    features = (
        asked.features if asked.features is not None else [name for name in lists if name != (asked.label or LABEL)]
    )
    found = roles(source, asked._replace(features=features))
    if not asked.labelled:
        found = found._replace(label=None)
    parts: list[Any] = [
        read_nested(source.column(name), f"the column {name!r} of {source.name}") for name in found.features
    ]
    first = parts[0]
    for name, part in zip(found.features, parts, strict=True):
        if not np.array_equal(part.lengths, first.lengths):
            row = int(np.argmax(part.lengths != first.lengths))
            raise ValueError(
                f"row {row} of {source.name} has {first.lengths[row]} steps of {found.features[0]!r}, but "
                f"{part.lengths[row]} of {name!r}."
            )
    if len(parts) == 1:
        X = Sequences(
            first.values, first.lengths, first.names or (found.features if first.values.shape[1] == 1 else None)
        )
    else:
        X = Sequences(np.concatenate([part.values for part in parts], axis=1), first.lengths, found.features)
    return Dataset(X, None if found.label is None else _labels(source, found.label, X, asked))


def _labels(source: Frame, column: str, X: Sequences, asked: Asked) -> Any:
    labels, each_step = source.load((), [column]).plain[column], asked.label_each_step
    if asked.separator is not None:
        mark = asked.separator
        return [
            label if isinstance(label, list) else [] if is_missing(label) else fields.several(str(label), mark)
            for label in labels
        ]
    for row, label in enumerate(labels):
        if label is None:
            raise ValueError(
                f"row {row} of {source.name} has no label in the column {column!r}: fill it, or leave the row out."
            )
        if isinstance(label, list) != (each_step or isinstance(labels[0], list)):
            raise ValueError(f"row {row} of {source.name} has {label!r:.60} in {column!r}, where a list is expected.")
        if each_step and len(label) != X.lengths[row]:
            raise ValueError(f"row {row} of {source.name} has {len(label)} labels for {X.lengths[row]} steps.")
    if each_step:
        return steps_of(labels)
    return labels if isinstance(labels[0], list) else named(labels)
