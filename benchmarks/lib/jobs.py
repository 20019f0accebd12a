"""Jobs of whole trainings."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from xlstm import batch, cli, data


class Job(NamedTuple):
    """A classifier's settings, and its data: all of training, then all of the test."""

    settings: dict[str, Any]
    X: list[Any]
    y: list[Any]
    X_test: list[Any]
    y_test: list[Any]


def first_names() -> Job:
    """The embedded first names, with the settings and the split of `xlstm train`, but read by the last step alone."""
    texts, labels = data.first_names()
    numbers = np.unique(labels, return_inverse=True)[1]
    kept, aside = batch.stratified_split(numbers, 0.2, np.random.default_rng(0))
    part = [[values[k] for k in rows] for rows in (kept, aside) for values in (texts, labels)]
    return Job({**cli.NAMES_SETTINGS, "readout": "final"}, *part)
