"""Data from files: `read`, and which reader reads which file."""

from __future__ import annotations

import codecs
import os
from collections.abc import Sequence

from ..dataset import Dataset
from . import archives, forms, jsonlines, parquet, ts
from .columns import Asked, check_separator
from .delimited import Delimited
from .kinds import format_of


def read(
    path: str | os.PathLike[str],
    *,
    format: str | None = None,
    id: str | None = None,
    time: str | None = None,
    features: Sequence[str] | None = None,
    label: str | None = None,
    text: str | None = None,
    delta: str | None = None,
    delimiter: str | None = None,
    encoding: str = "utf-8",
    channels_first: bool = False,
    label_each_step: bool = False,
    sort: bool = True,
    separator: str | None = None,
) -> Dataset:
    """The sequences of a file, with their labels and ids where it has some.

    A table (CSV, TSV, Parquet) is in one of three forms. With `id=` it is long: a row is a step, and its id says of
    which sequence; with `text=` beside, a row is a token. With `text=`, or with a column `text` and no `id=`, a row is
    a text. Else it is wide: a row is a series of one feature, its columns are the steps; empty fields at its end are no
    steps of it.

    In JSON lines an object is a sequence, `{"x": [[1, 2], [3, 4]], "y": "a"}` or `{"text": "…", "label": "…"}`, or with
    `id=` a step. In `.npz` and `.npy` files X is (n, time, D), (n, time), or with `lengths` all steps (S, D); `y`,
    `names` and `ids` may be beside it. `.ts` is the format of the time series archives.

    Parameters
    ----------
    path : str or path
        The file; `-` is standard input. Text files may be packed by gzip.
    format : str, optional
        `"csv"`, `"tsv"`, `"jsonl"`, `"parquet"`, `"npz"`, `"npy"` or `"ts"`; by default what the file's ending says.
    id, time, features, label, text, delta, label_each_step, sort, separator
        As of `from_long`. In `.npz` files `label` names the array of labels, in which `separator` stands between
        strings; an array (n, K) of 0 and 1 is taken as it is.
    delimiter : str, optional
        What separates the columns: by default a tab in TSV, a comma in CSV.
    encoding : str
        Of a text file, as Python names it.
    channels_first : bool
        True: X of an `.npz` or `.npy` file is (n, channels, time).

    Returns
    -------
    Dataset
        `X, y, ids`. Numeric sequences are `Sequences`, in float64, or float32 where the file has that; what is missing
        is NaN. Labels of CSV and TSV that are all written as Python writes numbers are numbers, so that "1.10" is a
        text, as ids are; in other formats both have the types that they have there.

    Raises
    ------
    ValueError
        If the file is none of this kind, or something in it is wrong: the line, the row or the id is named.
    TypeError
        If an argument is of a wrong type.
    OSError
        If it cannot be opened.
    ImportError
        If a Parquet file is read without pyarrow.
    """
    asked = Asked(id, time, features, label, text, delta, label_each_step, sort, separator)
    return read_as(path, asked, format, delimiter, encoding, channels_first)


def read_as(
    path: str | os.PathLike[str],
    asked: Asked,
    format: str | None = None,
    delimiter: str | None = None,
    encoding: str = "utf-8",
    channels_first: bool = False,
) -> Dataset:
    """The same, with what is said of the columns in one: also without their labels, whatever these are."""
    name = os.fspath(path)
    kind = format_of(name, format)
    check_how_it_is_written(encoding, delimiter)
    refuse_what_has_no_meaning(kind, asked, delimiter, channels_first)
    if kind in ("csv", "tsv"):
        with Delimited(name, delimiter or ("\t" if kind == "tsv" else None), encoding) as source:
            return forms.read(source, asked)
    if kind == "jsonl":
        return jsonlines.read(name, encoding, asked)
    if kind == "ts":
        return ts.read(name, encoding, asked.labelled)
    if kind == "parquet":
        return parquet.read(name, asked)
    return archives.read(name, asked, channels_first)


def check_how_it_is_written(encoding: str, delimiter: str | None) -> None:
    """Raise where Python knows no such encoding, or what is to separate columns is no single character."""
    try:
        codecs.lookup(encoding)
    except (LookupError, TypeError):
        raise ValueError(f"encoding must be one that Python knows, such as 'utf-8', got {encoding!r}.") from None
    if delimiter is not None and not (isinstance(delimiter, str) and len(delimiter) == 1):
        raise ValueError(f"delimiter must be one character, such as ';' or '\\t', got {delimiter!r}.")


def refuse_what_has_no_meaning(kind: str, asked: Asked, delimiter: str | None, channels_first: bool) -> None:
    """Raise where an argument of `read` says nothing of a file of this format, or of another argument."""
    check_separator(asked)
    given = {
        argument: value
        for argument, value in (*asked._asdict().items(), ("delimiter", delimiter), ("channels_first", channels_first))
        if value is not None and value is not False and argument not in ("sort", "labelled")
    }
    meant = {
        "npz": ("features", "label", "label_each_step", "separator", "channels_first"),
        "npy": ("channels_first",),
        "ts": (),
    }.get(kind, (*Asked._fields, *(("delimiter",) if kind in ("csv", "tsv") else ())))
    for argument in given:
        if argument not in meant:
            raise ValueError(f"{argument}= says nothing of a file of the format {kind}: leave it out.")
