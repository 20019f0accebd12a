"""Tables of texts and labels: CSV and TSV files in and out."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from .files import write_whole


def read(path: Path, text: str, label: str) -> tuple[list[str], list[str]]:
    """The two columns of a CSV or TSV file; tabs separate where the name ends in .tsv or .tab.

    Raises
    ------
    ValueError
        If it is no such file, lacks a column, or a row lacks a value: the row is named.
    """
    delimiter = "\t" if path.suffix.lower() in (".tsv", ".tab") else ","
    try:
        content = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 text: {error}") from None
    reader = csv.DictReader(io.StringIO(content, newline=""), delimiter=delimiter)
    csv.field_size_limit(2**31 - 1)  # long documents are texts too
    texts, labels = [], []
    try:
        columns = list(reader.fieldnames or [])
        if not columns:
            raise ValueError(f"{path} is empty: the first line has to name the columns")
        for column in (text, label):
            if column not in columns:
                raise ValueError(
                    f"{path} has no column {column!r}; its first line names: {', '.join(columns)}. Name the columns by "
                    "--text and --label; they are separated by commas in CSV, by tabs in .tsv"
                )
            if columns.count(column) > 1:
                raise ValueError(f"{path} has {columns.count(column)} columns {column!r}: name them differently")
        for row, values in enumerate(reader, start=1):
            where = f"row {row} of {path} (it ends in line {reader.line_num})"
            if None in values:
                fields = len(columns) + len(values[None])
                raise ValueError(
                    f"{where} has {fields} fields, the header {len(columns)}: quote texts that hold a {delimiter!r}"
                )
            if not values[text] or not values[label]:
                raise ValueError(f"{where} has no {text if not values[text] else label}")
            texts.append(values[text])
            labels.append(values[label])
    except csv.Error as error:
        raise ValueError(f"{path} cannot be read as a table, line {reader.line_num}: {error}") from None
    if not texts:
        raise ValueError(f"{path} has a header but no rows")
    return texts, labels


def write(path: Path, rows: list[tuple[str, str]]) -> None:
    """Write rows as CSV, whole or not at all."""
    text = io.StringIO(newline="")
    csv.writer(text).writerows(rows)
    write_whole(path, [text.getvalue().encode()])
