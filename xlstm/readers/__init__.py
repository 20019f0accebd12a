"""Data from files: which reader reads a file, by its ending or by name."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from ..dataset import Dataset
from . import forms
from .columns import Asked
from .delimited import Delimited

ENDINGS = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".tab": "tsv",
}
"""The format that a file's ending stands for; .gz may follow."""


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
) -> Dataset:
    """The sequences of a file, with their labels and ids where it has some."""
    name = os.fspath(path)
    kind = format or _by_ending(name)
    asked = Asked(id, time, features, label, text, delta, label_each_step, sort)
    with Delimited(name, delimiter or ("\t" if kind == "tsv" else None), encoding) as source:
        return forms.read(source, asked)


def _by_ending(name: str) -> Any:
    return ENDINGS[os.path.splitext(name.removesuffix(".gz"))[1].lower()]
